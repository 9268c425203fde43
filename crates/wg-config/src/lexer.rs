//! The first floor of the reader: lines of bytes to sections and settings with locations.
//!
//! Whatever the next floor could misread stays here: comments, line ends, odd spelling, and every
//! line that is neither a section nor a setting.

use std::ops::Range;

use crate::Dialect;
use crate::blanks::{trim_end, trim_start, without_blanks};
use crate::diagnostic::{Diagnostic, Line, Message, Severity, Source};
use crate::quote::{HIDDEN, quote, quote_start, secret_start};
use crate::setting::{Section, SettingKey, suggest_key, suggest_section};

/// Bytes of a line besides its comment: room for 300,000 IPv6 prefixes.
const LONGEST_LINE: usize = 16 << 20;

/// Bytes of a comment that are searched for a section's name.
const LONGEST_NAME: usize = 256;

/// Characters of a line that a title quotes.
const LONGEST_TITLE: usize = 60;

/// One thing that the lexer vouches for.
pub(crate) enum Token<'a> {
    /// The start of a section.
    Header { section: Section, line: Line },
    /// The text of a `# Name = …` comment directly under the header.
    Name(String),
    /// A setting of the section.
    Setting {
        key: SettingKey,
        line: Line,
        /// The value as written, without the white space around it.
        value: &'a str,
        /// Where the value is in the file.
        span: Range<usize>,
    },
}

/// What a line is found to be; the error is large, and rare.
type Found<T> = Result<T, Box<Diagnostic>>;

/// Goes through a file line by line; a line that is neither section nor setting gives an error.
pub(crate) struct Lexer<'a> {
    source: &'a Source<'a>,
    /// The file up to the first byte that may not stand in a line.
    sound: &'a str,
    dialect: Dialect,
    /// Where the next line begins.
    next: usize,
    /// How many lines there were.
    lines: usize,
    place: Place,
    /// Whether only comments came since the last header.
    under_header: bool,
}

