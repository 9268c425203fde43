//! `wg-quick strip`.

use std::ffi::OsStr;
use std::io::{self, Write};

use zeroize::Zeroizing;

use crate::config_file::ConfigFile;

/// Prints the part of a file that `wg` reads.
///
/// # Errors
/// When there is no such file, or it cannot be printed.
pub(crate) fn strip(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let stripped = Zeroizing::new(wg_config::strip(&file.text()?)?);
    io::stdout().write_all(&stripped)?;
    Ok(())
}
