//! The daemons that are compared.

use std::process::Command;

use anyhow::{Context, Result, bail};
use testbed::{originals, programs};

/// A daemon that makes an interface and serves its UAPI socket.
pub(super) struct Implementation {
    pub(super) name: &'static str,
    /// The command that starts it in the background, without the interface's name.
    pub(super) command: String,
}

/// Ours and the others, installed if need be. One that cannot be had is said and left out.
pub(super) fn all() -> Result<Vec<Implementation>> {
    let wireguard_go = originals::wireguard_go()?.display().to_string();
    let mut all = vec![
        Implementation { name: "culvert", command: "wg-userspace".to_owned() },
        Implementation { name: "wireguard-go", command: wireguard_go },
    ];
    match boringtun() {
        Ok(command) => all.push(Implementation { name: "boringtun", command }),
        Err(error) => println!("boringtun is left out: {error:#}"),
    }
    Ok(all)
}

/// Cloudflare's daemon, built from its crate into the target folder.
fn boringtun() -> Result<String> {
    let folder = programs::target_folder()?.join("bench");
    let program = folder.join("bin/boringtun-cli");
    if !program.is_file() {
        println!("Building boringtun.");
        let status = Command::new("cargo")
            .args(["install", "boringtun-cli", "--locked", "--quiet", "--root"])
            .arg(&folder)
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo install boringtun-cli failed");
        }
    }
    Ok(format!("{} --disable-drop-privileges", program.display()))
}
