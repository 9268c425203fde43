//! PreUp, PostUp, PreDown and PostDown commands.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::Context;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::programs::Programs;
use crate::say;
use crate::signals::Signals;

/// The shell that runs hooks.
pub(crate) struct Shell {
    program: PathBuf,
    script: &'static str,
}

/// A hook or the daemon failed; the exit code is the command's own, 128 + n for signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command failed with {0}")]
pub(crate) struct Failed(pub u8);

/// As in the original, a hook sees INTERFACE and CONFIG_FILE as shell variables that it does not
/// pass on, and stops at its first failing command. Its text comes by a descriptor: a command line
/// is for everybody to read, and has at most 128 KiB.
const BASH: &str = "set -e -o pipefail; shopt -s extglob; \
    INTERFACE=$1 CONFIG_FILE=$2 descriptor=$3; set --; \
    IFS= read -r -d '' hook <&$descriptor || :; exec {descriptor}<&-; \
    unset descriptor; eval \"$hook\"";

/// Not every sh knows pipefail, and one that does not would exit over it; nor do all know descriptors
/// above 9 by anything but a path.
const SH: &str = "set -e; if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi; \
    INTERFACE=$1 CONFIG_FILE=$2 hook=/dev/fd/$3; set --; . \"$hook\"";

impl Shell {
    /// Bash where there is one, else sh, which is said.
    ///
    /// # Errors
    /// When there is neither.
    pub(crate) fn find(programs: &Programs) -> anyhow::Result<Self> {
        if let Some(program) = programs.find("bash") {
            return Ok(Self { program, script: BASH });
        }
        let program = programs
            .find("sh")
            .context("the hooks cannot be run: there is no bash and no sh in PATH")?;
        say(format_args!("[!] There is no bash: the hooks are run by {}.", program.display()));
        Ok(Self { program, script: SH })
    }

    /// Runs one hook in a process of its own, on our standard input and output.
    ///
    /// # Errors
    /// [`Failed`] with the hook's exit code, or [`Interrupted`](crate::signals::Interrupted).
    pub(crate) fn run(
        &self,
        hook: &str,
        interface: &str,
        config_file: &Path,
        programs: &Programs,
        signals: &Signals,
    ) -> anyhow::Result<()> {
        let text = in_memory(hook).context("the hook's text cannot be handed over")?;
        let mut command = programs.command(&self.program);
        command.args(["-c", self.script, "wg-quick", interface]).arg(config_file);
        command.arg(text.as_raw_fd().to_string());
        let mut child = signals
            .spawn(&mut command)
            .with_context(|| format!("{} cannot be run", self.program.display()))?;
        drop(text);
        success(signals.wait(&mut child)?)
    }
}

/// A file in memory that the next child inherits.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("hook", MFdFlags::empty())?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Turns a status into [`Failed`] unless it is success.
///
/// # Errors
/// [`Failed`].
pub(crate) fn success(status: ExitStatus) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    // A status is 8 bits, and there are fewer than 128 signals.
    Err(Failed(code as u8).into())
}
