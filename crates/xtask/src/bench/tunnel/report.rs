//! The table and the plot.

use std::fmt::Write;

use super::figures::{COLUMNS, Column, Figures};
use super::peers::Implementation;

type Results<'a> = [(&'a Implementation, Vec<Figures>)];

/// A Markdown table: medians, with the range in brackets.
pub(super) fn table(results: &Results<'_>) -> String {
    let titles: Vec<_> = COLUMNS.iter().map(|column| column.title).collect();
    let mut table = format!("| implementation | {} |\n", titles.join(" | "));
    table += &format!("|{}\n", "---|".repeat(COLUMNS.len() + 1));
    for (implementation, figures) in results {
        let cells: Vec<_> = COLUMNS.iter().map(|column| cell(column, figures)).collect();
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

/// A bar for each implementation in each column, as long as its median is in that column.
pub(super) fn plot(results: &Results<'_>) -> String {
    const BAR: usize = 16;
    const LEFT: usize = 130;
    const WIDTH: usize = 420;
    const COLOURS: [&str; 4] = ["#1b6ca8", "#9aa5b1", "#c9b79c", "#b5838d"];
    let block = results.len() * BAR + 34;
    let height = block * COLUMNS.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 130
    );
    for (i, column) in COLUMNS.iter().enumerate() {
        let top = i * block;
        let better = if column.more_is_better { "more" } else { "less" };
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{} ({better} is better)</text>",
            top + 16,
            column.title
        );
        let spreads: Vec<_> =
            results.iter().map(|(_, figures)| Spread::of(column, figures)).collect();
        let most = spreads.iter().flatten().map(|spread| spread.median).fold(0.0, f64::max);
        for (row, ((implementation, _), spread)) in results.iter().zip(&spreads).enumerate() {
            let Some(spread) = spread else { continue };
            let y = top + 22 + row * BAR;
            let width = if most > 0.0 { spread.median / most * WIDTH as f64 } else { 0.0 };
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{:.*}</text>",
                LEFT - 6,
                y + 12,
                implementation.name,
                BAR - 3,
                COLOURS[row % COLOURS.len()],
                LEFT as f64 + width + 6.0,
                y + 12,
                column.digits,
                spread.median
            );
        }
    }
    svg + "</svg>\n"
}

/// The middle and the ends of what was measured.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(column: &Column, figures: &[Figures]) -> Option<Self> {
        let mut values: Vec<_> = figures.iter().map(column.value).collect();
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
    use super::*;

    #[test]
    fn the_table_has_medians_and_ranges() {
        let implementation = Implementation { name: "some", command: String::new() };
        let figures = [3.0, 1.0, 2.5].map(|tcp| Figures { tcp, ..Figures::default() }).to_vec();
        let results = [(&implementation, figures)];
        let table = table(&results);
        assert!(table.contains("| some | 2.50 [1.00-3.00] | 0.00 [0.00-0.00] |"), "{table}");
        let even = Spread::of(&COLUMNS[0], &results[0].1[1..]).map(|spread| spread.median);
        assert_eq!(even, Some(1.75));
        assert!(plot(&results).ends_with("</svg>\n"));
    }
}
