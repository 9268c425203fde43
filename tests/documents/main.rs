//! The manuals and README: every example works, every option and setting is named, and mandoc(1) has
//! nothing to say.
//!
//! No example goes unexecuted: its mark names what executes it (`testbed::documents`), each of which
//! takes all examples that are marked so, and `cargo xtask test` compares what was executed with
//! what there is.

mod lists;
mod machine;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use testbed::documents::{self, DOCUMENTS, Executor};
use testbed::packages;

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

#[test]
fn examples_of_readme_work() -> Result<()> {
    story::tell("README.md")
}

#[test]
fn examples_of_wg_work() -> Result<()> {
    story::tell("man/wg.8")
}

#[test]
fn examples_of_wg_quick_work() -> Result<()> {
    story::tell("man/wg-quick.8")
}

#[test]
fn examples_of_wg_userspace_work() -> Result<()> {
    story::tell("man/wg-userspace.8")
}

#[test]
fn examples_of_wg_conf_work() -> Result<()> {
    story::tell("man/wg.conf.5")
}

#[test]
fn every_manual_is_told_and_every_executor_is_there() -> Result<()> {
    let mut manuals = Vec::new();
    for entry in fs::read_dir(workspace().join("man"))? {
        manuals.push(format!("man/{}", entry?.file_name().display()));
    }
    let unknown: Vec<_> =
        manuals.iter().filter(|name| !DOCUMENTS.contains(&name.as_str())).collect();
    ensure!(unknown.is_empty() && manuals.len() == MANUALS.len(), "nobody tells {unknown:?}");
    for (executor, source) in [
        (Executor::Machine, Executor::Machine.place()),
        (Executor::Kernel, Executor::Kernel.place()),
        (Executor::Dist, "crates/xtask/src/dist/container.rs"),
    ] {
        let call = format!("documents::examples(Executor::{executor:?})");
        ensure!(document(source)?.contains(&call), "{source} executes no examples");
        documents::examples(executor)?;
    }
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
