//! Cargo, as the developer would call it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use testbed::programs;

/// The workspace's root folder.
pub(crate) fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("xtask is not in a workspace")
}

/// `cargo` in the workspace's root folder.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()?);
    Ok(command)
}

/// Builds the programs for use and returns the folder they are in.
pub(crate) fn release() -> Result<PathBuf> {
    let mut cargo = cargo()?;
    cargo.args(["build", "--release"]);
    for name in programs::NAMES {
        cargo.args(["--package", name]);
    }
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("the programs cannot be built");
    }
    Ok(programs::target_folder()?.join("release"))
}
