//! What the demo prints.

use std::io::{IsTerminal, stdout};

/// Standard output, coloured when a person sees it.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    colours: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self { colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// A command at its host's prompt, as a person would type it.
    pub(crate) fn command(self, host: &str, line: &str) {
        println!("\n{}{}", self.paint("32", &format!("{host}# ")), self.paint("1", line));
    }

    /// What a command printed.
    pub(crate) fn output(self, text: &str) {
        for line in text.lines() {
            println!("{}", format!("    {line}").trim_end());
        }
    }

    /// A remark of the demo itself.
    pub(crate) fn remark(self, text: &str) {
        println!("{}", self.paint("2", text));
    }

    /// One line of the summary: whether it is as it should be, what it is about, what was found.
    pub(crate) fn finding(self, good: bool, subject: &str, value: &str) {
        let mark = if good { self.paint("32", "ok  ") } else { self.paint("31", "FAIL") };
        println!("  {mark}  {subject:<28}  {value}");
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
