//! `cargo xtask fuzz`: feeds what reads strangers' bytes with libFuzzer's.
//!
//! The instrumentation is asked for by flags that a stable compiler takes, so neither a nightly one
//! nor cargo-fuzz is needed; the layout is cargo-fuzz's, for who likes that better.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use testbed::{packages, programs};

use crate::build;

/// Every target of the package in `fuzz/`.
const TARGETS: [&str; 8] = [
    "config",
    "link_message",
    "netlink_answer",
    "set",
    "tun_frame",
    "uapi_answer",
    "uapi_request",
    "wire",
];

/// libFuzzer, which libfuzzer-sys builds, is C++.
const PACKAGES: [&str; 1] = ["g++"];

/// What cargo-fuzz sets for a build without a sanitizer.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Bytes of the longest input.
const MAX_INPUT: u32 = 1024;

/// When a target has run enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Enough {
    /// After so many seconds.
    Seconds(u32),
    /// After so many executions.
    Executions(u64),
}

/// Runs every target, or those whose names are given.
pub(crate) fn run(names: &[String], enough: Enough) -> Result<()> {
    if let Some(name) = names.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("`{name}' is no target; there are {}", TARGETS.join(", "));
    }
    packages::ensure(&PACKAGES)?;
    // Apart from the other builds, whose flags differ.
    let place = programs::target_folder()?.join("fuzz");
    // With a target named, build scripts and macros are spared the instrumentation.
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output();
    let host = String::from_utf8(host.context("cannot start rustc")?.stdout)?;
    let built = build::cargo()?
        .current_dir(build::workspace()?.join("fuzz"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .args(["build", "--release", "--target", host.trim(), "--target-dir"])
        .arg(&place)
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the fuzz targets cannot be built");
    }
    for target in TARGETS {
        if !names.is_empty() && !names.iter().any(|name| name == target) {
            continue;
        }
        // What was found to reach new code is where the next run begins.
        let corpus = place.join("corpus").join(target);
        let crashes = place.join("crashes").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&crashes)?;
        let mut fuzzer = Command::new(place.join(host.trim()).join("release").join(target));
        fuzzer.arg(format!("-max_len={MAX_INPUT}"));
        fuzzer.arg(format!("-artifact_prefix={}/", crashes.display()));
        fuzzer.args(["-timeout=10", "-print_final_stats=1"]);
        fuzzer.arg(match enough {
            Enough::Seconds(seconds) => format!("-max_total_time={seconds}"),
            Enough::Executions(count) => format!("-runs={count}"),
        });
        fuzzer.arg(&corpus).arg(build::workspace()?.join("fuzz/seeds").join(target));
        let output = fuzzer.output().context("cannot start a fuzz target")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{said}\n{target} failed; the input is in {}", crashes.display());
        }
        let count =
            said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!(
            "{target}: {} executions",
            count.context("libFuzzer does not say how many")?.trim()
        );
    }
    Ok(())
}
