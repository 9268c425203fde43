//! Files that hold one key.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use anyhow::{Result, anyhow};
use wg_config::{KEY_TEXT_LEN, value};
use zeroize::Zeroizing;

use crate::pubkey::is_space;
use crate::secret_file;

/// The text of the key in a file; `None` when it is empty or `/dev/null`, which stands for no key.
pub(crate) fn read(path: &OsStr) -> Result<Option<Zeroizing<String>>> {
    let about = || match value::parse_public_key(&path.to_string_lossy()) {
        // In its place the key itself, which is not to be repeated.
        Ok(_) => "expected the name of a file that holds the key, and not the key".to_owned(),
        Err(_) => format!("the key file is `{}'", path.display()),
    };
    let file = File::open(path).map_err(|error| secret_file::fopen_error(error, about()))?;
    read_key(file).map_err(|fault| anyhow!(about()).context(fault))
}

fn read_key(mut file: impl Read + Seek) -> Result<Option<Zeroizing<String>>, String> {
    let invalid_length = || "Invalid length key in key file".to_owned();
    let mut text = Zeroizing::new([0; KEY_TEXT_LEN]);
    let mut length = 0;
    while length < KEY_TEXT_LEN {
        match file.read(&mut text[length..]) {
            // An empty pipe is a command that failed, which must not remove a key.
            Ok(0) if length == 0 && file.stream_position().is_ok() => return Ok(None),
            Ok(0) => return Err(invalid_length()),
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(invalid_length()),
        }
    }
    for byte in BufReader::new(file).bytes() {
        let byte = byte.map_err(|_| invalid_length())?;
        if !is_space(byte) {
            let byte = byte.escape_ascii();
            return Err(format!("Found trailing character in key file: `{byte}'"));
        }
    }
    Ok(Some(Zeroizing::new(String::from_utf8_lossy(&*text).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    fn read(text: &str) -> Result<Option<String>, String> {
        read_key(io::Cursor::new(text)).map(|key| key.map(|text| text.to_string()))
    }

    /// As recorded from the original.
    #[test]
    fn a_key_file_is_44_characters_and_white_space() {
        let key = Ok(Some(KEY.to_owned()));
        assert_eq!(read(KEY), key);
        assert_eq!(read(&format!("{KEY}\n")), key);
        assert_eq!(read(&format!("{KEY} \n\t\x0b\n")), key);
        assert_eq!(read(""), Ok(None));
        let trailing = |c: &str| Err(format!("Found trailing character in key file: `{c}'"));
        assert_eq!(read(&format!("{KEY}\nx")), trailing("x"));
        assert_eq!(read(&format!(" {KEY}")), trailing("="));
        assert_eq!(read(&format!("{KEY}\n\0")), trailing("\\x00"));
        for short in ["\n", "  \n", &KEY[..20]] {
            assert_eq!(read(short), Err("Invalid length key in key file".to_owned()));
        }
    }
}
