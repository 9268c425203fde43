//! The thread that wakes for deadlines: a heap of the next one of each peer that has any.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use wg_noise::Instant;

use crate::clock;
use crate::engine::Engine;
use crate::peer::Peer;

/// Deadlines of peers. A peer without one is not here at all.
///
/// A deadline that moves away is left where it is: when it fires, nothing is due, and the new
/// one is entered. Only one that comes nearer is entered at once, so that a busy peer costs an
/// entry every few seconds instead of one per batch.
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
    clock: TimerFd,
    stopped: AtomicBool,
}

/// Entries taken while the heap is locked once: the data path waits for the lock.
const CLAIMED_AT_ONCE: usize = 256;

struct Entry {
    at: u64,
    peer: Weak<Peer>,
}

impl Timers {
    pub(crate) fn new() -> Result<Self, Errno> {
        let clock = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { heap: Mutex::default(), clock, stopped: AtomicBool::new(false) })
    }

    /// Enters the peer's deadline if it comes before the one that is entered already.
    pub(crate) fn schedule(&self, peer: &Arc<Peer>) {
        let Some(at) = peer.noise.deadline() else { return };
        let at = at.as_nanos();
        // Pairs with the fence in `claim`: either we see that the entry was taken, or the thread
        // that took it sees the deadline just read.
        fence(Ordering::SeqCst);
        if at >= peer.scheduled.load(Ordering::Relaxed)
            || peer.scheduled.fetch_min(at, Ordering::AcqRel) <= at
        {
            return;
        }
        let mut heap = self.lock();
        let first = heap.peek().is_none_or(|Reverse(entry)| at < entry.at);
        heap.push(Reverse(Entry { at, peer: Arc::downgrade(peer) }));
        if first {
            self.set_clock(at);
        }
    }

    /// Wakes the thread for good.
    pub(crate) fn stop(&self) {
        let _heap = self.lock();
        // First, so that the thread cannot take the ring for that of a deadline.
        self.stopped.store(true, Ordering::Release);
        self.ring_at(1);
    }

    /// Runs timers as they fall due until [`Timers::stop`].
    pub(crate) fn run(engine: &Arc<Engine>) {
        let timers = &engine.timers;
        let mut due = Vec::new();
        loop {
            if let Err(errno) = timers.clock.wait() {
                log::error!("the timers' clock failed: {}", errno.desc());
                std::thread::sleep(crate::engine::ERROR_PAUSE);
            }
            if timers.stopped.load(Ordering::Acquire) {
                return;
            }
            loop {
                let now = clock::now();
                let more = timers.claim(now, &mut due);
                for peer in due.drain(..) {
                    let wanted = peer.noise.poll(now);
                    if wanted.initiation {
                        // Perhaps it is our source address that gets no answer (kernel:
                        // `wg_expired_new_handshake`, `wg_expired_retransmit_handshake`).
                        peer.clear_source();
                    }
                    engine.fulfil(&peer, wanted, now);
                }
                if !more || timers.stopped.load(Ordering::Acquire) {
                    break;
                }
            }
        }
    }

    /// Takes peers whose deadlines have passed out of the heap and sets the clock to the next
    /// deadline; `true` when more may have passed, which nothing but another call takes.
    fn claim(&self, now: Instant, due: &mut Vec<Arc<Peer>>) -> bool {
        let mut heap = self.lock();
        let mut taken = 0;
        while let Some(Reverse(entry)) = heap.peek() {
            if entry.at > now.as_nanos() {
                self.set_clock(entry.at);
                break;
            }
            if taken == CLAIMED_AT_ONCE {
                break;
            }
            taken += 1;
            let Some(Reverse(entry)) = heap.pop() else { break };
            let Some(peer) = entry.peer.upgrade() else { continue };
            let live = peer.scheduled.compare_exchange(
                entry.at,
                u64::MAX,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            // Otherwise an earlier entry of the peer has fired since.
            if live.is_ok() {
                due.push(peer);
            }
        }
        drop(heap);
        fence(Ordering::SeqCst);
        taken == CLAIMED_AT_ONCE
    }

    /// With the heap locked, so that the clock always shows its first entry, and that the
    /// ring of [`Timers::stop`] stays: nobody else wakes the thread to its end.
    fn set_clock(&self, at: u64) {
        if !self.stopped.load(Ordering::Relaxed) {
            self.ring_at(at);
        }
    }

    fn ring_at(&self, at: u64) {
        let at = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
        let result = self.clock.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        debug_assert_eq!(result, Ok(()), "the time is not negative");
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Entry>>> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn at(seconds: u64) -> Instant {
        // Far in the future, so that the clock itself never rings.
        Instant::from_nanos(0) + Duration::from_secs(1 << 32) + Duration::from_secs(seconds)
    }

    /// A peer whose keepalive is due so many seconds after the start.
    fn peer(byte: u8, seconds: u16) -> Arc<Peer> {
        let peer = Arc::new(Peer::new([byte; 32].into(), Arc::default(), None));
        let _ = peer.noise.set_persistent_keepalive(seconds, at(0));
        peer
    }

    fn claim(timers: &Timers, seconds: u64) -> Vec<Arc<Peer>> {
        let mut due = Vec::new();
        while timers.claim(at(seconds), &mut due) {}
        due
    }

    #[test]
    fn peers_come_when_they_are_due_and_once() {
        let timers = Timers::new().unwrap();
        let peers: Vec<_> = [30, 10, 20].iter().map(|seconds| peer(1, *seconds)).collect();
        for peer in &peers {
            timers.schedule(peer);
            timers.schedule(peer);
        }
        assert!(claim(&timers, 9).is_empty());
        let due = claim(&timers, 20);
        assert_eq!(due.len(), 2);
        assert!(Arc::ptr_eq(&due[0], &peers[1]) && Arc::ptr_eq(&due[1], &peers[2]));
        assert!(claim(&timers, 29).is_empty());
        assert_eq!(claim(&timers, 30).len(), 1);
        assert!(timers.lock().is_empty());
    }

    #[test]
    fn a_deadline_that_comes_nearer_counts_at_once() {
        let timers = Timers::new().unwrap();
        let peer = peer(1, 60);
        timers.schedule(&peer);
        let _ = peer.noise.set_persistent_keepalive(5, at(0));
        timers.schedule(&peer);
        assert_eq!(claim(&timers, 5).len(), 1);
        assert!(claim(&timers, 60).is_empty(), "the old entry is void");
    }

    #[test]
    fn a_deadline_that_moves_away_is_entered_when_the_old_one_has_passed() {
        let timers = Timers::new().unwrap();
        let peer = peer(1, 5);
        timers.schedule(&peer);
        let _ = peer.noise.set_persistent_keepalive(60, at(0));
        timers.schedule(&peer);
        assert_eq!(timers.lock().len(), 1);
        assert_eq!(claim(&timers, 5).len(), 1);
        assert_eq!(peer.noise.poll(at(5)), wg_noise::Wanted::default());
        timers.schedule(&peer);
        assert!(claim(&timers, 59).is_empty());
        assert_eq!(claim(&timers, 60).len(), 1);
    }

    #[test]
    fn peers_without_a_deadline_and_peers_that_are_gone_cost_nothing() {
        let timers = Timers::new().unwrap();
        timers.schedule(&peer(1, 0));
        assert!(timers.lock().is_empty());
        timers.schedule(&peer(2, 10));
        assert!(claim(&timers, 10).is_empty());
        assert!(timers.lock().is_empty());
    }

    #[test]
    fn a_deadline_that_comes_after_the_stop_does_not_silence_it() {
        let timers = Timers::new().unwrap();
        timers.stop();
        timers.schedule(&peer(1, 25));
        let mut fds = [PollFd::new(timers.clock.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000u16)), Ok(1));
    }

    #[test]
    fn many_that_are_due_at_once_are_claimed_in_portions() {
        let timers = Timers::new().unwrap();
        let peers: Vec<_> = (0..CLAIMED_AT_ONCE + 1).map(|_| peer(1, 10)).collect();
        peers.iter().for_each(|peer| timers.schedule(peer));
        let mut due = Vec::new();
        assert!(timers.claim(at(10), &mut due));
        assert_eq!(due.len(), CLAIMED_AT_ONCE);
        assert!(!timers.claim(at(10), &mut due));
        assert_eq!(due.len(), peers.len());
    }
}
