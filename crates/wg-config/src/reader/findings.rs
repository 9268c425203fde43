//! What is wrong with settings, and where in the file.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Line, Message, Severity, Source};
use crate::quote::quote_start;
use crate::setting::SettingKey;
use crate::value::ValueError;

/// What is wrong with the file, as far as it is read.
pub(super) struct Findings<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) most: usize,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// A setting; the value of a `wg` setting has no white space any more.
pub(super) struct Setting<'v> {
    pub(super) key: SettingKey,
    pub(super) value: &'v str,
    pub(super) line: Line,
    /// The bytes of the value as written.
    pub(super) span: Range<usize>,
}

impl Findings<'_> {
    pub(super) fn set<T>(
        &mut self,
        to: &mut Option<T>,
        setting: &Setting<'_>,
        value: Result<T, ValueError>,
    ) {
        if let Some(value) = self.check(setting, value) {
            *to = Some(value);
        }
    }

    /// The value, or its error added to the others.
    pub(super) fn check<T>(
        &mut self,
        setting: &Setting<'_>,
        value: Result<T, ValueError>,
    ) -> Option<T> {
        value
            .map_err(|error| {
                let mut title = format!("invalid value for `{}'", setting.key.name());
                if !setting.key.is_secret() {
                    let wrong = setting.value.get(error.span()).unwrap_or_default();
                    title += &format!(": `{}'", quote_start(wrong, 60));
                }
                let expected = format!("expected {}", error.expected());
                let span = self.places_in_file(setting, &[error.span()]).remove(0);
                let severity = Severity::Error;
                let error = self.diagnostic(severity, setting, &error, span, title, expected);
                self.errors.push(error);
            })
            .ok()
    }

    pub(super) fn warn(&mut self, setting: &Setting<'_>, warnings: &[ValueError]) {
        let spans: Vec<_> = warnings.iter().map(ValueError::span).collect();
        for (warning, span) in warnings.iter().zip(self.places_in_file(setting, &spans)) {
            let title = "bits behind the prefix".to_owned();
            let expected = warning.expected().to_owned();
            let severity = Severity::Warning;
            let warning = self.diagnostic(severity, setting, warning, span, title, expected);
            self.warnings.push(warning);
        }
    }

    fn diagnostic(
        &self,
        severity: Severity,
        setting: &Setting<'_>,
        error: &ValueError,
        span: Range<usize>,
        title: String,
        expected: String,
    ) -> Diagnostic {
        let secret = setting.key.is_secret().then_some(setting.span.start);
        let original = error.original().to_owned();
        let message = Message { title, expected, original, ..Message::default() };
        self.source.diagnostic(severity, &setting.line, span, secret, message)
    }

    /// Where parts of a setting's value are in the file; the parts are in ascending order, so that
    /// one pass over a value of megabytes finds all of them.
    fn places_in_file(&self, setting: &Setting<'_>, parts: &[Range<usize>]) -> Vec<Range<usize>> {
        let start = setting.span.start;
        if !setting.key.is_wg() {
            return parts.iter().map(|part| start + part.start..start + part.end).collect();
        }
        // The value has lost its white space since.
        let written = &self.source.text[setting.span.clone()];
        let written = std::str::from_utf8(written).unwrap_or_default();
        let mut kept = written.char_indices().filter(|(_, c)| !c.is_whitespace());
        let mut passed = 0;
        let mut last = 0..0;
        // The character that holds the byte of the value, or the end.
        let mut place = |offset: usize| {
            while passed <= offset {
                let Some((at, c)) = kept.next() else { return written.len()..written.len() };
                passed += c.len_utf8();
                last = at..at + c.len_utf8();
            }
            last.clone()
        };
        let mut places = Vec::with_capacity(parts.len());
        for part in parts {
            let first = place(part.start);
            let end = place(part.end.max(part.start + 1) - 1).end;
            places.push(start + first.start..start + end);
        }
        places
    }
}
