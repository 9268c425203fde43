//! `cargo xtask bench flood`: what a flood of handshake messages on its port costs a daemon.
//!
//! A TCP stream runs through a tunnel between two hosts while a third floods the receiving end's
//! port. The yardstick is the same flood sent to a closed port, which costs the kernel alone.
//! Meanwhile a fourth host, a peer that was never seen before, connects.

mod attacker;
mod scene;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use testbed::privileges;

use crate::build;
use attacker::Kind;
use scene::{Measured, Scene, Target};

/// The options of `cargo xtask bench flood`.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; in each, every kind of flood has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each TCP stream.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these floods: junk, strangers, replays.
    #[arg(long)]
    only: Vec<Kind>,
    /// Measure the programs of this folder instead of building ours.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// The stream keeps at least this share of its speed.
const MIN_SHARE: f64 = 0.6;
/// A new peer waits no longer than this for its first answer.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// Resident memory may grow by so much in a flood, MB: buffers are touched for the first time.
const MAX_GROWTH: f64 = 2.0;

/// Measures, prints every figure, and fails when one is out of bounds.
pub(super) fn run(options: &Options) -> Result<()> {
    privileges::check_tun()?;
    let programs = options.programs.clone().map_or_else(build::release, Ok)?;
    let kinds = if options.only.is_empty() { Kind::ALL.to_vec() } else { options.only.clone() };
    let time = Duration::from_secs(options.seconds);
    let mut broken = Vec::new();
    println!("flood        packets/s  closed port    open port  share  new peer   memory");
    for kind in kinds {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let scene = Scene::new(&programs)?;
            let closed = scene.measure(kind, Target::ClosedPort, time)?;
            let open = scene.measure(kind, Target::OpenPort, time)?;
            print_row(kind, &closed, &open);
            rounds.push((closed, open));
        }
        let share = median(rounds.iter().map(|(closed, open)| open.speed / closed.speed));
        let connect = rounds.iter().map(|(_, open)| open.connect).max().unwrap_or_default();
        let growth = rounds.iter().map(|(_, open)| open.growth()).fold(0.0, f64::max);
        println!(
            "{kind:<11} median share {share:.2}, slowest new peer {:.1} s, memory +{growth:.1} MB",
            connect.as_secs_f64()
        );
        if share < MIN_SHARE || connect > MAX_CONNECT || growth > MAX_GROWTH {
            broken.push(kind.to_string());
        }
    }
    if !broken.is_empty() {
        bail!("out of bounds: {}", broken.join(", "));
    }
    Ok(())
}

fn print_row(kind: Kind, closed: &Measured, open: &Measured) {
    println!(
        "{kind:<11} {:>8.0} k {:>7.2} Gbit/s {:>7.2} Gbit/s {:>6.2} {:>7.2} s {:>4.1} → {:.1} MB",
        open.flood / 1e3,
        closed.speed / 1e9,
        open.speed / 1e9,
        open.speed / closed.speed,
        open.connect.as_secs_f64(),
        open.memory_before,
        open.memory_after,
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
