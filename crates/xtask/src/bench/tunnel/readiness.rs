//! When the machine is fit to be measured on: quiet, and its processors near each other.
//!
//! What the processors of a virtual machine are may change while it runs: two cores that share a
//! cache, or two that do not, where whatever one of them writes and the other reads takes several
//! times as long to get there. Near is what is near for the machine at hand, as far as it was seen.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::pinning;

/// The machine is quiet when no more than this share of its processors is busy.
const QUIET: f64 = 0.06;
/// The processors are near each other when a round trip takes no more than so many times the
/// shortest that was seen.
const NEAR: f64 = 2.0;
/// Round trips that are timed together.
const TRIPS: u32 = 100;
/// For how long: what disturbs some makes them longer, and the shortest counts.
const LOOK: Duration = Duration::from_millis(20);
/// The longest wait for processors to come near each other: where they never do, it is waited each
/// time.
const NEAR_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at processors that are not near each other.
const PAUSE: Duration = Duration::from_millis(200);
/// No number of a round trip.
const OVER: u32 = u32::MAX;

/// What was seen of the machine.
pub(super) struct Readiness {
    /// How long to wait for it to be quiet.
    patience: Duration,
    /// The shortest round trip between two processors, ns.
    shortest: Option<f64>,
    /// How often a turn began on a busy machine.
    pub(super) busy: usize,
    /// How often a measurement began with processors far from each other.
    pub(super) far: usize,
}

impl Readiness {
    /// Nothing was seen yet.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, shortest: None, busy: 0, far: 0 }
    }

    /// Waits until the machine is quiet, or patience ends.
    ///
    /// # Errors
    /// When the kernel does not tell how busy it is.
    pub(super) fn wait_until_quiet(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let before = processor_ticks()?;
            thread::sleep(Duration::from_secs(1));
            let after = processor_ticks()?;
            let busy = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
            if busy < QUIET {
                return Ok(());
            }
            if start.elapsed() >= self.patience {
                self.busy += 1;
                return Ok(());
            }
        }
    }

    /// Waits a little until the processors are near each other, which they may cease to be at any
    /// moment.
    pub(super) fn wait_until_near(&mut self) {
        let start = Instant::now();
        while !self.is_near(round_trip()) {
            if start.elapsed() >= self.patience.min(NEAR_PATIENCE) {
                self.far += 1;
                return;
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

/// About how long a number takes from the first processor to the second and back, ns; `None` when
/// this process may not use two.
fn round_trip() -> Option<f64> {
    let [here, there] = *pinning::allowed().ok()?.first_chunk()?;
    // Odd on its way there, even on its way back.
    let number = AtomicU32::new(0);
    thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let _over = Over(&number);
            pinning::on(Some(there), || {
                while let Some(seen) = wait(&number, |seen| seen % 2 == 1)
                    && send_on(&number, seen).is_some()
                {}
                Ok(())
            })
        });
        let over = Over(&number);
        let result = pinning::on(Some(here), || Ok(shortest_trip(&number)));
        drop(over);
        answers.join().ok()?.ok()?;
        result.ok()?
    })
}

/// Ends the other side's waiting, also when this side fails.
struct Over<'a>(&'a AtomicU32);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Release);
    }
}

/// The shortest of many round trips, ns; `None` when nobody answers.
fn shortest_trip(number: &AtomicU32) -> Option<f64> {
    let mut shortest = f64::MAX;
    let mut at = 0;
    let end = Instant::now() + LOOK;
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..TRIPS {
            send_on(number, at)?;
            at += 2;
            wait(number, |seen| seen == at)?;
        }
        shortest = shortest.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS));
    }
    Some(shortest)
}

/// Puts the next number in its place, not over [`OVER`]; `None` when it is over.
fn send_on(number: &AtomicU32, seen: u32) -> Option<()> {
    number.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).ok().map(drop)
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
        let mut readiness = Readiness::new(Duration::ZERO);
        assert!(readiness.is_near(None), "there is one");
        for (now, is_near) in [(320.0, true), (50.0, true), (90.0, true), (320.0, false)] {
            assert_eq!(readiness.is_near(Some(now)), is_near, "{now} ns");
        }
    }

    #[test]
    fn there_is_a_round_trip_where_there_are_two_processors() {
        let processors = pinning::allowed().expect("a thread may know its processors").len();
        assert_eq!(round_trip().is_some(), processors > 1);
    }

    #[test]
    fn a_side_that_fails_ends_the_other() {
        let number = AtomicU32::new(0);
        drop(Over(&number));
        assert_eq!(shortest_trip(&number), None);
        assert_eq!(wait(&number, |seen| seen % 2 == 1), None);
    }
}
