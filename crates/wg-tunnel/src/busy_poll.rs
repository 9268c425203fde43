//! Looking for more for a moment before a thread sleeps.
//!
//! To wake a thread whose processor has gone to sleep with it takes tens of microseconds, most of
//! all in a virtual machine: about as long as all the work for a packet and its answer. The moment
//! is short, and all such moments together are a small part of the time, so that neither an idle
//! tunnel nor one with little traffic keeps a processor busy.

use std::os::fd::BorrowedFd;
use std::sync::LazyLock;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wg_noise::Instant;

use crate::clock;

/// The longest moment, in ns: a packet's way to the next host, and its answer's way back.
const LONGEST: u64 = 50_000;
/// The shortest for which it pays to look at all, in ns.
const SHORTEST: u64 = 5_000;
/// All moments together take at most one in so many parts of the time.
const PART: u64 = 50;

/// Whether there is a processor for the thread that is waited for, too.
static HAS_SPARE: LazyLock<bool> =
    LazyLock::new(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1));

/// Finds out how many processors this process may use, which takes files that a process without
/// access to any could not read later.
pub fn count_processors() {
    LazyLock::force(&HAS_SPARE);
}

/// What a thread may spend on looking.
pub(crate) struct BusyPoll {
    /// In ns, at most [`LONGEST`].
    credit: u64,
    /// Until when credit was given.
    credited: Instant,
}

impl BusyPoll {
    pub(crate) fn new() -> Self {
        Self { credit: 0, credited: clock::now() }
    }

    /// Looks again and again whether there is something to read, and lets other threads go before;
    /// `false` when there was nothing for as long as may be spent.
    pub(crate) fn until_readable(&mut self, fd: BorrowedFd<'_>) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        // An error is something to read, too: the reader will hear of it.
        *HAS_SPARE && self.until(|| poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0))
    }

    fn until(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        let start = clock::now();
        let credit = self.credit_at(start);
        if credit < SHORTEST {
            return false;
        }
        loop {
            let is_ready = ready();
            let spent = clock::now().since(start).as_nanos() as u64;
            if is_ready || spent >= credit {
                self.credit -= spent.min(credit);
                return is_ready;
            }
            thread::yield_now();
        }
    }

    fn credit_at(&mut self, now: Instant) -> u64 {
        let since = now.since(self.credited).as_nanos() as u64;
        self.credit = (self.credit + since / PART).min(LONGEST);
        self.credited = now;
        self.credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_is_found_and_what_is_not_is_given_up() {
        let mut poll = BusyPoll { credit: LONGEST, credited: clock::now() };
        assert!(poll.until(|| true));
        let mut looks = 0;
        // However slow this processor is, a whole credit is enough for one look.
        poll.credit = LONGEST;
        assert!(!poll.until(|| {
            looks += 1;
            false
        }));
        assert!(looks > 0);
        assert_eq!(poll.credit, 0, "it was spent");
    }

    #[test]
    fn all_moments_are_a_small_part_of_the_time() {
        let mut poll = BusyPoll { credit: 0, credited: Instant::from_nanos(0) };
        let mut spent = 0;
        // A packet every 100 us for a second.
        for packet in 1..=10_000 {
            let credit = poll.credit_at(Instant::from_nanos(packet * 100_000));
            assert!(credit <= LONGEST);
            if credit >= SHORTEST {
                spent += credit;
                poll.credit = 0;
            }
        }
        assert!((15_000_000..=20_000_000).contains(&spent), "{spent} ns of a second");
        // A long rest saves nothing up.
        assert_eq!(poll.credit_at(Instant::from_nanos(1 << 40)), LONGEST);
    }
}
