//! `cargo xtask test`: everything the tests need, then the tests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use testbed::documents::{self, Example, Executor};
use testbed::report::Entry;
use testbed::{daemons, originals, packages, privileges, programs, report};

use crate::{build, test_report};

/// Debian packages whose programs the tests call.
const PACKAGES: [&str; 16] = [
    "bash",
    "bash-completion",
    "debian-archive-keyring",
    "fish",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "man-db",
    "mandoc",
    "nftables",
    "procps",
    "strace",
    "sudo",
    "systemd",
    "zsh",
];

/// Installs, fetches, builds and tests. `long` adds the tests that take minutes.
pub(crate) fn run(long: bool) -> Result<()> {
    println!("Packages: {}", PACKAGES.join(", "));
    packages::ensure(&PACKAGES)?;
    println!("The original wg, wg-quick and wireguard-go: {}", originals::folder()?.display());
    println!("boringtun: {}", daemons::boringtun()?.display());
    if long {
        println!("gotatun: {}", daemons::gotatun()?.display());
    }
    println!("Building the workspace.");
    if !build::cargo()?.args(["build", "--workspace", "--all-targets"]).status()?.success() {
        bail!("the workspace cannot be built");
    }
    if !privileges::is_root() {
        privileges::enter_user_namespace()?;
        println!("Not root: the tests run in a user namespace.");
    }
    privileges::check_tun()?;
    let told = programs::target_folder()?.join("test-report");
    File::create(&told).with_context(|| format!("cannot write {}", told.display()))?;
    let mut total = Total::default();
    let mut success = total.run(&["--workspace", "--no-fail-fast"], &[], &told, None)?;
    let daemon = ["--package", "wg-userspace", "--test", "daemon"];
    for forbidden in ["tun", "gso", "gro", "tun,gso,gro"] {
        println!("Without the offloads {forbidden}:");
        let without = Some(("WG_NO_OFFLOAD", forbidden));
        success &= total.run(&daemon, &["traffic::", "interop::"], &told, without)?;
    }
    println!("With two lanes of two workers:");
    let lanes = Some(("WG_LANES", "2x2"));
    success &= total.run(&daemon, &["traffic::", "reconfiguration::"], &told, lanes)?;
    let corners = ["--package", "wg-tunnel", "--test", "corners"];
    success &= total.run(&corners, &[], &told, lanes)?;
    if long {
        let package = ["--package", "culvert-tests", "--test", "interop", "--test", "kernel"];
        success &= total.run(&package, &["--ignored", "--test-threads=1"], &told, None)?;
        // These share the cores among themselves.
        let faults = ["--package", "wg-quick", "--test", "program"];
        success &= total.run(&faults, &["--ignored", "--test-threads=1"], &told, None)?;
    }
    let told = fs::read_to_string(&told)?;
    success &= test_report::print(&told, long);
    success &= every_example_was_executed(&told)?;
    let Total { passed, failed, ignored } = total;
    println!("\nAll tests: {passed} passed, {failed} failed, {ignored} ignored.");
    if !success {
        bail!("the tests failed");
    }
    Ok(())
}

/// Compares the examples of README and the manuals with those that the tests have `told` of. Only what
/// tests that could not run would have executed may be missing.
fn every_example_was_executed(told: &str) -> Result<bool> {
    let entries = report::entries(told);
    let executed = |example: &Example| entries.contains(&Entry::Example(example.place.clone()));
    let (of_dist, of_tests): (Vec<_>, Vec<_>) =
        documents::all()?.into_iter().partition(|example| example.executor == Executor::Dist);
    let missing: Vec<_> = of_tests.iter().filter(|example| !executed(example)).collect();
    println!(
        "\nExamples in README and the manuals: {} of {} executed; {} more are by {}.",
        of_tests.len() - missing.len(),
        of_tests.len(),
        of_dist.len(),
        Executor::Dist.place()
    );
    for example in &missing {
        println!("NOT EXECUTED {}, by {}", example.place, example.executor.place());
    }
    Ok(missing.is_empty() || entries.iter().any(|entry| matches!(entry, Entry::Skipped { .. })))
}

/// The results of all test programs together.
#[derive(Default)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Total {
    /// Runs tests, with a variable for the daemons in them if one is given, passes their output on,
    /// and tells whether all succeeded. What they tell beside that is added to the file `told`.
    fn run(
        &mut self,
        selection: &[&str],
        options: &[&str],
        told: &Path,
        variable: Option<(&str, &str)>,
    ) -> Result<bool> {
        let mut cargo = build::cargo()?;
        cargo.env(report::FILE, told);
        cargo.arg("test").args(selection).arg("--").args(options).stdout(Stdio::piped());
        // What a developer's shell has set for the daemons must not change what is tested.
        cargo.env_remove("WG_NO_OFFLOAD").env_remove("WG_LANES").envs(variable);
        if std::io::stdout().is_terminal() {
            cargo.arg("--color=always");
        }
        let mut child = cargo.spawn().context("cannot start cargo")?;
        let stdout = child.stdout.take().context("cargo has no standard output")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            self.passed += count(&line, "passed");
            self.failed += count(&line, "failed");
            self.ignored += count(&line, "ignored");
        }
        Ok(child.wait()?.success())
    }
}

/// The number before `what` in a summary as `test result: ok. 9 passed; 0 failed; …`.
fn count(line: &str, what: &str) -> u64 {
    if !line.starts_with("test result:") {
        return 0;
    }
    let words: Vec<_> = line.split([' ', ';']).collect();
    let found = words.windows(2).find(|pair| pair[1] == what);
    found.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use testbed::documents::{self, Executor};

    use super::{count, every_example_was_executed};

    #[test]
    fn an_example_that_no_test_executed_is_missed() {
        let examples = documents::all().unwrap();
        let of_tests = examples.iter().filter(|example| example.executor != Executor::Dist);
        let told: Vec<_> = of_tests.map(|example| format!("example {}\n", example.place)).collect();
        assert!(every_example_was_executed(&told.concat()).unwrap());
        assert!(!every_example_was_executed(&told[1..].concat()).unwrap());
    }

    #[test]
    fn counts_come_from_summaries_only() {
        let line = "test result: ok. 9 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            (count(line, "passed"), count(line, "failed"), count(line, "ignored")),
            (9, 2, 1)
        );
        assert_eq!(count("3 passed; by a test that prints", "passed"), 0);
    }
}
