//! The examples of README and the manuals, how each is marked, and who executes it.
//!
//! In Markdown the mark is what follows the fence, in a manual what follows `.\" example:` on the
//! line before `.Bd`. Its first word is the kind; then come, in this order:
//!
//! - `on HOST`: which of the story's hosts it is about; the laptop if none is named.
//! - `at PATH`: where a file goes; `/etc/wireguard/wg0.conf` if nothing is named.
//! - `parsed`: a file that is read, but not put anywhere.
//! - `fails`: commands the last of which has to fail.
//! - `executed by PLACE`: the place of an [`Executor`]; `tests/documents/story.rs` if none is named.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::report::{self, Entry};

/// The documents whose every example is executed.
pub const DOCUMENTS: [&str; 5] =
    ["README.md", "man/wg.8", "man/wg-quick.8", "man/wg-userspace.8", "man/wg.conf.5"];

/// What executes an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// Test hosts: a laptop and a server.
    Story,
    /// A machine with a root folder of its own on which systemd runs.
    Machine,
    /// A guest with the kernel's WireGuard, whose kernel log is its own.
    Kernel,
    /// A container engine on the kernel's WireGuard.
    Dist,
}

/// What an example is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
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
pub struct Example {
    /// Its document and the line where it begins, as `README.md:7`.
    pub place: String,
    /// What it is.
    pub kind: Kind,
    /// The story's host.
    pub host: String,
    /// What executes it.
    pub executor: Executor,
    /// What is between the fences.
    pub text: String,
}

/// All examples, those of a document in their order.
///
/// # Errors
/// When a document cannot be read, has no examples, or marks one wrongly.
pub fn all() -> Result<Vec<Example>> {
    let documents = DOCUMENTS.map(of).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(documents.concat())
}

/// The examples of one of [`DOCUMENTS`].
///
/// # Errors
/// As [`all`].
pub fn of(document: &str) -> Result<Vec<Example>> {
    let path = workspace().join(document);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let is_markdown = document.ends_with(".md");
    let examples = if is_markdown { of_markdown(&text) } else { of_manual(&text) };
    let mut examples = examples.with_context(|| document.to_owned())?;
    ensure!(!examples.is_empty(), "{document} has no examples");
    for example in &mut examples {
        example.place = format!("{document}:{}", example.place);
    }
    Ok(examples)
}

/// All examples that `executor` has to execute.
///
/// # Errors
/// As [`all`], and when there are none.
pub fn examples(executor: Executor) -> Result<Vec<Example>> {
    let examples: Vec<_> = all()?.into_iter().filter(|one| one.executor == executor).collect();
    ensure!(!examples.is_empty(), "no example is executed by {}", executor.place());
    Ok(examples)
}

/// The configuration file of `host`, `laptop` or `server`, in README's first tunnel.
///
/// # Errors
/// When there is none, and as [`all`].
pub fn first_tunnel(host: &str) -> Result<String> {
    let is_file = |one: &Example| matches!(one.kind, Kind::File(Some(_))) && one.host == host;
    let file = of("README.md")?.into_iter().find(is_file);
    file.map(|file| file.text).with_context(|| format!("README has no file for the {host}"))
}

/// The folder that the documents' names start from.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Executor {
    const ALL: [Self; 4] = [Self::Story, Self::Machine, Self::Kernel, Self::Dist];

    /// How marks name it: a file of tests, or a command.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::Story => "tests/documents/story.rs",
            Self::Machine => "tests/documents/machine.rs",
            Self::Kernel => "tests/kernel/documents.rs",
            Self::Dist => "cargo xtask dist --check",
        }
    }
}

impl Example {
    /// The commands as a script, and the output that is shown below them.
    ///
    /// # Errors
    /// When it has no command, or one that does not end.
    pub fn script(&self) -> Result<(String, String)> {
        split(&self.text)
    }

    /// Reports that it was executed and did what it says.
    ///
    /// # Errors
    /// As [`report::add`].
    pub fn executed(&self) -> Result<()> {
        report::add(&Entry::Example(self.place.clone()))
    }

    fn new(line: usize, mark: &str, text: String) -> Result<Self> {
        let (mark, place) = match mark.split_once(" executed by ") {
            Some((mark, place)) => (mark, place),
            None => (mark, Executor::Story.place()),
        };
        let executor = Executor::ALL.into_iter().find(|executor| executor.place() == place);
        let executor = executor.with_context(|| format!("`{place}' executes no examples"))?;
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
        Ok(Self { place: line.to_string(), kind, host, executor, text })
    }
}

/// The examples of a page in Markdown: all fenced blocks.
fn of_markdown(page: &str) -> Result<Vec<Example>> {
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
    Ok(examples)
}

/// The examples of a manual in mdoc(7): all displays.
fn of_manual(page: &str) -> Result<Vec<Example>> {
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
    Ok(examples)
}

/// The commands, and the output that is shown below them.
fn split(text: &str) -> Result<(String, String)> {
    let (mut script, mut shown) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) else {
            shown.push_str(line);
            shown.push('\n');
            continue;
        };
        script.push_str(command);
        script.push('\n');
        let mut goes_on = command.ends_with(['\\', '|']);
        let mut ends_at = match command.split_once("<<") {
            Some((_, word)) => Some(word.trim_matches('\'')),
            None => command.ends_with("; do").then_some("done"),
        };
        while goes_on || ends_at.is_some() {
            let Some(line) = lines.next() else { bail!("the command does not end: {command}") };
            script.push_str(line);
            script.push('\n');
            goes_on = ends_at.is_none() && line.ends_with(['\\', '|']);
            ends_at = ends_at.filter(|word| *word != line.trim());
        }
    }
    ensure!(!script.is_empty(), "no line begins with `$ ' or `# '");
    Ok((script, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_an_example_is_and_who_executes_it() {
        let example = |mark: &str| Example::new(7, mark, String::new());
        let file = example("ini on server at /etc/x.conf").unwrap();
        assert_eq!(file.kind, Kind::File(Some("/etc/x.conf".to_owned())));
        assert_eq!((&*file.host, file.executor), ("server", Executor::Story));
        for executor in Executor::ALL {
            let mark = format!("console fails executed by {}", executor.place());
            let marked = example(&mark).unwrap();
            assert_eq!((marked.kind, marked.executor), (Kind::Console { fails: true }, executor));
        }
        for wrong in ["rust", "console parsed", "console executed by hand", "console not executed"]
        {
            assert!(example(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_goes_on_to_its_end() {
        let text = "$ for x in a b; do\n    echo $x |\n  cat\n  done\na\nb\n\
                    # cat <<'end'\ndone\nend\ndone\n";
        let (script, shown) = split(text).unwrap();
        assert_eq!(
            script,
            "for x in a b; do\n    echo $x |\n  cat\n  done\ncat <<'end'\ndone\nend\n"
        );
        assert_eq!(shown, "a\nb\ndone\n");
        assert!(split("$ for x in a; do\n").is_err());
    }
}
