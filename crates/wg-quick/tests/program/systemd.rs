//! The systemd units.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testbed::{packages, programs};

const UNITS: [&str; 4] = [
    "systemd/wg-quick@.service",
    "systemd/wg-quick.target",
    "examples/dynamic-addresses/away/wg-endpoints@.service",
    "examples/dynamic-addresses/away/wg-endpoints@.timer",
];

#[test]
fn systemd_finds_nothing_wrong_with_the_units() -> Result<()> {
    packages::ensure(&["systemd"])?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::temp_dir().join(format!("wg-quick-units-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let program = programs::folder()?.join("wg-quick");
    let program = program.to_str().context("a folder whose name is text")?;
    let (mut verbs, mut copies) = (0, Vec::new());
    for unit in UNITS {
        // The programs need not be installed where the units look for them.
        let text = fs::read_to_string(workspace.join(unit))?;
        verbs += text.matches("=/usr/bin/wg-quick ").count();
        let copy = folder.join(Path::new(unit).file_name().context("a file")?);
        fs::write(&copy, text.replace("/usr/bin/wg-quick", program))?;
        copies.push(copy);
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(&copies);
    let output = verify.output().context("systemd-analyze")?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    // Its own, about units of the machine, are no business of ours.
    let ours: Vec<_> = complaints.lines().filter(|line| line.contains("wg-")).collect();
    fs::remove_dir_all(&folder)?;
    ensure!(output.status.success() && ours.is_empty(), "{}: {complaints}", output.status);
    ensure!(verbs == 3, "start, stop and reload are wg-quick's");
    Ok(())
}
