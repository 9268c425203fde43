//! Colours.

use std::env;
use std::fmt::{self, Display};
use std::io::IsTerminal;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// For files, pipes and those who do not like colours.
    Plain,
    /// With ANSI escape sequences.
    Coloured,
}

impl Style {
    /// What `WG_COLOR_MODE` says; by default colours are for terminals.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let coloured = match env::var_os("WG_COLOR_MODE") {
            Some(mode) if mode == "always" => true,
            Some(mode) if mode == "never" => false,
            _ => stream.is_terminal(),
        };
        if coloured { Self::Coloured } else { Self::Plain }
    }

    /// What clears the colours that something else may have left.
    pub(crate) fn reset(self) -> impl Display {
        self.paint("", "")
    }

    /// The word `interface`.
    pub(crate) fn interface_label(self, text: impl Display) -> impl Display {
        self.paint("\x1b[32m\x1b[1m", text)
    }

    /// An interface's name.
    pub(crate) fn interface(self, text: impl Display) -> impl Display {
        self.paint("\x1b[32m", text)
    }

    /// The word `peer`.
    pub(crate) fn peer_label(self, text: impl Display) -> impl Display {
        self.paint("\x1b[33m\x1b[1m", text)
    }

    /// A peer's public key.
    pub(crate) fn peer(self, text: impl Display) -> impl Display {
        self.paint("\x1b[33m", text)
    }

    /// The name of a property.
    pub(crate) fn label(self, text: impl Display) -> impl Display {
        self.paint("\x1b[1m", text)
    }

    /// A unit, or the stroke of a prefix.
    pub(crate) fn unit(self, text: impl Display) -> impl Display {
        self.paint("\x1b[36m", text)
    }

    /// What is not as it should be.
    pub(crate) fn alarm(self, text: impl Display) -> impl Display {
        self.paint("\x1b[31m", text)
    }

    fn paint<T: Display>(self, start: &'static str, text: T) -> Painted<T> {
        Painted { style: self, start, text }
    }
}

struct Painted<T> {
    style: Style,
    start: &'static str,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Style::Plain => self.text.fmt(f),
            Style::Coloured => write!(f, "{}{}\x1b[0m", self.start, self.text),
        }
    }
}
