//! What is wrong with a configuration file, and where.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::KEY_TEXT_LEN;
use crate::quote::{printable, quote, secret_start};

/// An error or a warning about one place in a configuration file.
///
/// It holds no secret: what may be a private or preshared key is left out of every text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    file: Arc<str>,
    line: usize,
    column: usize,
    excerpt: String,
    underlined: Range<usize>,
    message: Message,
}

/// Whether a file can be used in spite of a [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// Everything that is wrong with a configuration file; at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Diagnostic {
    /// The sentence that the original prints for this, without a newline; where the original has
    /// nothing to say, one in its style.
    pub fn original(&self) -> &str {
        &self.message.original
    }

    /// What the matter is, in one sentence without the place.
    pub fn title(&self) -> &str {
        &self.message.title
    }

    /// What would have been right.
    pub fn expected(&self) -> &str {
        &self.message.expected
    }

    /// A hint at what was meant.
    pub fn help(&self) -> Option<&str> {
        self.message.help.as_deref()
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The whole for a person: the place, the line with the wrong part underlined, what was
    /// expected, and a hint where there is one. Several lines, without a newline at the end.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let annotation = AnnotationKind::Primary
            .span(self.underlined.clone())
            .label(self.message.expected.as_str());
        let snippet =
            Snippet::source(self.excerpt.as_str()).line_start(self.line).annotation(annotation);
        let title = level.primary_title(self.message.title.as_str());
        let shown_before = self.excerpt[..self.underlined.start].chars().count();
        let mut report: Vec<Group<'_>> = vec![if shown_before + 1 == self.column {
            title.element(snippet.path(self.file.as_ref()))
        } else {
            // The excerpt begins inside the line; the place in the line is given apart.
            let place = Origin::path(self.file.as_ref()).line(self.line).char_column(self.column);
            title.element(place).element(snippet)
        }];
        if let Some(help) = &self.message.help {
            report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&report)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {}: {}", message.title, message.expected)?;
        match &message.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl ConfigErrors {
    /// Pairs the errors with the warnings that the original would have printed before the first.
    /// `None` when there is no error.
    pub(crate) fn new(errors: Vec<Diagnostic>, warnings: &[Diagnostic]) -> Option<Self> {
        (!errors.is_empty()).then(|| Self { errors, warnings: warnings.to_vec() })
    }

    /// The first error in the file's order; for [`crate::Dialect::Wg`] the one that the original
    /// stops at.
    pub fn first(&self) -> &Diagnostic {
        &self.errors[0]
    }

    /// The errors in the file's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.errors.iter()
    }

    /// The warnings that were found as well.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The sentence with which the original `wg` ends after the one of the first error.
    pub fn original_summary(&self) -> &'static str {
        if self.first().message.is_incomplete_peer {
            "Invalid configuration"
        } else {
            "Configuration parsing error"
        }
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The words of a [`Diagnostic`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) title: String,
    pub(crate) expected: String,
    pub(crate) help: Option<String>,
    pub(crate) original: String,
    /// The original finds a peer without a public key only after it has read the whole file.
    pub(crate) is_incomplete_peer: bool,
}

/// A file's name and bytes, to show places in them.
pub(crate) struct Source<'a> {
    file: Arc<str>,
    pub(crate) text: &'a [u8],
    /// The last column that was counted: where its line begins, where it is, and which it is.
    counted: Cell<(usize, usize, usize)>,
}

/// A line of a file: its number from 1, and its bytes without the line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) bytes: Range<usize>,
}

/// Bytes of a long line that are shown before and after the start of what is underlined.
const BEFORE: usize = 60;
const AFTER: usize = 120;

impl<'a> Source<'a> {
    pub(crate) fn new(name: &str, text: &'a [u8]) -> Self {
        Self { file: quote(name).into(), text, counted: Cell::new((0, 0, 1)) }
    }