/// What the next setting belongs to.
#[derive(Clone, Copy)]
enum Place {
    Start,
    In(Section),
    /// Under a header that is an error itself; its settings are not judged.
    Unknown,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Found<Token<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = self.next_line() {
            if let Some(found) = self.line(&line).transpose() {
                return Some(found);
            }
        }
        None
    }
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(source: &'a Source<'a>, dialect: Dialect) -> Self {
        let next = if source.text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let sound = sound_start(source.text);
        Self { source, sound, dialect, next, lines: 0, place: Place::Start, under_header: false }
    }

    fn next_line(&mut self) -> Option<Line> {
        let start = self.next;
        let rest = self.source.text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.next = start + length + 1;
        self.lines += 1;
        let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
        Some(Line { number: self.lines, bytes: start..start + line.len() })
    }

    fn line(&mut self, line: &Line) -> Found<Option<Token<'a>>> {
        let source: &'a Source<'a> = self.source;
        let bytes = &source.text[line.bytes.clone()];
        let content = &bytes[..memchr::memchr(b'#', bytes).unwrap_or(bytes.len())];
        if content.trim_ascii().is_empty() {
            let name = self.name(&bytes[content.len()..]);
            self.under_header &= content.len() < bytes.len() && name.is_none();
            return Ok(name);
        }
        let content = self.text(line, line.bytes.start..line.bytes.start + content.len())?;
        let trimmed = trim_start(content);
        if trimmed.is_empty() {
            return Ok(None);
        }
        self.under_header = false;
        if trimmed.starts_with('[') {
            self.header(line, content).map(Some)
        } else {
            self.setting(line, content)
        }
    }

    /// A `# Name = …` comment under a header is that section's name.
    fn name(&self, comment: &[u8]) -> Option<Token<'a>> {
        if !self.under_header {
            return None;
        }
        let comment = String::from_utf8_lossy(&comment[..comment.len().min(LONGEST_NAME)]);
        let (key, value) = comment.trim_start_matches('#').split_once('=')?;
        let is_name = key.trim().eq_ignore_ascii_case("name") && !value.trim().is_empty();
        is_name.then(|| Token::Name(value.trim().to_owned()))
    }

    fn header(&mut self, line: &Line, content: &str) -> Found<Token<'a>> {
        let Some(section) = Section::find(content) else {
            let header = without_blanks(content);
            self.place = Place::Unknown;
            let (title, help) = match header.split_once(']') {
                Some((_, rest)) if !rest.is_empty() => ("text after a section's header", None),
                _ => ("unknown section", suggest_section(content)),
            };
            let title = format!("{title}: `{}'", shown(content));
            return Err(self.unrecognized(line, content, title, "[Interface] or [Peer]", help));
        };
        self.place = Place::In(section);
        self.under_header = true;
        Ok(Token::Header { section, line: line.clone() })
    }

    fn setting(&mut self, line: &Line, content: &'a str) -> Found<Option<Token<'a>>> {
        let section = match self.place {
            Place::In(section) => section,
            Place::Unknown => return Ok(None),
            Place::Start => {
                let title = "a setting before any section".to_owned();
                let expected = "[Interface] or [Peer]";
                return Err(self.unrecognized(line, content, title, expected, None));
            }
        };
        let Some(equals) = memchr::memchr(b'=', content.as_bytes()) else {
            let known = SettingKey::find(content, section, self.dialect);
            let help = known.map(|key| format!("`{} = …'", key.name()));
            let title = "neither a section nor a setting".to_owned();
            return Err(self.unrecognized(line, content, title, "`Setting = value'", help));
        };
        let (name, after) = (&content[..equals], &content[equals + 1..]);
        let Some(key) = SettingKey::find(name, section, self.dialect) else {
            return Err(self.unknown_setting(line, content, name, section));
        };
        let after = if key.is_hook() {
            // In a command, `#` is no comment.
            self.text(line, line.bytes.start + name.len() + 1..line.bytes.end)?
        } else {
            after
        };
        let value = trim_start(after);
        let start = line.bytes.start + name.len() + 1 + (after.len() - value.len());
        let value = trim_end(value);
        if key.is_wg() && value.is_empty() {
            let title = format!("`{}' has no value", key.name());
            return Err(self.unrecognized(line, content, title, "a value behind the `='", None));
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
            return Err(self.error(line, at..at + 1, None, message));
        }
        let span = start..start + value.len();
        Ok(Some(Token::Setting { key, line: line.clone(), value, span }))
    }

    fn unknown_setting(
        &self,
        line: &Line,
        content: &str,
        name: &str,
        section: Section,
    ) -> Box<Diagnostic> {
        let title = if name.trim().is_empty() {
            "a value without the name of a setting".to_owned()
        } else {
            format!("unknown setting in {}: `{}'", section.header(), shown(name))
        };
        let help = suggest_key(name, section, self.dialect);
        let names = SettingKey::names(section, self.dialect);
        self.unrecognized(line, content, title, &format!("one of {names}"), help)
    }

    /// The bytes as text, or an error that they are none.
    fn text(&self, line: &Line, bytes: Range<usize>) -> Found<&'a str> {
        if let Some(text) = self.sound.get(bytes.clone()).filter(|text| text.len() <= LONGEST_LINE)
        {
            return Ok(text);
        }
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
            Ok(text) => match memchr::memchr(0, bytes) {
                None => return Ok(text),
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
        Err(self.error(line, span, secret_start(head).map(|secret| start + secret), message))
    }

    /// An error about a whole line, with the sentence that the original has for all of them.
    fn unrecognized(
        &self,
        line: &Line,
        content: &str,
        title: String,
        expected: &str,
        help: Option<String>,
    ) -> Box<Diagnostic> {
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
        self.error(line, start..start + length, secret, message)
    }

    fn error(
        &self,
        line: &Line,
        span: Range<usize>,
        secret: Option<usize>,
        message: Message,
    ) -> Box<Diagnostic> {
        Box::new(self.source.diagnostic(Severity::Error, line, span, secret, message))
    }
}

/// The text before the first byte that is NUL or not UTF-8: one look at all of it takes a fraction
/// of one at each line.
fn sound_start(text: &[u8]) -> &str {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
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
