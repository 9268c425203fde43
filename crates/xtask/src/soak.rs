//! `cargo xtask soak`: a server whose peers come and go for an hour, with traffic all the time.

mod site;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testbed::{Host, privileges, programs};

use crate::build;
use site::{CLIENTS, Resources, Server, Site};
use stream::Stream;

/// Between two rounds of changes.
const ROUND: Duration = Duration::from_secs(10);
/// After so long a daemon holds what it needs: what comes on top is a leak.
const WARM: Duration = Duration::from_secs(600);
/// Hundredths by which resident memory may have grown since.
const MAX_GROWTH: u64 = 5;
/// Rounds whose median is taken for the memory at one time.
const WINDOW: usize = 6;
/// Between two lines of report.
const REPORT: Duration = Duration::from_secs(300);

/// What the server's daemon held at the end of a round.
struct Sample {
    at: Duration,
    held: Resources,
}

/// Runs for so many minutes and fails if a connection was lost or memory grew.
pub(crate) fn run(minutes: u32) -> Result<()> {
    println!("Building wg and wg-userspace.");
    let programs = set_aside(&build::release()?)?;
    if !privileges::is_root() {
        privileges::enter_user_namespace()?;
    }
    privileges::check_tun()?;
    let time = Duration::from_secs(60 * u64::from(minutes));
    let Site { mut server, clients } = Site::new(&programs)?;
    println!(
        "A server with {CLIENTS} clients, each with a TCP connection through its tunnel. Every {} \
         s a client's key is replaced, and {} idle peers are added and removed.",
        ROUND.as_secs(),
        site::IDLE_PEERS
    );
    let stop = AtomicBool::new(false);
    let listener = server.listen()?;
    let target = listener.local_addr()?;
    thread::spawn(move || stream::answer(&listener));
    thread::scope(|scope| {
        let start = |client| Stream::start(scope, client, target, &stop);
        let streams: Vec<_> = clients.iter().map(start).collect();
        let changed = change_peers(&mut server, &clients, time, &streams);
        stop.store(true, Ordering::Relaxed);
        let ended = streams.into_iter().map(Stream::join).collect();
        judge(&changed?, time, ended)
    })
}

/// Copies the programs, so that they can be built anew while this run goes on with the same.
fn set_aside(built: &Path) -> Result<PathBuf> {
    let folder = programs::target_folder()?.join("soak");
    fs::create_dir_all(&folder)?;
    for name in ["wg", "wg-userspace"] {
        // Another run may use the copy that is there.
        let (new, copy) = (folder.join(format!("{name}.new")), folder.join(name));
        fs::copy(built.join(name), &new).with_context(|| format!("cannot copy {name}"))?;
        fs::rename(new, copy)?;
    }
    Ok(folder)
}

/// Adds, replaces and removes peers until the time is over.
fn change_peers(
    server: &mut Server,
    clients: &[Host],
    time: Duration,
    streams: &[Stream<'_>],
) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let mut samples = Vec::new();
    let mut reported = Duration::ZERO;
    for round in 0.. {
        server.add_idle_peers(round)?;
        server.replace_key(clients, round)?;
        server.mark_packets(round)?;
        thread::sleep(ROUND / 2);
        server.remove_idle_peers()?;
        let held = server.resources()?;
        let at = start.elapsed();
        if at - reported >= REPORT || samples.is_empty() {
            reported = at;
            let bytes: u64 = streams.iter().map(Stream::bytes).sum();
            println!("{:5} s, round {round}: {held}, {} MiB answered", at.as_secs(), bytes >> 20);
        }
        samples.push(Sample { at, held });
        if at >= time {
            return Ok(samples);
        }
        // Without this a connection lost early would be known an hour later.
        if let Some(lost) = streams.iter().position(Stream::has_ended) {
            println!("{:5} s: client {lost} has lost its connection", at.as_secs());
            return Ok(samples);
        }
        thread::sleep((ROUND * (round + 1)).saturating_sub(start.elapsed()));
    }
    Ok(samples)
}

fn judge(samples: &[Sample], time: Duration, streams: Vec<Result<u64>>) -> Result<()> {
    let warm = WARM.min(time / 6);
    let first = samples.iter().position(|sample| sample.at >= warm).unwrap_or(0);
    let early = median(&samples[first..samples.len().min(first + WINDOW)]);
    let late = median(&samples[samples.len().saturating_sub(WINDOW)..]);
    println!("After {} s: {early}.\nAt the end: {late}.", warm.as_secs());
    let mut lost = 0;
    for (number, stream) in streams.into_iter().enumerate() {
        match stream {
            Ok(bytes) => println!("client {number}: {} MiB there and back", bytes >> 20),
            Err(error) => {
                lost += 1;
                println!("client {number}: {error:#}");
            }
        }
    }
    println!("{} rounds, {lost} connections lost.", samples.len());
    if lost > 0 {
        bail!("{lost} connections were lost");
    }
    if late.resident * 100 > early.resident * (100 + MAX_GROWTH) {
        bail!("resident memory grew by more than {MAX_GROWTH} %");
    }
    if (late.threads, late.files) != (early.threads, early.files) {
        bail!("threads or open files have piled up");
    }
    Ok(())
}

/// Each figure's median over the samples.
fn median(samples: &[Sample]) -> Resources {
    let of = |figure: fn(&Resources) -> u64| {
        let mut figures: Vec<_> = samples.iter().map(|sample| figure(&sample.held)).collect();
        figures.sort_unstable();
        figures.get(figures.len() / 2).copied().unwrap_or(0)
    };
    Resources {
        resident: of(|held| held.resident),
        threads: of(|held| held.threads),
        files: of(|held| held.files),
    }
}
