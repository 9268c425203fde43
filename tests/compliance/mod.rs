//! The table of what `wg` does, run with the original and with ours.

mod case;
mod script;

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use testbed::report::{self, Entry};
use testbed::{originals, programs};

use crate::daemon::Daemon;
use case::{Case, Section};
use script::Bench;

const CASES: &str = include_str!("wg.cases");
const COMPATIBILITY: &str = include_str!("../../docs/compatibility.md");

/// What a line of shell did.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    stdout: String,
    stderr: String,
    code: String,
    /// What the interfaces are afterwards, as the original shows them.
    state: String,
}

/// Runs the cases on interfaces of `daemon`, of those sections of the table whose titles begin with
/// `title`.
///
/// `CULVERT_CASES` names a part of a line: only the lines that hold it are run then.
///
/// # Errors
/// All cases in which ours is not as the original, and those that are said to differ and do not.
pub fn wg_complies(daemon: Daemon, title: &str) -> Result<()> {
    let wanted = env::var("CULVERT_CASES").unwrap_or_default();
    let sections = case::sections(CASES);
    every_reference_has_an_entry(&sections)?;
    let original = Bench::start(daemon, &originals::folder()?)?;
    let ours = Bench::start(daemon, &programs::folder()?)?;
    let (mut count, mut wrong) = (0, Vec::new());
    for section in sections.into_iter().filter(|section| section.title.starts_with(title)) {
        let cases: Vec<_> =
            section.cases.into_iter().filter(|case| case.line.contains(&wanted)).collect();
        let (expected, outcomes) = thread::scope(|scope| {
            let expected = scope.spawn(|| original.run(&cases));
            let outcomes = ours.run(&cases);
            (expected.join().expect("it does not panic"), outcomes)
        });
        let (expected, outcomes) = (expected?, outcomes?);
        count += cases.len();
        println!("{}: {} cases on {daemon:?}", section.title, cases.len());
        for ((case, expected), outcome) in cases.iter().zip(&expected).zip(&outcomes) {
            wrong.extend(judge(case, expected, outcome).map(|what| {
                let Case { number, line, .. } = case;
                format!(
                    "line {number}: {line}\n{what}\noriginal: {expected:#?}\nours: {outcome:#?}"
                )
            }));
        }
    }
    ensure!(count > 0, "no case of `{title}' holds `{wanted}'");
    if !wrong.is_empty() {
        bail!("{} of {count} cases on {daemon:?}:\n\n{}", wrong.len(), wrong.join("\n\n"));
    }
    report::add(&Entry::Cases { on: daemon.to_string(), number: count })
}

/// What is wrong with a case, if anything.
fn judge(case: &Case<'_>, original: &Outcome, ours: &Outcome) -> Option<String> {
    let difference = difference(original, ours);
    match (&case.difference, difference) {
        (None, None) | (Some(_), Some(_)) => None,
        (None, Some(what)) => Some(format!("{what} is not the original's")),
        (Some(entry), None) => Some(format!("there is no difference, against `{entry}'")),
    }
}

fn difference(original: &Outcome, ours: &Outcome) -> Option<&'static str> {
    let begins_alike = ours.stderr.starts_with(&original.stderr);
    let goes_on = ours.stderr.len() > original.stderr.len();
    if ours.code != original.code {
        Some("the exit code")
    } else if ours.stdout != original.stdout {
        Some("standard output")
    } else if !begins_alike || (goes_on && ours.code == "0") {
        Some("standard error")
    } else if ours.state != original.state {
        Some("the resulting state")
    } else {
        None
    }
}

/// `#: some-entry` in the table is the heading `### Some entry` in the document.
fn every_reference_has_an_entry(sections: &[Section<'_>]) -> Result<()> {
    let headings = COMPATIBILITY.lines().filter_map(|line| line.strip_prefix("### "));
    let entries: BTreeSet<_> =
        headings.map(|heading| heading.trim().to_lowercase().replace(' ', "-")).collect();
    for case in sections.iter().flat_map(|section| &section.cases) {
        if let Some(entry) = case.difference {
            ensure!(
                entries.contains(entry),
                "line {}: `{entry}' is no entry of docs/compatibility.md",
                case.number
            );
        }
    }
    Ok(())
}

/// The text of a file of the bench, whatever bytes it has.
fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
