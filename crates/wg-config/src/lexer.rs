//! The first floor of the reader: lines of bytes to canonical `Key=value` text with locations.
//!
//! Whatever the next floor could misread stays here: comments, line ends, odd spelling, and every
//! line that is neither a section nor a setting.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::Dialect;
use crate::diagnostic::{Diagnostic, Line, Message, Severity, Source};
use crate::quote::{HIDDEN, quote, quote_start, secret_start};
use crate::setting::{Section, SettingKey, suggest_key, suggest_section, without_blanks};

/// Bytes of a line besides its comment: room for 300,000 IPv6 prefixes.
const LONGEST_LINE: usize = 16 << 20;

/// Bytes of a comment that are searched for a section's name.
const LONGEST_NAME: usize = 256;

/// Characters of a line that a title quotes.
const LONGEST_TITLE: usize = 60;

/// What the lexer vouches for.
pub(crate) struct Lexed {
    /// `[Section]` and `Key=value` lines, spelt as in the manual, in the file's order.
    pub(crate) canonical: Zeroizing<String>,
    /// Where each line of `canonical` comes from.
    pub(crate) items: Vec<Item>,
    /// The lines that are not in `canonical`, and why.
    pub(crate) errors: Vec<Diagnostic>,
}

/// The origin of one line of the canonical text.
pub(crate) enum Item {
    Header {
        section: Section,
        line: Line,
        /// The text of a `# Name = …` comment directly under the header.
        name: Option<String>,
    },
    Setting {
        key: SettingKey,
        line: Line,
        /// The bytes of the value as written, without the white space around it.
        value: Range<usize>,
    },
}

/// Reads all lines, or as many as it takes to find `most` errors.
pub(crate) fn lex(source: &Source<'_>, dialect: Dialect, most: usize) -> Lexed {
    let mut lexer = Lexer {
        source,
        dialect,
        place: Place::Start,
        under_header: false,
        lexed: Lexed { canonical: Zeroizing::default(), items: Vec::new(), errors: Vec::new() },
    };
    // One allocation, so that no copy of a key is left behind by a growing buffer.
    lexer.lexed.canonical.reserve(source.text.len().min(LONGEST_LINE));
    let mut start = if source.text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut number = 0;
    while start < source.text.len() && lexer.lexed.errors.len() < most {
        let rest = &source.text[start..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        number += 1;
        let bytes = start..start + length;
        let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
        lexer.line(&Line { number, bytes: start..start + line.len() });
        start = bytes.end + 1;
    }
    lexer.lexed
}

struct Lexer<'a> {
    source: &'a Source<'a>,
    dialect: Dialect,
    place: Place,
    /// Whether only comments came since the last header.
    under_header: bool,
    lexed: Lexed,
}

/// What the next setting belongs to.
#[derive(Clone, Copy)]
enum Place {
    Start,
    In(Section),
    /// Under a header that is an error itself; its settings are not judged.
    Unknown,
}

impl<'a> Lexer<'a> {
    fn line(&mut self, line: &Line) {
        let bytes = &self.source.text[line.bytes.clone()];
        let content = bytes.split(|byte| *byte == b'#').next().unwrap_or_default();
        if content.trim_ascii().is_empty() {
            self.comment(&bytes[content.len()..]);
            self.under_header &= content.len() < bytes.len();
            return;
        }
        let Some(content) = self.text(line, line.bytes.start..line.bytes.start + content.len())
        else {
            return;
        };
        if content.trim().is_empty() {
            return;
        }
        self.under_header = false;
        if content.trim_start().starts_with('[') {
            self.header(line, content);
        } else {
            self.setting(line, content);
        }
    }

    /// Keeps a `# Name = …` comment under a header as that section's name.
    fn comment(&mut self, comment: &[u8]) {
        let Some(Item::Header { name: name @ None, .. }) = self.lexed.items.last_mut() else {
            return;
        };
        if !self.under_header {
            return;
        }
        let comment = String::from_utf8_lossy(&comment[..comment.len().min(LONGEST_NAME)]);
        if let Some((key, value)) = comment.trim_start_matches('#').split_once('=')
            && key.trim().eq_ignore_ascii_case("name")
            && !value.trim().is_empty()
        {
            *name = Some(value.trim().to_owned());
        }
    }

    fn header(&mut self, line: &Line, content: &str) {
        let header = without_blanks(content);
        let section =
            Section::ALL.into_iter().find(|known| header.eq_ignore_ascii_case(known.header()));
        let Some(section) = section else {
            self.place = Place::Unknown;
            let (title, help) = match header.split_once(']') {
                Some((_, rest)) if !rest.is_empty() => ("text after a section's header", None),
                _ => ("unknown section", suggest_section(content)),
            };
            let title = format!("{title}: `{}'", shown(content));
            return self.unrecognized(line, content, title, "[Interface] or [Peer]", help);
        };
        self.place = Place::In(section);
        self.under_header = true;
        self.lexed.canonical.push_str(section.header());
        self.lexed.canonical.push('\n');
        self.lexed.items.push(Item::Header { section, line: line.clone(), name: None });
    }

