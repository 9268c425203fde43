//! Archives that depend on their content alone: no owner, no time but the release's.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Release;
use super::tree::Tree;

const LIMIT: Duration = Duration::from_secs(120);

/// Packs `parts` of a tree, folders with all that is in them, as `name` into the release's folder.
pub(super) fn pack(
    tree: &Tree,
    parts: &[PathBuf],
    release: &Release,
    name: &str,
) -> Result<PathBuf> {
    let archive = release.folder.join(name);
    let mut tar = Command::new("tar");
    tar.args(["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", release.time)).arg("--use-compress-program=gzip -9n");
    tar.arg("-cf").arg(&archive).arg("-C").arg(tree.root()).args(parts);
    testbed::run(&mut tar, b"", LIMIT)?.success()?;
    Ok(archive)
}

/// `bytes` in gzip's format, without a name or a time.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip =
        Command::new("gzip").arg("-9nc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // What comes out of a manual fits into a pipe's buffer, so that nobody waits for anybody.
    if let Some(mut stdin) = gzip.stdin.take() {
        stdin.write_all(bytes)?;
    }
    let output = gzip.wait_with_output()?;
    ensure!(output.status.success(), "gzip: {}", output.status);
    Ok(output.stdout)
}
