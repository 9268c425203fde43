//! Standard output.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use wg_control::SecretWriter;

/// Standard output, buffered; what it held, keys perhaps, is zeroed.
///
/// It goes past the standard library's buffer, which is not.
pub(crate) struct Output(SecretWriter<File>);

impl Output {
    pub(crate) fn new() -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(SecretWriter::new(stdout.into())))
    }

    /// Writes out what is buffered.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush().map_err(wg_control::Error::from).context("cannot write to standard output")
    }
}

impl Write for Output {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write(text).inspect_err(end_with_the_reader)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(end_with_the_reader)
    }
}

/// Ends as `wg show | head -1` ends the original: silently, by the signal, which Rust programs
/// ignore unless told otherwise.
fn end_with_the_reader(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
        let _ = raise(Signal::SIGPIPE);
    }
}
