//! `cargo xtask deny`: whose code is built in, and under which licences.

use std::collections::BTreeSet;
use std::fs;
use std::iter::Peekable;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;

/// Runs cargo-deny where there is one, licences and advisories. Otherwise checks the licences of
/// all packages alone, and says so.
pub(crate) fn run() -> Result<()> {
    let deny = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).status();
    if deny.is_ok_and(|status| status.success()) {
        let status = build::cargo()?.args(["deny", "check"]).status()?;
        if !status.success() {
            bail!("cargo-deny has findings");
        }
        return Ok(());
    }
    println!("There is no cargo-deny: licences are checked, advisories are not.");
    let settings = fs::read_to_string(build::workspace()?.join("deny.toml"))?;
    let allowed = allowed(&settings).context("deny.toml allows no licences")?;
    let packages = packages()?;
    let refused: Vec<_> = packages
        .iter()
        .filter(|(_, licence)| !Expression::parse(licence).is_some_and(|all| all.is_met(&allowed)))
        .collect();
    for (package, licence) in &refused {
        println!("{package}: `{licence}'");
    }
    if !refused.is_empty() {
        bail!("{} packages have licences that deny.toml does not allow", refused.len());
    }
    println!("{} packages have licences that deny.toml allows.", packages.len());
    Ok(())
}

/// The list of licences in the settings of cargo-deny.
fn allowed(settings: &str) -> Option<BTreeSet<&str>> {
    let (_, list) = settings.split_once("\nallow = [")?;
    let (list, _) = list.split_once(']')?;
    Some(list.split('"').skip(1).step_by(2).collect())
}

/// Every package from elsewhere that any of ours is built or tested with, and its licence.
fn packages() -> Result<BTreeSet<(String, String)>> {
    let mut cargo = build::cargo()?;
    cargo.args(["tree", "--workspace", "--edges", "normal,build,dev", "--target", "all"]);
    cargo.args(["--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]);
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(output.stdout)?;
    let packages = listed.lines().filter_map(|line| line.split_once('|'));
    Ok(packages.map(|(name, licence)| (name.to_owned(), licence.to_owned())).collect())
}

/// A licence expression as in Cargo.toml (SPDX 2.1, appendix IV; `/` is an older `OR`).
#[derive(Debug, PartialEq, Eq)]
enum Expression {
    Licence(String),
    Any(Vec<Expression>),
    All(Vec<Expression>),
}

impl Expression {
    fn parse(text: &str) -> Option<Self> {
        let text = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let mut words = text.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
        let whole = Self::any(&mut words)?;
        words.next().is_none().then_some(whole)
    }

    fn any<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<Self> {
        let mut parts = vec![Self::all(words)?];
        while words.next_if_eq(&"OR").is_some() {
            parts.push(Self::all(words)?);
        }
        Some(Self::Any(parts))
    }

    /// `AND` binds tighter than `OR`.
    fn all<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<Self> {
        let mut parts = vec![Self::one(words)?];
        while words.next_if_eq(&"AND").is_some() {
            parts.push(Self::one(words)?);
        }
        Some(Self::All(parts))
    }

    fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Option<Self> {
        let word = words.next()?;
        if word == "(" {
            let inside = Self::any(words)?;
            return words.next_if_eq(&")").map(|_| inside);
        }
        if words.next_if_eq(&"WITH").is_some() {
            return Some(Self::Licence(format!("{word} WITH {}", words.next()?)));
        }
        Some(Self::Licence(word.to_owned()))
    }

    fn is_met(&self, allowed: &BTreeSet<&str>) -> bool {
        match self {
            Self::Licence(name) => allowed.contains(name.as_str()),
            Self::Any(parts) => parts.iter().any(|part| part.is_met(allowed)),
            Self::All(parts) => parts.iter().all(|part| part.is_met(allowed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_chosen_and_combined() {
        let allowed =
            allowed("[x]\nallow = [\n  \"MIT\",\n  \"A WITH B\",\n]\nb = \"no\"").unwrap();
        for (text, good) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(GPL-3.0 OR MIT) AND A WITH B", true),
            ("GPL-3.0 OR MIT AND X", false),
            ("A", false),
            ("", false),
            ("(MIT", false),
            ("MIT)", false),
        ] {
            let met = Expression::parse(text).is_some_and(|all| all.is_met(&allowed));
            assert_eq!(met, good, "{text}");
        }
    }
}
