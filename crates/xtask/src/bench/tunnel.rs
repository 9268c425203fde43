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
mod readiness;
mod report;
mod site;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use testbed::{packages, programs};

use crate::build;
use figures::{Figures, Test};
use measure::Plan;
use peers::{Implementation, Name, Offload};
use readiness::Readiness;

/// What the measurements are made with.
const PACKAGES: [&str; 2] = ["debian-archive-keyring", "iperf3"];

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
    /// Minutes to wait for a quiet machine before each turn, and half a minute at most, before each
    /// measurement of TCP, for processors near each other; 0 measures at once.
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
    let mut readiness = Readiness::new(Duration::from_secs(60 * options.patience));
    for round in 1..=options.rounds {
        // It hardly differs from round to round.
        let idle = Duration::from_secs(if round == 1 { options.idle_seconds } else { 0 });
        let plan = Plan { tests: &tests, seconds: options.seconds, idle, is_pinned: options.pin };
        for (implementation, figures) in &mut results {
            readiness.wait_until_quiet()?;
            println!("round {round}: {}", implementation.name);
            let one = measure::turn(implementation, &ours, &plan, &mut readiness)
                .with_context(|| format!("measuring {}", implementation.name))?;
            println!("  {one}");
            figures.push(one);
        }
    }
    println!("\n{}", report::table(&results));
    if tests.contains(&Test::LossFree) {
        println!("Loss-free: at most {} % lost.", 100.0 * rate::MAX_LOSS);
    }
    let Readiness { busy, far, .. } = readiness;
    if busy > 0 {
        println!("{busy} turns began on a busy machine: take ratios, not figures.");
    }
    if far > 0 {
        println!("{far} measurements of TCP began with processors far from each other.");
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
