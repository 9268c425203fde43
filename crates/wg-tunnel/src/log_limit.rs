//! Messages about packets, at most a few per second whatever arrives.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use wg_noise::Instant;

/// Messages let through per window, as the kernel's `net_ratelimit`.
const BURST: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(5);

/// Lets through ten messages in five seconds.
#[derive(Default)]
pub(crate) struct LogLimit {
    window_start: AtomicU64,
    logged: AtomicU32,
}

impl LogLimit {
    /// Whether this message may be logged. Threads that race may let one more through.
    pub(crate) fn allow(&self, now: Instant) -> bool {
        let start = Instant::from_nanos(self.window_start.load(Ordering::Relaxed));
        if now.since(start) >= WINDOW {
            self.window_start.store(now.as_nanos(), Ordering::Relaxed);
            self.logged.store(1, Ordering::Relaxed);
            return true;
        }
        self.logged.load(Ordering::Relaxed) < BURST
            && self.logged.fetch_add(1, Ordering::Relaxed) < BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_messages_pass_in_five_seconds() {
        let limit = LogLimit::default();
        let start = Instant::from_nanos(0) + Duration::from_secs(100);
        let passed = (0..50).filter(|_| limit.allow(start)).count();
        assert_eq!(passed, 10);
        assert!(!limit.allow(start + Duration::from_secs(4)));
        assert!(limit.allow(start + Duration::from_secs(5)));
    }
}
