//! Debian packages that tests need.

use std::process::{Command, Stdio};
use std::sync::Once;

use anyhow::{Context, Result, bail};

use crate::privileges;

/// Installs those of `packages` that are missing.
///
/// # Errors
/// Without root or apt-get, or when apt-get fails: what is missing and how to install it.
pub fn ensure(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !privileges::is_root() {
        bail!("the tests need Debian packages that are missing: sudo apt-get install {list}");
    }
    static LISTS: Once = Once::new();
    // Old lists may still do; installing says so otherwise.
    LISTS.call_once(|| {
        let _ = apt_get(&["update"]);
    });
    let options = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&options[..], &missing].concat())
        .with_context(|| format!("the tests need Debian packages that are missing: {list}"))
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {}: {}", arguments.join(" "), errors.trim());
    }
    Ok(())
}
