//! Going to the background, once the interface is ready to be configured.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::exit;

use anyhow::Context;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe, setsid};

/// The daemon's link to the process that the user started.
pub(crate) struct Background(Option<Parent>);

struct Parent {
    pipe: OwnedFd,
    /// Opened while files can be.
    null: io::Result<File>,
}

/// Splits in two unless the daemon stays in the foreground: the child returns from here and the
/// parent waits for [`Background::ready`], or for the child's failure, whose exit code it takes.
/// To be called while there is one thread.
pub(crate) fn enter(foreground: bool) -> anyhow::Result<Background> {
    if foreground {
        return Ok(Background(None));
    }
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    // SAFETY: there is one thread, so that the child may do anything.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => {
            drop(writer);
            exit(wait(child, reader));
        }
        ForkResult::Child => {
            drop(reader);
            setsid().context("cannot start a session")?;
            std::env::set_current_dir("/").context("cannot change to /")?;
            let null = OpenOptions::new().read(true).write(true).open("/dev/null");
            Ok(Background(Some(Parent { pipe: writer, null })))
        }
    }
}

impl Background {
    /// Lets go of the terminal and of the parent.
    pub(crate) fn ready(self, keep_output: bool) -> anyhow::Result<()> {
        let Some(Parent { pipe, null }) = self.0 else { return Ok(()) };
        let null = null.context("cannot open /dev/null")?;
        dup2_stdin(&null)?;
        if !keep_output {
            dup2_stdout(&null)?;
            dup2_stderr(&null)?;
        }
        // A parent that was killed meanwhile need not know.
        let _ = nix::unistd::write(&pipe, &[0]);
        Ok(())
    }
}

/// The parent's exit code: 0 when the child says it is ready, the child's own otherwise.
fn wait(child: Pid, reader: OwnedFd) -> i32 {
    let ready = File::from(reader).read(&mut [0]);
    if matches!(ready, Ok(1)) {
        return 0;
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) if code != 0 => code,
        _ => 1,
    }
}
