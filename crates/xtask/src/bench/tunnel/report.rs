//! The table of medians.

use super::figures::{COLUMNS, Column, Figures};
use super::peers::Implementation;

/// What was measured of each implementation, a turn each.
pub(super) type Results<'a> = [(&'a Implementation, Vec<Figures>)];

/// The columns of which something was measured.
pub(super) fn measured(results: &Results<'_>) -> Vec<&'static Column> {
    let is_measured = |column: &&Column| {
        let mut figures = results.iter().flat_map(|(_, figures)| figures);
        figures.any(|figures| (column.value)(figures).is_some())
    };
    COLUMNS.iter().filter(is_measured).collect()
}

/// A Markdown table: medians, with the range in brackets.
pub(super) fn table(results: &Results<'_>) -> String {
    let columns = measured(results);
    let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
    let mut table = format!("| implementation | {} |\n", titles.join(" | "));
    table += &format!("|{}\n", "---|".repeat(columns.len() + 1));
    for (implementation, figures) in results {
        let cells: Vec<_> = columns.iter().map(|column| cell(column, figures)).collect();
        table += &format!("| {} | {} |\n", implementation.name, cells.join(" | "));
    }
    table
}

fn cell(column: &Column, figures: &[Figures]) -> String {
    let Some(Spread { median, least, most }) = Spread::of(column, figures) else {
        return "-".to_owned();
    };
    let digits = column.digits;
    format!("{median:.digits$} [{least:.digits$}-{most:.digits$}]")
}

/// The middle and the ends of what was measured.
pub(super) struct Spread {
    pub(super) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(super) fn of(column: &Column, figures: &[Figures]) -> Option<Self> {
        let mut values: Vec<_> = figures.iter().filter_map(column.value).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Udp;
    use super::*;

    fn implementation() -> Implementation {
        let (command, no_offload) = (String::new(), String::new());
        Implementation { name: "some".to_owned(), command, no_offload }
    }

    #[test]
    fn the_table_has_medians_and_ranges() {
        let implementation = implementation();
        let turn = |tcp| Figures { tcp: Some(tcp), ..Figures::default() };
        let results = [(&implementation, [3.0, 1.0, 2.5].map(turn).to_vec())];
        assert_eq!(
            table(&results),
            "| implementation | TCP 1, Gbit/s |\n|---|---|\n| some | 2.50 [1.00-3.00] |\n"
        );
        let even = Spread::of(&COLUMNS[0], &results[0].1[1..]).map(|spread| spread.median);
        assert_eq!(even, Some(1.75));
    }

    #[test]
    fn what_was_measured_in_one_round_of_one_has_a_column() {
        let implementation = implementation();
        let measured = Udp { loss_free: Some(99.6), ..Udp::default() };
        let turn = Figures { udp_small: measured, ..Figures::default() };
        let results = [
            (&implementation, vec![Figures::default(), turn]),
            (&implementation, vec![Figures::default()]),
        ];
        let table = table(&results);
        assert!(table.starts_with("| implementation | loss-free 64 B, kpps |\n"), "{table}");
        assert!(table.ends_with("| some | 100 [100-100] |\n| some | - |\n"), "{table}");
    }
}
