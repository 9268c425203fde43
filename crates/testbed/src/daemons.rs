//! Userspace daemons of others that no Debian package holds: built from their crates, run as
//! programs of their own.
//!
//! Each is built once, into the target folder.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::programs;

/// Cloudflare's daemon. It needs `--disable-drop-privileges` where nobody called `sudo`.
///
/// # Errors
/// When it cannot be fetched or built.
pub fn boringtun() -> Result<PathBuf> {
    built("boringtun-cli", "boringtun-cli")
}

/// Mullvad's daemon, which descends from boringtun and needs the same. Building it takes minutes.
///
/// # Errors
/// When it cannot be fetched or built.
pub fn gotatun() -> Result<PathBuf> {
    built("gotatun-cli", "gotatun")
}

/// The program of a crate, built with the versions that its authors locked.
fn built(package: &str, program: &str) -> Result<PathBuf> {
    let folder = programs::target_folder()?.join("daemons").join(package);
    let path = folder.join("bin").join(program);
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("cannot lock the daemon's folder")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("cannot lock the daemon's folder")?;
    // Another test may have built it while this one waited; cargo puts it in place as a whole.
    if !path.is_file() {
        println!("Building {package}.");
        let output = Command::new("cargo")
            .args(["install", package, "--locked", "--quiet", "--root"])
            .arg(&folder)
            .output()
            .context("cannot start cargo")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo install {package}: {}", errors.trim());
    }
    Ok(path)
}
