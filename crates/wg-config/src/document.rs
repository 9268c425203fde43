//! The second floor of the reader: canonical text to sections and their settings, in order.

use ini::{Ini, ParseOption};
use zeroize::Zeroizing;

use crate::diagnostic::Line;
use crate::lexer::{Item, Lexed};
use crate::setting::{Section, SettingKey};

/// A section with its settings, and where they are in the file.
pub(crate) struct Part {
    pub(crate) section: Section,
    pub(crate) line: Line,
    /// The text of a `# Name = …` comment directly under the header.
    pub(crate) name: Option<String>,
    pub(crate) settings: Vec<Setting>,
}

/// A setting; the value of a `wg` setting has no white space any more.
pub(crate) struct Setting {
    pub(crate) key: SettingKey,
    pub(crate) value: Zeroizing<String>,
    pub(crate) line: Line,
    /// The bytes of the value as written.
    pub(crate) span: std::ops::Range<usize>,
}

/// The two floors do not see the same sections and settings.
#[derive(Debug, thiserror::Error)]
#[error("the sections and settings do not match the text they were read from")]
pub(crate) struct Mismatch;

/// Has rust-ini read the canonical text, and puts the locations to what it found.
///
/// # Errors
/// When it found something else than the lexer, which would be a mistake in the lexer.
pub(crate) fn sections(lexed: Lexed) -> Result<Vec<Part>, Mismatch> {
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: false,
        enabled_preserve_key_leading_whitespace: false,
    };
    let ini = Ini::load_from_str_opt(&lexed.canonical, options).map_err(|_| Mismatch)?;
    let mut items = lexed.items.into_iter();
    let mut parts = Vec::with_capacity(ini.len());
    for (header, settings) in ini {
        // rust-ini has a nameless section for what comes before the first header.
        let Some(header) = header else { continue };
        let Some(Item::Header { section, line, name }) = items.next() else { return Err(Mismatch) };
        if section.header().get(1..section.header().len() - 1) != Some(&header) {
            return Err(Mismatch);
        }
        let settings = settings
            .into_iter()
            .map(|(name, value)| {
                let value = Zeroizing::new(value);
                match items.next() {
                    Some(Item::Setting { key, line, value: span }) if key.name() == name => {
                        Ok(Setting { key, value, line, span })
                    }
                    _ => Err(Mismatch),
                }
            })
            .collect::<Result<_, _>>()?;
        parts.push(Part { section, line, name, settings });
    }
    if items.next().is_none() { Ok(parts) } else { Err(Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;
    use crate::diagnostic::Source;
    use crate::lexer::lex;

    fn values(text: &str) -> Vec<(&'static str, usize, String)> {
        let source = Source::new("x", text.as_bytes());
        let lexed = lex(&source, Dialect::WgQuick, 1);
        assert!(lexed.errors.is_empty());
        let parts = sections(lexed).unwrap();
        let settings = parts.into_iter().flat_map(|part| part.settings);
        settings.map(|s| (s.key.name(), s.line.number, s.value.to_string())).collect()
    }

    #[test]
    fn what_rust_ini_alone_would_misread() {
        let text = "\u{feff}[interface] # x\r\n listen port : = 5\n"; // `:` is no separator
        assert!(!lex(&Source::new("x", text.as_bytes()), Dialect::Wg, 1).errors.is_empty());

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
