//! Whole files that hold keys.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result, anyhow};
use zeroize::Zeroizing;

/// Reads a whole file, also one without a size as `/dev/stdin`, and leaves no copies behind.
pub(crate) fn read(path: &OsStr) -> Result<Zeroizing<Vec<u8>>> {
    let about = || format!("the configuration file is `{}'", path.display());
    let file = File::open(path).map_err(|error| fopen_error(error, about()))?;
    // One byte more tells the end of the file.
    let expected = file.metadata().map_or(0, |file| usize::try_from(file.len()).unwrap_or(0)) + 1;
    read_all(file, expected.clamp(64 << 10, 64 << 20))
        .map_err(wg_control::Error::from)
        .with_context(|| format!("cannot read `{}'", path.display()))
}

/// What the original says of a file that cannot be opened, and which file that is.
pub(crate) fn fopen_error(error: io::Error, about: String) -> anyhow::Error {
    anyhow!(about).context(format!("fopen: {}", wg_control::Error::from(error)))
}

fn read_all(mut file: impl Read, room: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(vec![0; room]);
    let mut length = 0;
    loop {
        if length == text.len() {
            // A vector that grows by itself would leave the old memory as it was.
            let mut larger = Zeroizing::new(vec![0; 2 * text.len()]);
            larger[..length].copy_from_slice(&text);
            text = larger;
        }
        match file.read(&mut text[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_is_read_whole() {
        for size in [0, 1, 65_535, 65_536, 65_537, 300_000] {
            let text: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
            assert_eq!(*read_all(&text[..], 64 << 10).unwrap(), text);
        }
    }
}
