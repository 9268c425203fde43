//! When the machine is fit to be measured on: quiet, and its processors near each other.
//!
//! What the processors of a virtual machine are may change while it runs: two cores that share a
//! cache, or two that do not, where whatever one of them writes and the other reads takes several
//! times as long to get there.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::pinning;

/// The machine is quiet when no more than this share of its processors is busy.
const QUIET: f64 = 0.06;
/// The processors are near each other when a round trip takes no more than so many times the
/// shortest that was seen.
const NEAR: f64 = 2.0;
/// Round trips that are timed together, and how often: what disturbs them makes them longer.
const TRIPS: u32 = 1000;
const TRIES: u32 = 40;
/// The longest wait for processors to come near each other.
const A_LITTLE: Duration = Duration::from_secs(30);
/// Between two looks at such as are not.
const PAUSE: Duration = Duration::from_millis(200);
/// No number of a round trip.
const OVER: u32 = u32::MAX;

/// What was seen of the machine.
#[derive(Default)]
pub(super) struct Readiness {
    /// The shortest round trip between the first two processors, ns.
    shortest: Option<f64>,
}

/// How a turn began.
pub(super) struct Start {
    /// Whether the machine was fit.
    pub(super) is_fit: bool,
    /// The round trip between the first two processors, where there are two, ns.
    pub(super) round_trip: Option<f64>,
}

impl Readiness {
    /// Waits until the machine is fit, or `patience` ends.
    ///
    /// # Errors
    /// When the kernel does not tell how busy it is.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<Start> {
        let is_quiet = wait_until_quiet(patience)?;
        let (is_near, round_trip) = self.settle(patience);
        Ok(Start { is_fit: is_quiet && is_near, round_trip })
    }

    /// Waits a little until the processors are near each other again, which they may cease to be at
    /// any moment; whether they are, and the round trip between them, ns.
    pub(super) fn settle(&mut self, patience: Duration) -> (bool, Option<f64>) {
        let start = Instant::now();
        loop {
            let round_trip = round_trip();
            let is_near = self.is_near(round_trip);
            // Where they never come near again nobody should wait for it each time.
            if is_near || start.elapsed() >= patience.min(A_LITTLE) {
                return (is_near, round_trip);
            }
            thread::sleep(PAUSE);
        }
    }

    fn is_near(&mut self, round_trip: Option<f64>) -> bool {
        let Some(now) = round_trip else { return true };
        let shortest = self.shortest.map_or(now, |shortest| shortest.min(now));
        self.shortest = Some(shortest);
        now <= NEAR * shortest
    }
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

/// How long a number takes from the first processor to the second and back, ns; `None` when this
/// process may not use two.
fn round_trip() -> Option<f64> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut allowed = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true));
    let (here, there) = (allowed.next()?, allowed.next()?);
    // Odd on its way there, even on its way back.
    let number = AtomicU32::new(0);
    thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let result = pinning::on(Some(there), || {
                while let Some(seen) = wait(&number, |seen| seen % 2 == 1) {
                    number.store(seen + 1, Ordering::Release);
                }
                Ok(())
            });
            number.store(OVER, Ordering::Release);
            result
        });
        let result = pinning::on(Some(here), || Ok(shortest_trip(&number)));
        number.store(OVER, Ordering::Release);
        answers.join().ok()?.ok()?;
        result.ok()?
    })
}

/// The shortest of many round trips, ns; `None` when nobody answers.
fn shortest_trip(number: &AtomicU32) -> Option<f64> {
    let mut shortest = f64::MAX;
    let mut at = 0;
    for _ in 0..TRIES {
        let start = Instant::now();
        for _ in 0..TRIPS {
            number.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Relaxed).ok()?;
            at += 2;
            wait(number, |seen| seen == at)?;
        }
        shortest = shortest.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS));
    }
    Some(shortest)
}

/// Waits for such a number; `None` when it is over.
fn wait(number: &AtomicU32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
    loop {
        match number.load(Ordering::Acquire) {
            OVER => return None,
            seen if is_it(seen) => return Some(seen),
            _ => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_that_moved_apart_are_not_near() {
        let mut readiness = Readiness::default();
        assert!(readiness.is_near(None), "there is one");
        for (now, is_near) in [(320.0, true), (50.0, true), (90.0, true), (320.0, false)] {
            assert_eq!(readiness.is_near(Some(now)), is_near, "{now} ns");
        }
    }

    #[test]
    fn a_round_trip_takes_time_where_there_are_two_processors() {
        let processors = thread::available_parallelism().expect("it is known").get();
        let round_trip = round_trip();
        assert_eq!(round_trip.is_some(), processors > 1);
        assert!(round_trip.is_none_or(|time| time > 0.0));
    }
}
