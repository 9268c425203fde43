//! Nothing is missing in the manuals, and nothing in them is made up: they are compared with what the
//! programs know.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use testbed::Host;
use testbed::originals::COLUMNS;
use wg_config::Dialect;

use crate::{document, workspace};

#[test]
fn wg_has_every_command_column_and_setting() -> Result<()> {
    let manual = document("man/wg.8")?;
    let host = Host::new("usage")?;
    let help = host.run("wg help")?.success()?.stdout;
    let commands: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(": "))
        .map(|(command, _)| command.to_owned())
        .chain(["help", "version"].map(str::to_owned))
        .collect();
    ensure!(commands.len() == 11, "{commands:?}");
    ensure!(commands == items(&manual, "DESCRIPTION", "Cm"), "the commands are {commands:?}");

    let columns: BTreeSet<_> = COLUMNS.map(str::to_owned).into();
    ensure!(columns == items(&manual, "Columns of show", "Cm"), "the columns are {columns:?}");

    // A word before a value in angle brackets, or alone in square ones.
    let usage = host.run("wg set")?.code(1)?.stderr;
    let usage = usage.split_once("<interface>").context("no interface in the usage")?.1;
    let words = usage.split([' ', '[', ']', '\n']).filter(|word| {
        word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains(['<', '>'])
    });
    let values = ["key", "public", "path", "seconds"];
    let settings: BTreeSet<_> =
        words.filter(|word| !values.contains(word)).map(str::to_owned).collect();
    ensure!(settings.len() == 9, "{settings:?}");
    ensure!(settings == items(&manual, "Settings of set", "Cm"), "the settings are {settings:?}");
    let words =
        commands.iter().chain(&settings).filter(|word| !["help", "version"].contains(&&***word));
    words.map(String::as_str).chain(COLUMNS).try_for_each(|word| is_completed("wg", word))
}

#[test]
fn wg_userspace_has_every_option() -> Result<()> {
    let manual = document("man/wg-userspace.8")?;
    let help = Host::new("usage")?.run("wg-userspace --help")?.success()?.stdout;
    // Lines as `  -f, --foreground  Stay in the foreground`.
    let options: BTreeSet<_> = help
        .lines()
        .filter(|line| line.starts_with("  -"))
        .filter_map(|line| Some(line.split_once(", --")?.0.trim().trim_start_matches('-')))
        .map(str::to_owned)
        .collect();
    ensure!(options.len() == 3, "{help}");
    ensure!(options == items(&manual, "DESCRIPTION", "Fl"), "the options are {options:?}");
    for option in help.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
        ensure!(manual.contains(&format!("Fl -{option}")), "--{option}");
        is_completed("wg-userspace", option)?;
    }
    Ok(())
}

#[test]
fn wg_conf_has_every_setting() -> Result<()> {
    let manual = document("man/wg.conf.5")?;
    for (section, heading) in
        [("Interface", "SETTINGS OF THE INTERFACE"), ("Peer", "SETTINGS OF A PEER")]
    {
        // The reader names those that it knows when it meets one that it does not.
        let text = format!("[{section}]\nNonsense = 1\n");
        let errors = wg_config::read("x", text.as_bytes(), Dialect::WgQuick, |_| None);
        let errors = errors.err().context("nonsense is a setting")?;
        let known = errors.iter().find_map(|error| error.expected().rsplit_once("one of "));
        let known = known.context("the reader names no settings")?.1;
        let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
        ensure!(known == items(&manual, heading, "Cm"), "the settings are {known:?}");
    }
    Ok(())
}

#[test]
fn every_variable_that_is_read_is_named_and_no_other() -> Result<()> {
    for (manual, crates) in [
        ("wg.8", &["wg", "wg-control"][..]),
        ("wg-quick.8", &["wg-quick", "wg-control"]),
        ("wg-userspace.8", &["wg-userspace", "wg-tunnel"]),
    ] {
        let mut read = BTreeSet::new();
        for name in crates {
            variables(&workspace().join("crates").join(name).join("src"), &mut read)?;
        }
        let named = items(&document(&format!("man/{manual}"))?, "ENVIRONMENT", "Ev");
        ensure!(!read.is_empty() && read == named, "{manual} names {named:?}, read are {read:?}");
    }
    Ok(())
}

/// Whether the completions of all shells have a word.
fn is_completed(program: &str, word: &str) -> Result<()> {
    for file in [format!("{program}.bash"), format!("_{program}"), format!("{program}.fish")] {
        let text = document(&format!("completions/{file}"))?;
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let has = words.any(|found| found == word || found.strip_prefix("--") == Some(word));
        ensure!(has, "completions/{file} has no `{word}'");
    }
    Ok(())
}

/// The first words of the tagged items of a section or subsection.
fn items(manual: &str, heading: &str, class: &str) -> BTreeSet<String> {
    let is_heading = |line: &str| line.starts_with(".Sh ") || line.starts_with(".Ss ");
    let mut lines = manual.lines();
    lines.find(|line| is_heading(line) && line.ends_with(heading));
    lines
        .take_while(|line| !is_heading(line))
        .filter_map(|line| line.strip_prefix(".It ")?.strip_prefix(class)?.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

/// The environment variables that the sources of a folder ask for.
fn variables(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            variables(&path, found)?;
            continue;
        }
        let text = fs::read_to_string(&path)?;
        // As `env::var_os("WG_HIDE_KEYS")`, or through a function of the same shape.
        for call in ["var_os(\"", "var(\"", "number(\"", "parsed(\""] {
            found.extend(text.split(call).skip(1).filter_map(|rest| {
                let name = rest.split('"').next()?;
                name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_').then(|| name.to_owned())
            }));
        }
    }
    Ok(())
}
