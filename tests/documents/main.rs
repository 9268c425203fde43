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
