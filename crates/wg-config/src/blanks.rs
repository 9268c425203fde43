//! White space, which counts nowhere in a line of `wg`, taken out of text.
//!
//! All that Unicode calls white space is, but is looked for only where there may be some: of
//! hundreds of thousands of lines, hardly any has a byte beyond ASCII.

/// As [`str::trim`].
pub(crate) fn trim(text: &str) -> &str {
    trim_end(trim_start(text))
}

/// As [`str::trim_start`].
pub(crate) fn trim_start(text: &str) -> &str {
    let text = text.trim_ascii_start();
    if text.bytes().next().is_none_or(|first| first.is_ascii_graphic()) {
        return text;
    }
    text.trim_start()
}

/// As [`str::trim_end`].
pub(crate) fn trim_end(text: &str) -> &str {
    let text = text.trim_ascii_end();
    if text.bytes().next_back().is_none_or(|last| last.is_ascii_graphic()) {
        return text;
    }
    text.trim_end()
}

/// The text with white space taken out, also from its middle.
pub(crate) fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Appends a text to another, with its white space taken out.
pub(crate) fn push_without_blanks(to: &mut String, text: &str) {
    for part in text.split_ascii_whitespace() {
        if may_have_blanks(part) {
            part.split_whitespace().for_each(|part| to.push_str(part));
        } else {
            to.push_str(part);
        }
    }
}

/// Whether there may be white space in a text.
pub(crate) fn may_have_blanks(text: &str) -> bool {
    // All bytes at a time, where a search would stop at the first.
    text.bytes().fold(false, |found, byte| found | !byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_unicode_calls_white_space_is_found(text in "[ \t\x0b\r\u{85}\u{a0}\u{2003}aé]{0,8}") {
            prop_assert_eq!(trim(&text), text.trim());
            prop_assert_eq!(trim_start(&text), text.trim_start());
            prop_assert_eq!(trim_end(&text), text.trim_end());
            let mut pushed = "x ".to_owned();
            push_without_blanks(&mut pushed, &text);
            prop_assert_eq!(pushed, format!("x {}", without_blanks(&text)));
            prop_assert!(may_have_blanks(&text) || without_blanks(&text) == text);
        }
    }
}
