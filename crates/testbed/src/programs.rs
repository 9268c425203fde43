//! Where the built programs are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The programs of this workspace that are installed.
pub const NAMES: [&str; 3] = ["wg", "wg-quick", "wg-userspace"];

/// The folder with the built programs: `CULVERT_BIN_DIR`, else the one this very program was built
/// into.
///
/// # Errors
/// When this program's own place cannot be found out.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("CULVERT_BIN_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let program = env::current_exe().context("cannot find this program's own file")?;
    let folder = program.parent().context("this program's file has no folder")?;
    // Tests are built into a folder below.
    if folder.ends_with("deps") {
        return folder.parent().map(Path::to_path_buf).context("no folder above deps");
    }
    Ok(folder.to_path_buf())
}

/// Cargo's target folder, where what the tests download is kept.
///
/// # Errors
/// As [`folder`].
pub fn target_folder() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let profile = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    profile.and_then(Path::parent).map(Path::to_path_buf).context("no folder above the profile's")
}
