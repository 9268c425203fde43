//! Times and amounts for people to read.

use std::time::Duration;

use crate::terminal::Style;

const UNITS: [(u64, &str); 5] = [
    (365 * 24 * 60 * 60, "year"),
    (24 * 60 * 60, "day"),
    (60 * 60, "hour"),
    (60, "minute"),
    (1, "second"),
];

/// `1 hour, 2 seconds`; nothing for no seconds.
pub(crate) fn time(mut seconds: u64, style: Style) -> String {
    let mut parts = Vec::new();
    for (length, name) in UNITS {
        let count = seconds / length;
        seconds %= length;
        match count {
            0 => {}
            1 => parts.push(format!("1 {}", style.unit(name))),
            _ => parts.push(format!("{count} {}", style.unit(format_args!("{name}s")))),
        }
    }
    parts.join(", ")
}

/// How long ago a moment was, in seconds since the Unix epoch: `3 seconds ago`, `Now`.
pub(crate) fn ago(moment: u64, now: Duration, style: Style) -> String {
    match now.as_secs().checked_sub(moment) {
        Some(0) => "Now".to_owned(),
        Some(seconds) => format!("{} ago", time(seconds, style)),
        None => {
            const WARNING: &str = "System clock wound backward; connection problems may ensue.";
            format!("({})", style.alarm(WARNING))
        }
    }
}

/// `1.50 KiB`.
pub(crate) fn bytes(count: u64, style: Style) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} {}", style.unit("B"));
    }
    let power = (count.ilog2() / 10).min(4);
    // Two digits are shown; what a float loses of a count of bytes is not among them.
    let amount = count as f64 / (1_u64 << (10 * power)) as f64;
    format!("{amount:.2} {}", style.unit(UNITS[power as usize - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As recorded from the original.
    #[test]
    fn ages_read_as_the_originals() {
        let now = 2_000_000_000;
        for (age, text) in [
            (0, "Now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (61, "1 minute, 1 second ago"),
            (119, "1 minute, 59 seconds ago"),
            (3600, "1 hour ago"),
            (3661, "1 hour, 1 minute, 1 second ago"),
            (86_399, "23 hours, 59 minutes, 59 seconds ago"),
            (90_061, "1 day, 1 hour, 1 minute, 1 second ago"),
            (31_535_999, "364 days, 23 hours, 59 minutes, 59 seconds ago"),
            (31_536_001, "1 year, 1 second ago"),
            (63_252_122, "2 years, 2 days, 2 hours, 2 minutes, 2 seconds ago"),
        ] {
            assert_eq!(ago(now - age, Duration::from_secs(now), Style::Plain), text);
        }
        assert_eq!(
            ago(now + 1, Duration::from_secs(now), Style::Plain),
            "(System clock wound backward; connection problems may ensue.)"
        );
    }

    /// As recorded from the original.
    #[test]
    fn amounts_read_as_the_originals() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1025, "1.00 KiB"),
            (1_048_575, "1024.00 KiB"),
            (1_048_576, "1.00 MiB"),
            (123_456_789, "117.74 MiB"),
            ((1 << 30) - 1, "1024.00 MiB"),
            (3 << 29, "1.50 GiB"),
            ((1 << 40) - 1, "1024.00 GiB"),
            (5 << 40, "5.00 TiB"),
            (1 << 50, "1024.00 TiB"),
            (u64::MAX, "16777216.00 TiB"),
        ] {
            assert_eq!(bytes(count, Style::Plain), text);
        }
    }
}
