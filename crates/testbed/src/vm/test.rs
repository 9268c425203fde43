//! Tests that run themselves in a guest.

use std::any::type_name_of_val;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::pool;
use crate::report::{self, Entry};
use crate::{originals, programs};

/// Set in a guest.
const INSIDE: &str = "CULVERT_GUEST";

/// The file in the job's folder that takes what the test reports.
const REPORT: &str = "report";

/// What a test gets unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether this process runs in a guest.
#[must_use]
pub fn inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs a test's body in one of the guests that the tests of this process share: this very program
/// is started there for this one test. The body has to be a closure written in the test function
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
    let start = SystemTime::now();
    let guest = match pool::take() {
        Ok(guest) => guest,
        Err(error) => {
            let reason = format!("no guest with the kernel module: {error:#}");
            return report::cannot_run(name, &reason);
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
    writeln!(script, "export {}=\"$PWD/{REPORT}\"", report::FILE)?;
    let program = env::current_exe()?;
    writeln!(
        script,
        "exec '{}' --exact '{name}' --include-ignored --nocapture --test-threads=1",
        program.display()
    )?;
    let finished = guest.job(name)?.limit(limit).run(&script)?;
    drop(guest);
    // A failed test, too, may have told what failed.
    let inside = fs::read_to_string(finished.folder.join(REPORT)).unwrap_or_default();
    report::entries(&inside).iter().try_for_each(report::add)?;
    // A name that fits no test is no failure to the test harness.
    if finished.code != 0 || !finished.stdout.contains("test result: ok. 1 passed;") {
        bail!("{finished}");
    }
    report::add(&Entry::InGuest { test: name.to_owned(), start, end: SystemTime::now() })
}
