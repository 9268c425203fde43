//! The second floor of the reader, for files with wg-quick's settings: rust-ini over the canonical
//! `Key=value` text of what the lexer vouches for.
//!
//! Files of `wg` alone pass from the lexer to the reader directly: `wg setconf` with 100,000 peers
//! has to be no slower than the original, and rust-ini alone, which goes character by character
//! and keeps every section in hash tables, takes longer than that. Tests and a fuzz target hold
//! the two ways to the same result.

use std::ops::Range;

use ini::{Ini, ParseOption};
use zeroize::Zeroizing;

use crate::diagnostic::Line;
use crate::lexer::Token;
use crate::setting::{Section, SettingKey};

/// Something in the file, as [`Token`], but with the value that rust-ini found.
pub(crate) enum Part {
    Header { section: Section, line: Line },
    Name(String),
    Setting { key: SettingKey, line: Line, value: Zeroizing<String>, span: Range<usize> },
}

/// The two floors do not see the same sections and settings.
#[derive(Debug, thiserror::Error)]
#[error("the sections and settings do not match the text they were read from")]
pub(crate) struct Mismatch;

/// Has rust-ini read the canonical text, and puts the locations to what it found.
///
/// # Errors
/// When it found something else than the lexer, which would be a mistake in the lexer.
pub(crate) fn reread(tokens: Vec<Token<'_>>) -> Result<Vec<Part>, Mismatch> {
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: false,
        enabled_preserve_key_leading_whitespace: false,
    };
    let ini = Ini::load_from_str_opt(&canonical(&tokens), options).map_err(|_| Mismatch)?;
    // rust-ini has a nameless section for what comes before the first header.
    let mut found = ini.into_iter().filter_map(|(header, settings)| Some((header?, settings)));
    let mut settings = None;
    let mut parts = Vec::with_capacity(tokens.len());
    for token in tokens {
        parts.push(match token {
            Token::Name(name) => Part::Name(name),
            Token::Header { section, line } => {
                let (header, of_section) = found.next().ok_or(Mismatch)?;
                let left = settings.replace(of_section.into_iter()).and_then(|mut s| s.next());
                if left.is_some() || section.header() != format!("[{header}]") {
                    return Err(Mismatch);
                }
                Part::Header { section, line }
            }
            Token::Setting { key, line, span, .. } => {
                match settings.as_mut().and_then(Iterator::next) {
                    Some((name, value)) if key.name() == name => {
                        Part::Setting { key, line, value: Zeroizing::new(value), span }
                    }
                    _ => return Err(Mismatch),
                }
            }
        });
    }
    let left = found.next().is_some() || settings.is_some_and(|mut left| left.next().is_some());
    if left { Err(Mismatch) } else { Ok(parts) }
}

/// `[Section]` and `Key=value` lines, spelt as in the manual, in the file's order.
fn canonical(tokens: &[Token<'_>]) -> Zeroizing<String> {
    let length = tokens.iter().map(|token| match token {
        Token::Setting { key, value, .. } => key.name().len() + value.len() + 3,
        Token::Header { section, .. } => section.header().len() + 1,
        Token::Name(_) => 0,
    });
    // One allocation, so that no copy of a key is left behind by a growing buffer.
    let mut text = Zeroizing::new(String::with_capacity(length.sum()));
    for token in tokens {
        match token {
            Token::Header { section, .. } => {
                text.push_str(section.header());
                text.push('\n');
            }
            Token::Setting { key, value, .. } => {
                text.push_str(key.name());
                text.push('=');
                if key.is_wg() {
                    text.extend(value.chars().filter(|c| !c.is_whitespace()));
                } else {
                    text.push_str(value);
                }
                // rust-ini takes a backslash before a line end as a continuation, and trims blanks.
                text.push_str(if value.ends_with('\\') { " \n" } else { "\n" });
            }
            Token::Name(_) => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;
    use crate::diagnostic::Source;
    use crate::lexer::Lexer;

    fn values(text: &str) -> Vec<(&'static str, usize, String)> {
        let source = Source::new("x", text.as_bytes());
        let tokens = Lexer::new(&source, Dialect::WgQuick).map(Result::unwrap).collect();
        let parts = reread(tokens).unwrap();
        let settings = parts.into_iter().filter_map(|part| match part {
            Part::Setting { key, line, value, .. } => {
                Some((key.name(), line.number, value.to_string()))
            }
            _ => None,
        });
        settings.collect()
    }

    #[test]
    fn what_rust_ini_alone_would_misread() {
        let text = "\u{feff}[interface] # x\r\n listen port : = 5\n"; // `:` is no separator
        let source = Source::new("x", text.as_bytes());
        assert!(Lexer::new(&source, Dialect::Wg).any(|token| token.is_err()));

        let text = "\u{feff}[ interface ] # x\r\n\
            postup = echo \"a b\" 'c' \\n ; d # e: f \\\n\
            PreUp = a \\\\\\\r\n\
            \tListen Port = 5 # 6\n\
            PostDown==[Peer]\n\
            PreDown=\n\
            [Peer]\n\n  # x\n\
            Endpoint = [fe80::1 %eth0] : 5\\";
        assert_eq!(
            values(text),
            [
                ("PostUp", 2, r#"echo "a b" 'c' \n ; d # e: f \"#.to_owned()),
                ("PreUp", 3, r"a \\\".to_owned()),
                ("ListenPort", 4, "5".to_owned()),
                ("PostDown", 5, "=[Peer]".to_owned()),
                ("PreDown", 6, String::new()),
                ("Endpoint", 10, r"[fe80::1%eth0]:5\".to_owned()),
            ]
        );
    }
}
