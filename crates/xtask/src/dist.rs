//! `cargo xtask dist`: what users install. Three archives in the target folder's `dist`:
//!
//! - a tarball with static programs, manuals and completions, to unpack at a prefix;
//! - a Debian package, whose programs use this machine's C library or a newer one;
//! - a root file system with nothing but the static programs, for containers.

mod archive;
mod binaries;
mod check;
mod container;
mod debian_package;
mod debian_root;
mod tree;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use testbed::programs;

use crate::build;
use binaries::{Binaries, Library};
use tree::Tree;

/// What is released.
struct Release {
    version: &'static str,
    /// Of every file in every archive, in seconds since 1970: equal input gives equal archives.
    time: u64,
    /// Where the archives go.
    folder: PathBuf,
}

/// The three programs stripped, together, in bytes.
const SIZE_LIMIT: u64 = 12_000_000;

/// Builds the archives and prints their sizes; `check` installs and uses each.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = programs::target_folder()?.join("dist");
    fs::create_dir_all(&folder)?;
    let release = Release { version: env!("CARGO_PKG_VERSION"), time: time()?, folder };
    println!("Building the programs with musl, static, and with this machine's C library.");
    let of_musl = Binaries::build(Library::Musl)?;
    let of_machine = Binaries::build(Library::Machine)?;
    for (what, binaries) in [("static", &of_musl), ("dynamic", &of_machine)] {
        print_sizes(what, binaries)?;
    }
    let archives = Archives {
        tarball: tarball(&release, &of_musl)?,
        package: debian_package::build(&release, &of_machine)?,
        image: image(&release, &of_musl)?,
    };
    println!("\nArchives in {}", release.folder.display());
    for path in [&archives.tarball, &archives.package, &archives.image] {
        let name = path.file_name().context("an archive has a name")?;
        println!("{:>11}  {}", fs::metadata(path)?.len(), name.display());
    }
    if check { check::run(&release, &archives, [&of_musl, &of_machine]) } else { Ok(()) }
}

/// The archives of a release.
struct Archives {
    tarball: PathBuf,
    package: PathBuf,
    image: PathBuf,
}

/// `SOURCE_DATE_EPOCH`, else the time of the last commit.
fn time() -> Result<u64> {
    if let Some(time) = env::var_os("SOURCE_DATE_EPOCH") {
        let time = time.to_str().and_then(|time| time.parse().ok());
        return time.context("SOURCE_DATE_EPOCH is not a number of seconds");
    }
    let mut git = std::process::Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(build::workspace()?);
    let output = git.output().context("cannot start git; set SOURCE_DATE_EPOCH")?;
    let time = String::from_utf8_lossy(&output.stdout).trim().parse();
    time.context("git knows no last commit; set SOURCE_DATE_EPOCH")
}

fn print_sizes(what: &str, binaries: &Binaries) -> Result<()> {
    println!("\nPrograms, {what}, stripped, in bytes");
    let mut total = 0;
    for name in programs::NAMES {
        let size = fs::metadata(binaries.program(name))?.len();
        println!("{size:>11}  {name}");
        total += size;
    }
    println!("{total:>11}  together, of at most {SIZE_LIMIT}");
    ensure!(total < SIZE_LIMIT, "the programs are too big");
    Ok(())
}

fn tarball(release: &Release, binaries: &Binaries) -> Result<PathBuf> {
    let name = format!("culvert-{}-{}-linux", release.version, env::consts::ARCH);
    let tree = Tree::new(&release.folder.join("tarball"))?;
    for program in programs::NAMES {
        tree.copy(&binaries.program(program), &format!("{name}/bin/{program}"), 0o755)?;
    }
    add_documents(
        &tree,
        &Places {
            manuals: &format!("{name}/share/man"),
            bash: &format!("{name}/share/bash-completion/completions"),
            zsh: &format!("{name}/share/zsh/site-functions"),
            fish: &format!("{name}/share/fish/vendor_completions.d"),
            documents: &format!("{name}/share/doc/culvert"),
        },
    )?;
    tree.copy_all(
        &build::workspace()?.join("systemd"),
        &format!("{name}/share/doc/culvert/systemd"),
    )?;
    // No folders: unpacked, they would give their modes to those of the prefix.
    archive::pack(&tree, &tree.files()?, release, &format!("{name}.tar.gz"))
}

/// A root file system for containers. The links and empty folders are what container engines mount
/// on, and what the programs expect.
fn image(release: &Release, binaries: &Binaries) -> Result<PathBuf> {
    let tree = Tree::new(&release.folder.join("image"))?;
    for program in programs::NAMES {
        tree.copy(&binaries.program(program), &format!("bin/{program}"), 0o755)?;
    }
    for folder in ["dev", "proc", "run", "sys", "var"] {
        tree.folder(folder, 0o755)?;
    }
    tree.folder("etc/wireguard", 0o700)?;
    tree.link("../run", "var/run")?;
    archive::pack(
        &tree,
        &[PathBuf::from(".")],
        release,
        &format!("culvert-{}-{}-rootfs.tar.gz", release.version, env::consts::ARCH),
    )
}

/// Where an archive has manuals, completions and documents.
struct Places<'a> {
    manuals: &'a str,
    bash: &'a str,
    zsh: &'a str,
    fish: &'a str,
    documents: &'a str,
}

/// Adds whatever manuals, completions and documents there are.
fn add_documents(tree: &Tree, places: &Places<'_>) -> Result<()> {
    let workspace = build::workspace()?;
    for path in files_in(&workspace.join("man"))? {
        let name = name_of(&path)?;
        let section = path.extension().and_then(|section| section.to_str());
        let section = section.with_context(|| format!("{name} is of no section"))?;
        let place = format!("{}/man{section}/{name}.gz", places.manuals);
        tree.write(&place, &archive::compress(&fs::read(&path)?)?, 0o644)?;
    }
    for path in files_in(&workspace.join("completions"))? {
        let name = name_of(&path)?;
        let place = match name.split_once('.') {
            Some((program, "bash")) => format!("{}/{program}", places.bash),
            Some((_, "fish")) => format!("{}/{name}", places.fish),
            None if name.starts_with('_') => format!("{}/{name}", places.zsh),
            _ => bail!("{name} is the completion of no known shell"),
        };
        tree.copy(&path, &place, 0o644)?;
    }
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        let path = workspace.join(name);
        if path.exists() {
            tree.copy(&path, &format!("{}/{name}", places.documents), 0o644)?;
        }
    }
    for folder in ["docs", "examples"] {
        tree.copy_all(&workspace.join(folder), &format!("{}/{folder}", places.documents))?;
    }
    Ok(())
}

/// The files right in a folder, in order; none when there is no such folder.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).context("a file whose name is text")
}
