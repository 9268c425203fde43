//! A limit for each second, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};

use wg_noise::Instant;

/// Bits that count; the others are the second.
const COUNT_BITS: u32 = 16;

/// How often something happened in the running second.
#[derive(Debug, Default)]
pub(crate) struct PerSecond(AtomicU64);

impl PerSecond {
    /// Counts one more unless there were `limit`, which is below 65,536. Threads that race may
    /// let one more through.
    pub(crate) fn allow(&self, limit: u64, now: Instant) -> bool {
        let (state, count) = self.state(now);
        if count >= limit {
            return false;
        }
        self.0.store(state + 1, Ordering::Relaxed);
        true
    }

    /// Whether [`PerSecond::allow`] would refuse.
    pub(crate) fn is_used_up(&self, limit: u64, now: Instant) -> bool {
        self.state(now).1 >= limit
    }

    /// The running second with its count, and the count alone.
    fn state(&self, now: Instant) -> (u64, u64) {
        let second = now.since(Instant::from_nanos(0)).as_secs() << COUNT_BITS;
        let state = self.0.load(Ordering::Relaxed).max(second);
        (state, state - second)
    }
}
