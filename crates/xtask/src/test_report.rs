//! What the tests told beside that they passed.

use std::time::{Duration, SystemTime};

use testbed::report::{self, Entry};

use crate::interop_matrix;

/// Prints how much was tried on the kernel module and in the recipes, who understood whom, and
/// loudly what was skipped. Tells whether all was tried that a run, `long` or not, should try; only
/// what was skipped may be missing.
pub(crate) fn print(text: &str, long: bool) -> bool {
    let entries = report::entries(text);
    let mut times = Vec::new();
    let (mut matrix, mut skipped, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let (mut all_reached, mut all_denied) = (0, 0);
    for entry in &entries {
        match entry {
            Entry::InGuest { start, end, .. } => times.push((*start, *end)),
            Entry::Faults(what) => faults.push(what),
            Entry::Interop(cell) => matrix.push(cell),
            Entry::Skipped { test, reason } => skipped.push((test, reason)),
            Entry::Recipe { reached, denied, .. } => {
                all_reached += reached;
                all_denied += denied;
            }
            Entry::Cases { .. } | Entry::Example(_) => {}
        }
    }
    println!(
        "\nOn the kernel module: {} tests with {} cases of wg passed in {} s, {} tests skipped.",
        times.len(),
        cases(&entries),
        covered(times).as_secs(),
        skipped.len()
    );
    for (test, reason) in &skipped {
        println!("SKIPPED {test}: {reason}");
    }
    println!(
        "\nIn the recipes: {all_reached} addresses reached, {all_denied} denied, as they say."
    );
    for what in faults {
        println!("Faults, after each of which the host was as before: {what}.");
    }
    let (table, missing) = interop_matrix::table(&matrix, long);
    println!("\nWho was tried with whom:\n{table}");
    for cell in &missing {
        println!("NOT TRIED {cell}");
    }
    missing.is_empty() || !skipped.is_empty()
}

/// The cases of the table that were tried on the kernel module.
fn cases(entries: &[Entry]) -> usize {
    entries
        .iter()
        .map(|entry| match entry {
            Entry::Cases { on, number } if on == "kernel" => *number,
            _ => 0,
        })
        .sum()
}

/// How long it was that at least one of the spans lasted.
fn covered(mut spans: Vec<(SystemTime, SystemTime)>) -> Duration {
    spans.sort_unstable();
    let mut sum = Duration::ZERO;
    let mut until = SystemTime::UNIX_EPOCH;
    for (start, end) in spans {
        sum += end.duration_since(start.max(until)).unwrap_or_default();
        until = until.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_at_the_same_time_count_once() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let spans = vec![(at(20), at(25)), (at(0), at(10)), (at(5), at(12)), (at(6), at(7))];
        assert_eq!(covered(spans), Duration::from_secs(17));
        assert_eq!(covered(Vec::new()), Duration::ZERO);
    }
}
