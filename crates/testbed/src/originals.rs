//! The current originals, as oracles: `wg`, `wg-quick` and `wireguard-go` from Debian's unstable
//! suite, unpacked beside the system and never installed.
//!
//! They are fetched once, from the Debian mirror that the machine is set up with, into the target
//! folder. `CULVERT_ORIGINALS` names a folder to take them from instead.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::debian::{Unstable, files_below};
use crate::programs;

#[path = "../../wg/src/columns.rs"]
mod columns;

/// What `wg show INTERFACE` takes behind the name.
pub const COLUMNS: [&str; 12] = columns::COLUMNS;

/// The original `wg`.
///
/// # Errors
/// As [`folder`].
pub fn wg() -> Result<PathBuf> {
    Ok(folder()?.join("wg"))
}

/// The original `wg-quick`, a bash script. It calls the `wg` beside itself.
///
/// # Errors
/// As [`folder`].
pub fn wg_quick() -> Result<PathBuf> {
    Ok(folder()?.join("wg-quick"))
}

/// The userspace daemon `wireguard-go`.
///
/// # Errors
/// As [`folder`].
pub fn wireguard_go() -> Result<PathBuf> {
    Ok(folder()?.join("wireguard-go"))
}

/// The folder that holds the originals, fetched if need be.
///
/// # Errors
/// Where they cannot be had: no Debian mirror, no network.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("CULVERT_ORIGINALS") {
        return Ok(PathBuf::from(folder));
    }
    let target = programs::target_folder()?;
    let place = target.join("originals");
    let programs = place.join("bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    let lock = File::create(target.join("originals.lock")).context("cannot lock the originals")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("cannot lock the originals")?;
    // Another test may have fetched them while this one waited.
    if !programs.is_dir() {
        fetch(&place).context("cannot fetch the original wg, wg-quick and wireguard-go")?;
    }
    Ok(programs)
}

fn fetch(place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    let root = place.join("root");
    let suite = Unstable::open(&place.join("apt"))?;
    suite.unpack(&["wireguard-tools", "wireguard-go", "libc6"], &root)?;
    install(&root, place)?;
    suite.close()
}

/// Puts the programs into `place/bin`, the folder's appearance being the sign that all is done.
fn install(root: &Path, place: &Path) -> Result<()> {
    let unfinished = place.join("bin.new");
    fs::create_dir_all(&unfinished)?;
    for name in ["wg-quick", "wireguard-go"] {
        fs::copy(root.join("usr/bin").join(name), unfinished.join(name))
            .with_context(|| format!("the packages hold no {name}"))?;
    }
    // `wg` was built against a C library newer than this machine's, so it brings its own.
    let files = files_below(root)?;
    let named = |test: &dyn Fn(&str) -> bool| {
        let name =
            |file: &&PathBuf| file.file_name().and_then(|name| name.to_str()).is_some_and(test);
        files.iter().find(name).context("the packages hold no C library")
    };
    let loader = named(&|name| name.starts_with("ld-linux") && name.contains(".so."))?;
    let library = named(&|name| name == "libc.so.6")?;
    let script = format!(
        "#!/bin/sh\nexec '{}' --argv0 wg --library-path '{}' '{}' \"$@\"\n",
        loader.display(),
        library.parent().context("the C library has no folder")?.display(),
        root.join("usr/bin/wg").display(),
    );
    fs::write(unfinished.join("wg"), script)?;
    for file in files_below(&unfinished)? {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    }
    fs::rename(unfinished, place.join("bin")).context("cannot put the programs into place")
}
