//! The programs, built to be given away.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use testbed::{packages, programs};

use crate::build;

/// The C library that programs are linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// musl, static. glibc's would have to load its name services at run time all the same.
    Musl,
    /// This machine's glibc, shared: names are looked up in whatever way the machine is set up for.
    Machine,
}

/// The built programs.
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
}

impl Binaries {
    /// Builds them, without symbols, and with no path of this machine in them.
    pub(super) fn build(library: Library) -> Result<Self> {
        let environment = if library == Library::Musl { "musl" } else { "gnu" };
        let target = format!("{}-unknown-linux-{environment}", env::consts::ARCH);
        if library == Library::Musl {
            // For the parts of ring that are written in C.
            packages::ensure(&["musl-tools"])?;
            ensure_target(&target)?;
        }
        let mut cargo = build::cargo()?;
        cargo.args(["build", "--profile", "dist", "--target", &target]);
        for name in programs::NAMES {
            cargo.args(["--package", name]);
        }
        cargo.env("RUSTFLAGS", without_paths()?);
        if !cargo.status().context("cannot start cargo")?.success() {
            bail!("the programs cannot be built for {target}");
        }
        Ok(Self { folder: programs::target_folder()?.join(target).join("dist") })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The oldest glibc that has every symbol the programs use, as 2.34.
    pub(super) fn oldest_library(&self) -> Result<String> {
        let mut oldest = (0, 0);
        for name in programs::NAMES {
            let bytes = fs::read(self.program(name))?;
            oldest = oldest.max(newest_symbol(&bytes));
        }
        let (major, minor) = oldest;
        Ok(format!("{major}.{minor}"))
    }
}

/// The newest version of glibc among those that an ELF file names, as `GLIBC_2.34`.
fn newest_symbol(bytes: &[u8]) -> (u32, u32) {
    const PREFIX: &[u8] = b"\0GLIBC_";
    let starts = bytes.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let versions = starts.filter_map(|(start, _)| {
        let text = bytes[start + PREFIX.len()..].split(|byte| *byte == 0).next()?;
        let (major, minor) = std::str::from_utf8(text).ok()?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max().unwrap_or((2, 0))
}

fn ensure_target(target: &str) -> Result<()> {
    let rustup = |arguments: &[&str]| Command::new("rustup").args(arguments).output();
    let installed = rustup(&["target", "list", "--installed"])
        .context("cannot start rustup, which has the static C library")?;
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == target) {
        return Ok(());
    }
    println!("Adding the target {target} to the toolchain.");
    let added = rustup(&["target", "add", target])?;
    if !added.status.success() {
        bail!("rustup target add {target}: {}", String::from_utf8_lossy(&added.stderr).trim());
    }
    Ok(())
}

/// Paths in messages of panics would tell who built this, and change what is built.
fn without_paths() -> Result<String> {
    let mut flags = format!("--remap-path-prefix={}=culvert", build::workspace()?.display());
    let home = env::var_os("HOME").map(PathBuf::from);
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| home.map(|home| home.join(".cargo")));
    if let Some(cargo) = cargo {
        flags.push_str(&format!(" --remap-path-prefix={}=cargo", cargo.display()));
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::newest_symbol;

    #[test]
    fn newest_symbol_counts_as_numbers() {
        let bytes = b"x\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0NOT_GLIBC_9.9\0";
        assert_eq!(newest_symbol(bytes), (2, 34));
    }
}
