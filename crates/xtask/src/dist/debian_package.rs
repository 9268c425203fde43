//! The Debian package, in the place of wireguard-tools.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::programs;

use super::binaries::Binaries;
use super::tree::Tree;
use super::{Places, Release, add_documents, files_in, name_of};
use crate::build;

const LIMIT: Duration = Duration::from_secs(120);

/// Where the package has things besides its programs.
const PLACES: Places<'static> = Places {
    manuals: "usr/share/man",
    bash: "usr/share/bash-completion/completions",
    zsh: "usr/share/zsh/vendor-completions",
    fish: "usr/share/fish/vendor_completions.d",
    documents: "usr/share/doc/culvert",
};

/// Builds the package with dpkg-deb.
pub(super) fn build(release: &Release, binaries: &Binaries) -> Result<PathBuf> {
    let architecture = architecture()?;
    let tree = Tree::new(&release.folder.join("package"))?;
    add_files(&tree, binaries)?;
    let size = sizes(&tree)?;
    let sums = sums(&tree)?;
    let packaging = build::workspace()?.join("packaging/debian");
    for path in files_in(&packaging)? {
        let name = name_of(&path)?;
        let text = fs::read_to_string(&path)?;
        match name {
            "copyright" => {
                let place = format!("{}/copyright", PLACES.documents);
                tree.write(&place, copyright(&text)?.as_bytes(), 0o644)?;
            }
            "control" => {
                let text = text
                    .replace("@VERSION@", release.version)
                    .replace("@ARCHITECTURE@", architecture)
                    .replace("@INSTALLED_SIZE@", &size.to_string())
                    .replace("@LIBC@", &binaries.oldest_library()?)
                    .replace("@PROVIDED@", &version_matched(binaries)?);
                tree.write("DEBIAN/control", text.as_bytes(), 0o644)?;
            }
            "conffiles" | "triggers" => {
                tree.write(&format!("DEBIAN/{name}"), text.as_bytes(), 0o644)?;
            }
            "preinst" | "postinst" | "prerm" | "postrm" => {
                tree.write(&format!("DEBIAN/{name}"), text.as_bytes(), 0o755)?;
            }
            _ => bail!("packaging/debian/{name} is no part of a Debian package"),
        }
    }
    tree.write("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
    let package = release.folder.join(format!("culvert_{}_{architecture}.deb", release.version));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "--build"]).arg(tree.root()).arg(&package);
    dpkg.env("SOURCE_DATE_EPOCH", release.time.to_string());
    testbed::run(&mut dpkg, b"", LIMIT)?.success()?;
    Ok(package)
}

fn add_files(tree: &Tree, binaries: &Binaries) -> Result<()> {
    let workspace = build::workspace()?;
    for program in programs::NAMES {
        tree.copy(&binaries.program(program), &format!("usr/bin/{program}"), 0o755)?;
    }
    add_documents(tree, &PLACES)?;
    for unit in files_in(&workspace.join("systemd"))? {
        let name = name_of(&unit)?;
        tree.copy(&unit, &format!("usr/lib/systemd/system/{name}"), 0o644)?;
        // For postinst, which tells why.
        tree.copy(&unit, &format!("usr/share/culvert/systemd/{name}"), 0o644)?;
    }
    let profiles = workspace.join("packaging/apparmor");
    let daemon = "wg-userspace";
    tree.copy(&profiles.join(daemon), &format!("etc/apparmor.d/{daemon}"), 0o644)?;
    for name in ["wg", "wg-quick"] {
        tree.copy(&profiles.join(name), &format!("usr/share/culvert/apparmor/{name}"), 0o644)?;
    }
    tree.folder("etc/wireguard", 0o700)
}

/// Debian's name for this machine's architecture.
fn architecture() -> Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => bail!("there is no Debian architecture known for {other}"),
    })
}

/// In KiB, rounded up file by file.
fn sizes(tree: &Tree) -> Result<u64> {
    let mut total = 0;
    for file in tree.files()? {
        total += fs::symlink_metadata(tree.root().join(file))?.len().div_ceil(1024);
    }
    Ok(total)
}

/// What `dpkg --verify` compares with: all but what the administrator may change.
fn sums(tree: &Tree) -> Result<String> {
    let mut sums = String::new();
    for file in tree.files()?.iter().filter(|file| !file.starts_with("etc")) {
        let mut md5sum = Command::new("md5sum");
        let output = testbed::run(md5sum.arg(tree.root().join(file)), b"", LIMIT)?.success()?;
        let sum = output.stdout.split(' ').next().context("md5sum prints a sum")?;
        writeln!(sums, "{sum}  {}", file.display())?;
    }
    Ok(sums)
}

/// The version of wireguard-tools that the package stands for: the one that `wg --version` names.
/// `control` makes it later than any of Debian's revisions of it.
fn version_matched(binaries: &Binaries) -> Result<String> {
    let mut wg = Command::new(binaries.program("wg"));
    let output = testbed::run(wg.arg("--version"), b"", LIMIT)?.success()?.stdout;
    let version = output.strip_prefix("wireguard-tools v").and_then(|rest| rest.split(' ').next());
    version.map(str::to_owned).with_context(|| format!("no version in {output}"))
}

/// The licence's text, indented as Debian's format wants it.
fn copyright(template: &str) -> Result<String> {
    let licence = fs::read_to_string(build::workspace()?.join("LICENSE-MIT"))?;
    let lines = licence.trim_end().lines();
    let lines: Vec<_> = lines
        .map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") })
        .collect();
    Ok(template.replace("@MIT@", &lines.join("\n")))
}
