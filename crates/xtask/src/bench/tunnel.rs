//! `cargo xtask bench tunnel`: our daemon and other userspace daemons, each at both ends of a
//! tunnel between two hosts on this machine, in turn.

mod datagrams;
mod figures;
mod iperf;
mod measure;
mod peers;
mod pinning;
mod plot;
mod rate;
mod report;
mod site;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use testbed::{packages, programs};

use crate::build;
use figures::{Figures, Test};
use measure::Plan;
use peers::{Implementation, Name, Offload};

/// What the measurements are made with.
const PACKAGES: [&str; 2] = ["debian-archive-keyring", "iperf3"];
/// The machine is quiet when no more than this share of its processors is busy.
const QUIET: f64 = 0.06;

/// The options of `cargo xtask bench tunnel`.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; in each, every implementation has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=50))]
    seconds: u64,
    /// Seconds for which idle daemons are watched, in the first round.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Minutes to wait for a quiet machine before each turn; 0 measures at once.
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Only these implementations.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    tests: Vec<Test>,
    /// Our daemon without these offloads of the kernel too: without each, and without all of them.
    #[arg(long, value_delimiter = ',')]
    no_offload: Vec<Offload>,
    /// Bind all processes of the first host to processor 0, and those of the second to 1.
    #[arg(long)]
    pin: bool,
    /// Measure the programs of this folder instead of building ours.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Builds and installs, measures, and prints a table; a plot goes into the target folder.
pub(super) fn run(options: &Options) -> Result<()> {
    packages::ensure(&PACKAGES)?;
    let ours = options.programs.clone().map_or_else(build::release, Ok)?;
    let implementations = peers::chosen(&all_if_none(&options.only), &options.no_offload);
    let mut results: Vec<(&Implementation, Vec<Figures>)> =
        implementations.iter().map(|implementation| (implementation, Vec::new())).collect();
    let tests = all_if_none(&options.tests);
    let mut noisy = 0;
    for round in 1..=options.rounds {
        // It hardly differs from round to round.
        let idle = Duration::from_secs(if round == 1 { options.idle_seconds } else { 0 });
        let plan = Plan { tests: &tests, seconds: options.seconds, idle, is_pinned: options.pin };
        for (implementation, figures) in &mut results {
            let is_quiet = wait_until_quiet(Duration::from_secs(60 * options.patience))?;
            noisy += usize::from(!is_quiet);
            println!("round {round}: {}", implementation.name);
            let one = measure::turn(implementation, &ours, &plan)
                .with_context(|| format!("measuring {}", implementation.name))?;
            println!("  {one}");
            figures.push(one);
        }
    }
    println!("\n{}", report::table(&results));
    if tests.contains(&Test::LossFree) {
        println!("Loss-free: at most {} % lost.", 100.0 * rate::MAX_LOSS);
    }
    if noisy > 0 {
        println!("{noisy} turns began on a busy machine: take ratios, not figures.");
    }
    let plot = programs::target_folder()?.join("bench-tunnel.svg");
    fs::write(&plot, plot::svg(&results)).context("cannot write the plot")?;
    println!("Plot: {}", plot.display());
    Ok(())
}

/// What was chosen, or all there is.
fn all_if_none<T: ValueEnum>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}

/// Waits until the machine is quiet; `false` when `patience` ends first.
fn wait_until_quiet(patience: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        let before = processor_ticks()?;
        thread::sleep(Duration::from_secs(1));
        let after = processor_ticks()?;
        let busy = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
        if busy < QUIET {
            return Ok(true);
        }
        if start.elapsed() >= patience {
            return Ok(false);
        }
    }
}

/// The busy ticks of all processors, and all of them (proc_stat(5)).
fn processor_ticks() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let all = ticks.iter().sum();
    // The fourth and the fifth are idle and waiting for a disk.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}
