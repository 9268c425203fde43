//! Tests that run themselves in a guest.

use std::any::type_name_of_val;
use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Guest;
use crate::{originals, programs};

/// Set in a guest.
const INSIDE: &str = "CULVERT_GUEST";

/// Names a file that gets a line for each test: `passed NAME in SECONDS s`, or `SKIPPED NAME: REASON`.
pub const RECORD: &str = "CULVERT_KERNEL_RECORD";

/// What a test gets unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether this process runs in a guest.
#[must_use]
pub fn inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs a test's body in the guest that all tests of this process share: this very program is
/// started there for this one test. The body has to be a closure written in the test function
/// itself, whose name it is found by.
///
/// Where no guest can run, that is said loudly and the test passes without; with `CI` set it fails.
///
/// # Errors
/// The body's, with all that was printed in the guest.
pub fn test(body: impl FnOnce() -> Result<()>) -> Result<()> {
    test_within(LIMIT, body)
}

/// As [`test`], with a limit of its own, in whole seconds.
///
/// # Errors
/// As [`test`].
pub fn test_within(limit: Duration, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if inside() {
        return body();
    }
    let closure = type_name_of_val(&body);
    let name = closure
        .split_once("::")
        .and_then(|(_, path)| path.strip_suffix("::{{closure}}"))
        .with_context(|| format!("{closure} is no closure of a test function"))?;
    let guest = match Guest::shared() {
        Ok(guest) => guest,
        Err(error) => {
            tell(&format!("SKIPPED {name}: no guest with the kernel module: {error:#}"))?;
            if env::var_os("CI").is_some() {
                return Err(error.context("no guest with the kernel module"));
            }
            return Ok(());
        }
    };
    // The guest has no network to fetch them over.
    let originals = originals::folder()?;
    let mut script = format!("export {INSIDE}=1\n");
    let places = [("CULVERT_ORIGINALS", originals), ("CULVERT_BIN_DIR", programs::folder()?)];
    for (variable, place) in places {
        writeln!(script, "export {variable}='{}'", place.display())?;
    }
    if let Ok(value) = env::var("RUST_BACKTRACE") {
        writeln!(script, "export RUST_BACKTRACE='{value}'")?;
    }
    let program = env::current_exe()?;
    writeln!(
        script,
        "exec '{}' --exact '{name}' --include-ignored --nocapture --test-threads=1",
        program.display()
    )?;
    // The guest has one processor: side by side, tests would only be in each other's way.
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let finished = guest.job(name)?.limit(limit).run(&script)?;
    drop(turn);
    // A name that fits no test is no failure to the test harness.
    if finished.code != 0 || !finished.stdout.contains("test result: ok. 1 passed;") {
        bail!("{finished}");
    }
    tell(&format!("passed {name} in {:.1} s", start.elapsed().as_secs_f64()))
}

/// Adds to the record of what was tried on the kernel module, which is where [`RECORD`] says, else
/// on standard error, past the test harness, which keeps what is printed by tests that pass.
fn tell(outcome: &str) -> Result<()> {
    let line = format!("{outcome}\n");
    if let Some(path) = env::var_os(RECORD) {
        File::options().append(true).create(true).open(path)?.write_all(line.as_bytes())?;
    } else if outcome.starts_with("SKIPPED") {
        std::io::stderr().write_all(line.as_bytes())?;
    }
    Ok(())
}
