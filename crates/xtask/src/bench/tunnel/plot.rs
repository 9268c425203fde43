//! The plot of medians.

use std::fmt::Write;

use super::report::{Results, Spread, measured};

/// A bar for each implementation in each column, as long as its median is in that column.
pub(super) fn svg(results: &Results<'_>) -> String {
    const BAR: usize = 16;
    const LEFT: usize = 190;
    const WIDTH: usize = 420;
    const COLOURS: [&str; 4] = ["#1b6ca8", "#9aa5b1", "#c9b79c", "#b5838d"];
    let block = results.len() * BAR + 34;
    let columns = measured(results);
    let height = block * columns.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 130
    );
    for (i, column) in columns.iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::super::peers::Implementation;
    use super::*;

    #[test]
    fn the_best_bar_has_the_full_width() {
        let named = |name: &str| {
            let (command, no_offload) = (String::new(), String::new());
            Implementation { name: name.to_owned(), command, no_offload }
        };
        let turn = |ping| vec![Figures { ping: Some(ping), ..Figures::default() }];
        let (slow, fast) = (named("slow"), named("fast"));
        let svg = svg(&[(&slow, turn(0.5)), (&fast, turn(0.25))]);
        assert!(svg.contains("ping, ms (less is better)"), "{svg}");
        let widths: Vec<_> = svg.lines().filter(|line| line.contains("end\">")).collect();
        assert!(widths[0].contains("width=\"420.0\"") && widths[0].contains(">slow<"), "{svg}");
        assert!(widths[1].contains("width=\"210.0\"") && widths[1].contains(">fast<"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
