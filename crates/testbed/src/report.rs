//! What tests tell `cargo xtask test` beside that they passed.

use std::env;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

/// Names the file that takes the entries, a line each.
pub const FILE: &str = "CULVERT_TEST_REPORT";

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A test passed on the kernel's module, in a guest.
    InGuest {
        /// Its name.
        test: String,
        /// When it asked for the guest.
        start: SystemTime,
        /// When it was done.
        end: SystemTime,
    },
    /// A test could not run, which must not be overlooked.
    Skipped {
        /// Its name.
        test: String,
        /// Why, in one line.
        reason: String,
    },
    /// So many cases of the table for `wg` were tried.
    Cases {
        /// What serves the interface.
        on: String,
        /// How many.
        number: usize,
    },
    /// An example of a document was executed: its place, as `README.md:7`.
    Example(String),
    /// So many faults were tried: how many, and where.
    Faults(String),
    /// Two implementations talked to each other: a cell of the matrix.
    Interop(Interop),
    /// The hosts of a recipe reached each other, or did not, as it says.
    Recipe {
        /// Its name.
        name: String,
        /// How many addresses were reached.
        reached: usize,
        /// How many were not.
        denied: usize,
    },
}

/// A cell of the matrix of implementations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interop {
    /// Who initiated, without white space.
    pub initiator: String,
    /// Who answered, without white space.
    pub responder: String,
    /// What was tried: the column.
    pub what: String,
    /// Whether all of it went well.
    pub passed: bool,
}

/// Adds an entry. Without the file only a skipped test is told, on standard error, past the test
/// harness, which keeps what is printed by tests that pass.
///
/// # Errors
/// When it cannot be written.
pub fn add(entry: &Entry) -> Result<()> {
    let line = line(entry);
    ensure!(!line.contains('\n'), "an entry is one line");
    if let Some(path) = env::var_os(FILE) {
        let mut file = File::options().append(true).create(true).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
    } else if matches!(entry, Entry::Skipped { .. }) {
        std::io::stderr().write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Tells that a test cannot run here for lack of something that is there where everything is tested.
///
/// # Errors
/// With `CI` set, where a test that cannot run fails; or as [`add`].
pub fn cannot_run(test: &str, reason: &str) -> Result<()> {
    add(&Entry::Skipped { test: test.to_owned(), reason: reason.to_owned() })?;
    ensure!(env::var_os("CI").is_none(), "{test} cannot run: {reason}");
    Ok(())
}

/// The entries in a file's text.
#[must_use]
pub fn entries(text: &str) -> Vec<Entry> {
    text.lines().filter_map(entry).collect()
}

fn line(entry: &Entry) -> String {
    let moment = |time: &SystemTime| {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string()
    };
    match entry {
        Entry::InGuest { test, start, end } => {
            format!("guest {} {} {test}", moment(start), moment(end))
        }
        Entry::Skipped { test, reason } => format!("SKIPPED {test}: {}", reason.replace('\n', " ")),
        Entry::Cases { on, number } => format!("cases {number} {on}"),
        Entry::Example(place) => format!("example {place}"),
        Entry::Faults(what) => format!("faults {what}"),
        Entry::Interop(Interop { initiator, responder, what, passed }) => {
            format!("interop {passed} {initiator} {responder} {what}")
        }
        Entry::Recipe { name, reached, denied } => format!("recipe {reached} {denied} {name}"),
    }
}

fn entry(line: &str) -> Option<Entry> {
    let moment = |text: &str| Some(UNIX_EPOCH + Duration::from_millis(text.parse().ok()?));
    let (kind, rest) = line.split_once(' ')?;
    Some(match kind {
        "guest" => {
            let mut words = rest.splitn(3, ' ');
            let (start, end) = (moment(words.next()?)?, moment(words.next()?)?);
            Entry::InGuest { test: words.next()?.to_owned(), start, end }
        }
        "SKIPPED" => {
            let (test, reason) = rest.split_once(": ")?;
            Entry::Skipped { test: test.to_owned(), reason: reason.to_owned() }
        }
        "cases" => {
            let (number, on) = rest.split_once(' ')?;
            Entry::Cases { on: on.to_owned(), number: number.parse().ok()? }
        }
        "example" => Entry::Example(rest.to_owned()),
        "faults" => Entry::Faults(rest.to_owned()),
        "interop" => {
            let mut words = rest.splitn(4, ' ');
            let passed = words.next()?.parse().ok()?;
            let [initiator, responder, what] =
                [words.next()?, words.next()?, words.next()?].map(str::to_owned);
            Entry::Interop(Interop { initiator, responder, what, passed })
        }
        "recipe" => {
            let mut words = rest.splitn(3, ' ');
            let (reached, denied) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Entry::Recipe { name: words.next()?.to_owned(), reached, denied }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let start = UNIX_EPOCH + Duration::from_millis(1_234_567);
        let all = [
            Entry::InGuest { test: "a::b".into(), start, end: start + Duration::from_secs(2) },
            Entry::Skipped { test: "a::b".into(), reason: "no guest: no qemu".into() },
            Entry::Cases { on: "the kernel".into(), number: 7 },
            Entry::Example("README.md:7".into()),
            Entry::Faults("7 at the steps of two reloads".into()),
            Entry::Interop(Interop {
                initiator: "ours".into(),
                responder: "kernel".into(),
                what: "4in6 psk".into(),
                passed: false,
            }),
            Entry::Recipe { name: "full star".into(), reached: 5, denied: 3 },
        ];
        let text: String = all.iter().map(|entry| line(entry) + "\n").collect();
        assert_eq!(entries(&text), all);
    }
}
