//! Who was tried with whom, as a table.

use testbed::report::Interop;

/// What there is to try, from left to right.
const COLUMNS: [&str; 12] = [
    "4in4 psk", "6in4 psk", "4in6 psk", "6in6 psk", "4in4", "6in4", "4in6", "6in6", "rekey",
    "roaming", "cookie", "GiB",
];
/// Each is tried with ours, in both roles.
const OTHERS: [&str; 4] = ["wireguard-go", "boringtun", "gotatun", "kernel"];
const OURS: &str = "ours";

/// The table, with what its words mean, and the cells that should have been tried and were not, each
/// as `ours to kernel, 4in4`. What fits none of its rows and columns is added to them. `long`: the run
/// was one with `--long`.
pub(crate) fn table(cells: &[&Interop], long: bool) -> (String, Vec<String>) {
    let pairs = OTHERS.iter().flat_map(|other| [(OURS, *other), (*other, OURS)]);
    let mut rows: Vec<_> = [(OURS, OURS)].into_iter().chain(pairs).collect();
    let mut columns = COLUMNS.to_vec();
    for cell in cells {
        let row = (&*cell.initiator, &*cell.responder);
        if !rows.contains(&row) {
            rows.push(row);
        }
        if !columns.contains(&&*cell.what) {
            columns.push(&cell.what);
        }
    }
    let names: Vec<_> = rows.iter().map(|(from, to)| format!("{from} to {to}")).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut text = format!("{:width$}", "initiator to responder");
    columns.iter().for_each(|column| text += &format!("  {column}"));
    let (mut passed, mut failed, mut missing) = (0, 0, Vec::new());
    for (&(from, to), name) in rows.iter().zip(&names) {
        text += &format!("\n{name:width$}");
        for column in &columns {
            let here = |cell: &&&Interop| {
                (&*cell.initiator, &*cell.responder, &*cell.what) == (from, to, *column)
            };
            let results: Vec<_> = cells.iter().filter(here).map(|cell| cell.passed).collect();
            // Tried more than once, it counts as it went worst.
            let word = match &results[..] {
                [] if !is_planned((from, to), column, long) => ".",
                [] => {
                    missing.push(format!("{name}, {column}"));
                    "-"
                }
                all if all.contains(&false) => {
                    failed += 1;
                    "FAIL"
                }
                _ => {
                    passed += 1;
                    "ok"
                }
            };
            text += &format!("  {word:>0$}", column.len());
        }
    }
    text += &format!(
        "\n6in4: IPv6 in a tunnel over IPv4. psk: with a preshared key. A dot: not tried by {}.\n\
         {passed} went well, {failed} failed, {} (-) are missing.",
        if long { "any run" } else { "a run without --long" },
        missing.len()
    );
    (text, missing)
}

/// Whether a run, with `--long` or without, tries `what` between these two.
fn is_planned(pair: (&str, &str), what: &str, long: bool) -> bool {
    let ((OURS, other) | (other, OURS)) = pair else { return false };
    match what {
        "roaming" | "cookie" => other == "kernel",
        "rekey" => long,
        "GiB" => long && other == "wireguard-go",
        _ => COLUMNS.contains(&what) && (long || other != "gotatun"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(initiator: &str, responder: &str, what: &str, passed: bool) -> Interop {
        let [initiator, responder, what] = [initiator, responder, what].map(str::to_owned);
        Interop { initiator, responder, what, passed }
    }

    #[test]
    fn a_cell_is_what_went_worst_and_what_was_not_tried_is_seen() {
        let cells = [
            cell("ours", "kernel", "4in4", true),
            cell("ours", "kernel", "4in4", false),
            cell("kernel", "ours", "rekey", true),
            cell("gotatun", "gotatun", "moon", true),
        ];
        let (table, missing) = table(&cells.iter().collect::<Vec<_>>(), false);
        let words = |row: &str| -> Vec<_> {
            let line = table.lines().find(|line| line.starts_with(row)).unwrap();
            line.split_whitespace().skip(3).collect()
        };
        assert_eq!(words("ours to kernel")[4..6], ["FAIL", "-"]);
        assert_eq!(words("kernel to ours")[8..], ["ok", "-", "-", ".", "."]);
        assert_eq!(words("gotatun to gotatun")[11..], [".", "ok"]);
        // Eight of seven pairs and two more of two, but for the one that was tried.
        assert_eq!(missing.len(), 8 * 7 + 2 * 2 - 1);
        assert!(missing.contains(&"kernel to ours, cookie".to_owned()), "{missing:?}");
        let counts = "\n2 went well, 1 failed, 59 (-) are missing.";
        assert!(table.ends_with(counts), "{table}");
    }

    #[test]
    fn a_long_run_tries_more() {
        let missing = |long| table(&[], long).1;
        let (short, long) = (missing(false), missing(true));
        assert!(short.iter().all(|cell| long.contains(cell)));
        // Eight of gotatun's both pairs, all nine pairs' rekeys, gigabytes with wireguard-go.
        assert_eq!(long.len() - short.len(), 8 * 2 + 9 + 2);
        assert!(long.contains(&"ours to gotatun, 6in4 psk".to_owned()), "{long:?}");
        assert!(!short.iter().any(|cell| cell.contains("gotatun")), "{short:?}");
    }
}