    /// A diagnostic that underlines `span`, a part of `line`. From `secret` on, the line's text is
    /// replaced by asterisks.
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        line: &Line,
        span: Range<usize>,
        secret: Option<usize>,
        message: Message,
    ) -> Diagnostic {
        let span = span.start.clamp(line.bytes.start, line.bytes.end)
            ..span.end.clamp(line.bytes.start, line.bytes.end);
        let window = self.window(line, span.start);
        let span = span.start..span.end.min(window.end).max(span.start);
        let secret = [secret, self.secret_in_comment(line, window.end)].into_iter().flatten().min();

        let mut excerpt = String::new();
        if window.start > line.bytes.start {
            excerpt.push('…');
        }
        self.show(window.start..span.start, secret, &mut excerpt);
        let underlined = excerpt.len();
        self.show(span.clone(), secret, &mut excerpt);
        let underlined = underlined..excerpt.len();
        self.show(span.end..window.end, secret, &mut excerpt);
        if window.end < line.bytes.end {
            excerpt.push('…');
        }
        Diagnostic {
            severity,
            file: Arc::clone(&self.file),
            line: line.number,
            column: self.column(line, span.start),
            excerpt,
            underlined,
            message,
        }
    }

    /// The column of a place, counted on from the last one in the line: a line of megabytes may have
    /// many.
    fn column(&self, line: &Line, at: usize) -> usize {
        let (start, from, column) = match self.counted.get() {
            counted if counted.0 == line.bytes.start && counted.1 <= at => counted,
            _ => (line.bytes.start, line.bytes.start, 1),
        };
        // A character's first byte counts; the bytes that continue it do not.
        let passed = self.text[from..at].iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
        self.counted.set((start, at, column + passed));
        column + passed
    }

    /// Where in a comment, as far as it is shown, something starts that may be a key.
    fn secret_in_comment(&self, line: &Line, shown_end: usize) -> Option<usize> {
        // A key that is only begun to be shown is still seen as one.
        let end = line.bytes.end.min(shown_end + KEY_TEXT_LEN);
        // What is much further to the front is not shown.
        let from = shown_end.saturating_sub(4096).max(line.bytes.start);
        let start = from + memchr::memchr(b'#', &self.text[from..end])? + 1;
        secret_start(&self.text[start..end]).map(|offset| start + offset)
    }

    /// What is shown of a line around `at`, without splitting characters.
    fn window(&self, line: &Line, at: usize) -> Range<usize> {
        let start = at.saturating_sub(BEFORE);
        let start =
            if start <= line.bytes.start { line.bytes.start } else { self.boundary(start).min(at) };
        let end = at.saturating_add(AFTER);
        let end = if end >= line.bytes.end {
            line.bytes.end
        } else {
            self.boundary(end).min(line.bytes.end)
        };
        start..end
    }

    fn show(&self, bytes: Range<usize>, secret: Option<usize>, excerpt: &mut String) {
        let cut = secret.unwrap_or(usize::MAX).clamp(bytes.start, bytes.end);
        let open = String::from_utf8_lossy(&self.text[bytes.start..cut]);
        excerpt.extend(open.chars().map(printable));
        excerpt.extend(std::iter::repeat_n('*', bytes.end - cut));
    }

    /// The nearest place at or after `offset` that is not inside a character.
    fn boundary(&self, offset: usize) -> usize {
        let inside = |byte: &&u8| (**byte & 0xc0) == 0x80;
        offset + self.text[offset..].iter().take(3).take_while(inside).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, span: Range<usize>, secret: Option<usize>) -> Diagnostic {
        let line = Line { number: 7, bytes: 0..text.len() };
        let message = Message {
            title: "invalid value".into(),
            expected: "expected a number".into(),
            help: Some("did you mean 5?".into()),
            ..Message::default()
        };
        Source::new("wg0.conf", text.as_bytes()).diagnostic(
            Severity::Error,
            &line,
            span,
            secret,
            message,
        )
    }

    #[test]
    fn the_rendered_form_shows_place_line_expectation_and_hint() {
        let rendered = diagnostic("MTU = é5x", 8..10, None).render(false);
        assert_eq!(
            rendered,
            "\
error: invalid value
 --> wg0.conf:7:8
  |
7 | MTU = é5x
  |        ^^ expected a number
  |
help: did you mean 5?"
        );
        assert!(diagnostic("x", 0..1, None).render(true).contains("\x1b["));
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let text = format!("{}bad{}", "é".repeat(5000), "a".repeat(5000));
        let diagnostic = diagnostic(&text, 10_000..10_003, None);
        assert_eq!(diagnostic.column(), 5001);
        assert!(diagnostic.excerpt.len() < 200);
        assert_eq!(&diagnostic.excerpt[diagnostic.underlined.clone()], "bad");
        assert!(diagnostic.excerpt.starts_with("…é") && diagnostic.excerpt.ends_with("a…"));
        assert!(diagnostic.render(false).contains("wg0.conf:7:5001"));
    }

    #[test]
    fn secrets_and_control_characters_are_not_shown() {
        let diagnostic = diagnostic("a\x1b = secret", 5..11, Some(5));
        assert_eq!(diagnostic.excerpt, "a␛ = ******");
    }
}
