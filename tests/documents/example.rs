//! The examples of a document, and how each is marked.
//!
//! In Markdown the mark is what follows the fence, in a manual what follows `.\" example:` on the
//! line before `.Bd`. Its first word is the kind; then come, in this order:
//!
//! - `on HOST`: which of the story's hosts it is about; the laptop if none is named.
//! - `at PATH`: where a file goes; `/etc/wireguard/wg0.conf` if nothing is named.
//! - `parsed`: a file that is read, but not put anywhere.
//! - `fails`: commands the last of which has to fail.
//! - `not executed: REASON`.

use anyhow::{Context, Result, bail, ensure};

/// What an example is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commands behind `$ ` or `# `, and what they print.
    Console {
        /// Whether the last one has to fail.
        fails: bool,
    },
    /// A configuration file; where it goes.
    File(Option<String>),
}

/// One example.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    /// Where it begins in its document.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// The host.
    pub(crate) host: String,
    /// Why it cannot be tried.
    pub(crate) not_executed: Option<String>,
    pub(crate) text: String,
}

/// The examples of a page in Markdown: all fenced blocks.
pub(crate) fn of_markdown(page: &str) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(mark) = line.trim_start().strip_prefix("```") else { continue };
        let mut text = String::new();
        loop {
            let (line, _) = lines.next().with_context(|| format!("line {number}: no end"))?;
            if line.trim_start() == "```" {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        let example = Example::new(number, mark, text);
        examples.push(example.with_context(|| format!("line {number}: {mark}"))?);
    }
    ensure!(!examples.is_empty(), "the page has no examples");
    Ok(examples)
}

/// The examples of a manual in mdoc(7): all displays.
pub(crate) fn of_manual(page: &str) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    let mut before = "";
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.starts_with(".Bd") {
            let mark = before.strip_prefix(".\\\" example: ");
            let mark = mark.with_context(|| format!("line {number}: no mark before it"))?;
            let mut text = String::new();
            for (line, _) in lines.by_ref().take_while(|(line, _)| *line != ".Ed") {
                ensure!(!line.starts_with('.'), "a macro in an example: {line}");
                text.push_str(&line.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-"));
                text.push('\n');
            }
            let example = Example::new(number, mark, text);
            examples.push(example.with_context(|| format!("line {number}: {mark}"))?);
        }
        before = line;
    }
    ensure!(!examples.is_empty(), "the manual has no examples");
    Ok(examples)
}

impl Example {
    fn new(line: usize, mark: &str, text: String) -> Result<Self> {
        let (mark, reason) = match mark.split_once(" not executed: ") {
            Some((mark, reason)) => (mark, Some(reason.to_owned())),
            None => (mark, None),
        };
        let mut words = mark.split_whitespace();
        let mut kind = match words.next() {
            Some("console") => Kind::Console { fails: false },
            Some("ini") => Kind::File(Some("/etc/wireguard/wg0.conf".to_owned())),
            _ => bail!("neither `console' nor `ini'"),
        };
        let mut host = "laptop".to_owned();
        while let Some(word) = words.next() {
            match (word, &mut kind) {
                ("on", _) => host = words.next().context("no host")?.to_owned(),
                ("at", Kind::File(place)) => *place = Some(words.next().context("no path")?.into()),
                ("parsed", Kind::File(place)) => *place = None,
                ("fails", Kind::Console { fails }) => *fails = true,
                _ => bail!("unknown word `{word}'"),
            }
        }
        Ok(Self { line, kind, host, not_executed: reason, text })
    }
}
