//! `cargo xtask test`: everything the tests need, then the tests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use testbed::{originals, packages, privileges, programs, vm};

use crate::build;

/// Debian packages whose programs the tests call.
const PACKAGES: [&str; 12] = [
    "bash",
    "debian-archive-keyring",
    "fish",
    "iproute2",
    "iptables",
    "iputils-ping",
    "mandoc",
    "nftables",
    "procps",
    "strace",
    "systemd",
    "zsh",
];

/// Installs, fetches, builds and tests. `long` adds the tests that take minutes.
pub(crate) fn run(long: bool) -> Result<()> {
    println!("Packages: {}", PACKAGES.join(", "));
    packages::ensure(&PACKAGES)?;
    println!("The original wg, wg-quick and wireguard-go: {}", originals::folder()?.display());
    println!("Building the workspace.");
    if !build::cargo()?.args(["build", "--workspace", "--all-targets"]).status()?.success() {
        bail!("the workspace cannot be built");
    }
    if !privileges::is_root() {
        privileges::enter_user_namespace()?;
        println!("Not root: the tests run in a user namespace.");
    }
    privileges::check_tun()?;
    let record = programs::target_folder()?.join("kernel-cases");
    File::create(&record).with_context(|| format!("cannot write {}", record.display()))?;
    let mut total = Total::default();
    let mut success = total.run(&["--workspace", "--no-fail-fast"], &[], &record)?;
    if long {
        let package = ["--package", "culvert-tests", "--test", "interop", "--test", "kernel"];
        success &= total.run(&package, &["--ignored", "--test-threads=1"], &record)?;
    }
    tell_kernel_cases(&fs::read_to_string(&record)?);
    let Total { passed, failed, ignored, reached, denied } = total;
    println!("\nReachability in the recipes: {reached} reached, {denied} denied, as they say.");
    println!("\nAll tests: {passed} passed, {failed} failed, {ignored} ignored.");
    if !success {
        bail!("the tests failed");
    }
    Ok(())
}

/// The results of all test programs together.
#[derive(Default)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Addresses that hosts of the recipes reached, and those they did not.
    reached: u64,
    denied: u64,
}

impl Total {
    /// Runs tests, passes their output on, and tells whether all succeeded. What is tried on the
    /// kernel module is added to `record`.
    fn run(&mut self, selection: &[&str], options: &[&str], record: &Path) -> Result<bool> {
        let mut cargo = build::cargo()?;
        cargo.env(vm::RECORD, record);
        cargo.arg("test").args(selection).arg("--").args(options).stdout(Stdio::piped());
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
            let (reached, denied) = reachability(&line);
            self.reached += reached;
            self.denied += denied;
        }
        Ok(child.wait()?.success())
    }
}

/// Says how much was tried on the kernel module, and loudly what was not.
fn tell_kernel_cases(record: &str) {
    let (passed, skipped): (Vec<_>, Vec<_>) =
        record.lines().partition(|line| line.starts_with("passed"));
    let seconds: f64 = passed.iter().filter_map(|line| seconds(line)).sum();
    let (passed, missed) = (passed.len(), skipped.len());
    println!("\nOn the kernel module: {passed} passed in {seconds:.0} s, {missed} skipped.");
    for line in skipped {
        println!("{line}");
    }
}

/// The time in a line as `passed NAME in SECONDS s`.
fn seconds(line: &str) -> Option<f64> {
    line.strip_suffix(" s")?.rsplit(' ').next()?.parse().ok()
}

/// The numbers in a line as `recipe NAME: 12 reached, 4 denied`, which the harness's own
/// output may precede.
fn reachability(line: &str) -> (u64, u64) {
    let recipe = line.split_once("recipe ").and_then(|(_, recipe)| recipe.split_once(": "));
    let numbers = recipe.and_then(|(_, counts)| {
        let (reached, denied) = counts.strip_suffix(" denied")?.split_once(" reached, ")?;
        Some((reached.parse().ok()?, denied.parse().ok()?))
    });
    numbers.unwrap_or((0, 0))
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
    use super::{count, reachability, seconds};

    #[test]
    fn counts_come_from_summaries_only() {
        let line = "test result: ok. 9 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            (count(line, "passed"), count(line, "failed"), count(line, "ignored")),
            (9, 2, 1)
        );
        assert_eq!(count("3 passed; by a test that prints", "passed"), 0);
    }

    #[test]
    fn reachability_comes_from_lines_of_recipes() {
        assert_eq!(reachability("recipe NAT to NAT, a: 11 reached, 9 denied"), (11, 9));
        assert_eq!(reachability("test a ... recipe b: 1 reached, 2 denied"), (1, 2));
        assert_eq!(reachability("a recipe: 3 eggs"), (0, 0));
    }

    #[test]
    fn seconds_come_from_the_end_of_a_line() {
        assert_eq!(seconds("passed a::b in 12.5 s"), Some(12.5));
        assert_eq!(seconds("SKIPPED a::b: no guest"), None);
    }
}
