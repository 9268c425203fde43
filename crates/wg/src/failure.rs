//! What goes wrong, on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

/// Tells what went wrong. The first line is the original's; what we know beyond it follows.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for line in error.chain() {
        // With standard error gone there is nobody to tell.
        let _ = writeln!(stderr, "{line}");
    }
    ExitCode::FAILURE
}

/// An interface cannot be read: the original's line, and what is known beyond it.
pub(crate) fn access(error: &wg_control::Error) -> anyhow::Error {
    with_detail("Unable to access interface", error)
}

/// `WHAT: errno's sentence`, and what is known beyond it.
pub(crate) fn with_detail(what: &str, error: &wg_control::Error) -> anyhow::Error {
    let line = format!("{what}: {error}");
    match error.detail() {
        Some(detail) => anyhow::Error::msg(detail.to_owned()).context(line),
        None => anyhow::Error::msg(line),
    }
}
