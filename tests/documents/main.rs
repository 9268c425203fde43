//! The manuals and README: every example works, every option and setting is named, and mandoc(1) has
//! nothing to say.

mod example;
mod lists;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use testbed::packages;

use example::Example;

/// The manuals.
const MANUALS: [&str; 4] = ["wg.8", "wg-quick.8", "wg-userspace.8", "wg.conf.5"];
/// The pages that people read in the repository.
const PAGES: [&str; 5] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/compatibility.md",
];
/// Manuals of others that ours refer to. They need not be installed here.
const ELSEWHERE: [&str; 6] =
    ["bash.1", "sh.1", "ip.8", "iptables-restore.8", "resolvconf.8", "sudo.8"];
/// Examples of all documents that may go untried, each with its reason.
const MOST_UNTRIED: usize = 8;

#[test]
fn examples_of_readme_work() -> Result<()> {
    story::tell("README.md", &example::of_markdown(&document("README.md")?)?)
}

#[test]
fn examples_of_wg_work() -> Result<()> {
    examples_of_manual_work("wg.8")
}

#[test]
fn examples_of_wg_quick_work() -> Result<()> {
    examples_of_manual_work("wg-quick.8")
}

#[test]
fn examples_of_wg_userspace_work() -> Result<()> {
    examples_of_manual_work("wg-userspace.8")
}

#[test]
fn examples_of_wg_conf_work() -> Result<()> {
    examples_of_manual_work("wg.conf.5")
}

#[test]
fn few_examples_go_untried() -> Result<()> {
    let mut untried = Vec::new();
    let mut note = |name: &str, examples: Vec<Example>| {
        for example in examples {
            if let Some(reason) = example.not_executed {
                untried.push(format!("{name}:{}: {reason}", example.line));
            }
        }
    };
    note("README.md", example::of_markdown(&document("README.md")?)?);
    for name in MANUALS {
        note(name, example::of_manual(&document(&format!("man/{name}"))?)?);
    }
    ensure!(untried.len() <= MOST_UNTRIED, "{untried:#?}");
    println!("not tried:\n{}", untried.join("\n"));
    Ok(())
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    for name in PAGES {
        let page = document(name)?;
        let headings: Vec<_> =
            page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let exists = match link.strip_prefix('#') {
                Some(heading) => headings.iter().any(|found| found == heading),
                None => workspace().join(name).with_file_name(link).exists(),
            };
            ensure!(exists, "{name}: {link}");
        }
    }
    Ok(())
}

#[test]
fn mandoc_is_silent() -> Result<()> {
    packages::ensure(&["mandoc"])?;
    // It looks for the manuals that others refer to in the current folder too.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manuals");
    fs::create_dir_all(&folder)?;
    for name in ELSEWHERE {
        fs::write(folder.join(name), "")?;
    }
    for name in MANUALS {
        fs::write(folder.join(name), document(&format!("man/{name}"))?)?;
    }
    for name in MANUALS {
        let mut mandoc = Command::new("mandoc");
        let output = mandoc.args(["-Tlint", name]).current_dir(&folder).output();
        let output = output.context("cannot start mandoc")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && said.is_empty(), "{said}");
    }
    Ok(())
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "")
}

/// A file of the workspace.
fn document(name: &str) -> Result<String> {
    let path = workspace().join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn examples_of_manual_work(name: &str) -> Result<()> {
    story::tell(name, &example::of_manual(&document(&format!("man/{name}"))?)?)
}
