//! Becoming root.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::getuid;

use crate::hook::Failed;
use crate::{program, say};

/// What a shell says of a command that is not there.
const NOT_FOUND: u8 = 127;

/// Returns for root; for anybody else runs this program again through sudo, with its prompt as the
/// original words it.
///
/// # Errors
/// When there is no sudo.
pub(crate) fn become_root(arguments: &[OsString]) -> anyhow::Result<()> {
    if getuid().is_root() {
        return Ok(());
    }
    let program = program();
    let prompt =
        format!("{program} must be run as root. Please enter the password for %u to continue: ");
    let error = Command::new("sudo")
        .args(["-p", &prompt, "--"])
        .arg(env::current_exe()?)
        .args(arguments)
        .exec();
    say(format_args!("{program}: it must be run as root, and sudo cannot be run: {error}"));
    Err(Failed(NOT_FOUND).into())
}