    fn setting(&mut self, line: &Line, content: &str) {
        let section = match self.place {
            Place::In(section) => section,
            Place::Unknown => return,
            Place::Start => {
                let title = "a setting before any section".to_owned();
                return self.unrecognized(line, content, title, "[Interface] or [Peer]", None);
            }
        };
        let Some((name, after)) = content.split_once('=') else {
            let known = SettingKey::find(content, section, self.dialect);
            let help = known.map(|key| format!("`{} = …'", key.name()));
            let title = "neither a section nor a setting".to_owned();
            return self.unrecognized(line, content, title, "`Setting = value'", help);
        };
        let Some(key) = SettingKey::find(name, section, self.dialect) else {
            let title = if name.trim().is_empty() {
                "a value without the name of a setting".to_owned()
            } else {
                format!("unknown setting in {}: `{}'", section.header(), shown(name))
            };
            let help = suggest_key(name, section, self.dialect);
            let names = SettingKey::names(section, self.dialect);
            return self.unrecognized(line, content, title, &format!("one of {names}"), help);
        };
        let after = if key.is_hook() {
            // In a command, `#` is no comment.
            match self.text(line, line.bytes.start + name.len() + 1..line.bytes.end) {
                Some(command) => command,
                None => return,
            }
        } else {
            after
        };
        let value = after.trim();
        let start = line.bytes.start + name.len() + 1 + (after.len() - after.trim_start().len());
        let span = start..start + value.len();
        if key.is_wg() && value.is_empty() {
            let title = format!("`{}' has no value", key.name());
            return self.unrecognized(line, content, title, "a value behind the `='", None);
        }
        if !key.is_wg()
            && let Some(offset) = value.find('\r')
        {
            let at = start + offset;
            let message = Message {
                title: "a carriage return inside a line".into(),
                expected: "expected one setting a line, and line ends of LF or CR LF".into(),
                original: unrecognized(content),
                ..Message::default()
            };
            return self.error(line, at..at + 1, None, message);
        }
        self.emit(key, value);
        self.lexed.items.push(Item::Setting { key, line: line.clone(), value: span });
    }

    fn emit(&mut self, key: SettingKey, value: &str) {
        let canonical = &mut self.lexed.canonical;
        canonical.push_str(key.name());
        canonical.push('=');
        if key.is_wg() {
            canonical.extend(value.chars().filter(|c| !c.is_whitespace()));
        } else {
            canonical.push_str(value);
        }
        // The next floor takes a backslash before a line end as a continuation, and trims blanks.
        canonical.push_str(if value.ends_with('\\') { " \n" } else { "\n" });
    }

    /// The bytes as text, or an error that they are none.
    fn text(&mut self, line: &Line, bytes: Range<usize>) -> Option<&'a str> {
        let source: &'a Source<'a> = self.source;
        let start = bytes.start;
        let bytes = &source.text[bytes];
        let (wrong, title, expected) = match std::str::from_utf8(bytes) {
            _ if bytes.len() > LONGEST_LINE => {
                let title = format!("a line of {} bytes", bytes.len());
                (0..bytes.len(), title, "at most 16 MiB in a line")
            }
            Err(error) => {
                let wrong = error.valid_up_to()..error.valid_up_to() + 1;
                (wrong, "bytes that are not UTF-8".into(), "UTF-8 text")
            }
            Ok(text) => match text.find('\0') {
                None => return Some(text),
                Some(nul) => (nul..nul + 1, "a NUL byte".into(), "text"),
            },
        };
        let is_utf16 = source.text.starts_with(b"\xff\xfe") || source.text.starts_with(b"\xfe\xff");
        // More than is ever shown need not be looked at.
        let head = &bytes[..bytes.len().min(4096)];
        let message = Message {
            title,
            expected: format!("expected {expected}"),
            help: is_utf16.then(|| "the file is UTF-16; save it as UTF-8".into()),
            original: unrecognized(&String::from_utf8_lossy(head)),
            ..Message::default()
        };
        let span = start + wrong.start..start + wrong.end;
        self.error(line, span, secret_start(head).map(|secret| start + secret), message);
        None
    }

    /// An error about a whole line, with the sentence that the original has for all of them.
    fn unrecognized(
        &mut self,
        line: &Line,
        content: &str,
        title: String,
        expected: &str,
        help: Option<String>,
    ) {
        let message = Message {
            title,
            expected: format!("expected {expected}"),
            help,
            original: unrecognized(content),
            ..Message::default()
        };
        let start = line.bytes.start + (content.len() - content.trim_start().len());
        let length = match content.trim().split_once('=') {
            Some((name, _)) if !name.is_empty() => name.trim_end().len(),
            _ => content.trim().len(),
        };
        let secret = secret_start(content.as_bytes()).map(|secret| line.bytes.start + secret);
        self.error(line, start..start + length, secret, message);
    }

    fn error(&mut self, line: &Line, span: Range<usize>, secret: Option<usize>, message: Message) {
        let error = self.source.diagnostic(Severity::Error, line, span, secret, message);
        self.lexed.errors.push(error);
    }
}

/// The original's sentence for a line that it cannot make out.
fn unrecognized(content: &str) -> String {
    // The original's lines end at a NUL byte.
    let content = content.split('\0').next().unwrap_or_default();
    let secret = secret_start(content.as_bytes());
    let open = without_blanks(&content[..secret.unwrap_or(content.len())]);
    let hidden = if secret.is_some() { HIDDEN } else { "" };
    format!("Line unrecognized: `{}{hidden}'", quote(&open))
}

/// The start of a line or of a name fit for a title, without what may be a secret key.
fn shown(content: &str) -> String {
    let secret = secret_start(content.as_bytes());
    let open = content[..secret.unwrap_or(content.len())].trim();
    quote_start(open, LONGEST_TITLE) + if secret.is_some() { HIDDEN } else { "" }
}
