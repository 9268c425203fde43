//! Root, or what comes near it.

use std::fs::{self, OpenOptions};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Whether this process is root, be it of a user namespace.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Makes this process root of a user namespace of its own, where the system lets anybody do that:
/// enough for test hosts, too little to install packages. The process must still have a single
/// thread.
///
/// # Errors
/// Where the system forbids it, saying that root is needed.
pub fn enter_user_namespace() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        anyhow!(
            "this needs root: the system does not let you make a user namespace ({})",
            errno.desc()
        )
    })?;
    // Without this, the group map may be written by root alone.
    fs::write("/proc/self/setgroups", "deny").context("cannot give up setting groups")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("cannot become root inside")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("cannot become root inside")
}

/// Checks that this process may make TUN devices.
///
/// # Errors
/// When it may not, saying what is needed.
pub fn check_tun() -> Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
        .context("this needs root and /dev/net/tun, which cannot be opened here")
}
