//! Points in time, given by the caller.

use std::ops::Add;
use std::time::Duration;

use crate::constants::INITIATIONS_PER_SECOND;

/// Nanoseconds of a clock that never goes back and counts suspended time
/// (`CLOCK_BOOTTIME`), or of a simulated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// From the clock's nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The clock's nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero when that lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// A handshake's timestamp (TAI64N); compares as the protocol does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tai64n([u8; 12]);

impl Tai64n {
    /// From the time since the Unix epoch, its nanoseconds rounded down so that they do not serve
    /// as a timing oracle (kernel: `tai64n_now`).
    ///
    /// The step of about 17 ms is the largest power of two of nanoseconds that still tells two
    /// initiations apart which come as fast as a peer answers them.
    pub fn from_unix(since_epoch: Duration) -> Self {
        /// TAI64's label of the Unix epoch: 2^62 and the ten seconds that TAI was ahead then.
        const EPOCH: u64 = (1 << 62) + 10;

        let seconds = EPOCH.wrapping_add(since_epoch.as_secs());
        Self::new(seconds, since_epoch.subsec_nanos() & !(Self::STEP - 1))
    }

    /// The next one in time.
    pub(crate) fn successor(self) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        let seconds = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let nanos = u32::from_be_bytes([i, j, k, l]).saturating_add(Self::STEP);
        if nanos < 1_000_000_000 {
            Self::new(seconds, nanos)
        } else {
            Self::new(seconds.saturating_add(1), 0)
        }
    }

    /// Nanoseconds from one to the next.
    const STEP: u32 = 1 << (1_000_000_000 / INITIATIONS_PER_SECOND).ilog2();

    fn new(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tai64n_counts_from_1970_and_hides_the_low_24_bits() {
        let stamp = Tai64n::from_unix(Duration::new(1, 0x0123_4567));
        assert_eq!(stamp.0, [0x40, 0, 0, 0, 0, 0, 0, 11, 0x01, 0, 0, 0]);
        assert_eq!(stamp, Tai64n::from_unix(Duration::new(1, 0x01ff_ffff)));
    }

    #[test]
    fn tai64n_rises_with_time() {
        let stamp = |secs, nanos| Tai64n::from_unix(Duration::new(secs, nanos));
        assert!(stamp(1, 0) < stamp(1, 1 << 24));
        assert!(stamp(1, 999_999_999) < stamp(2, 0));
        assert!(stamp(255, 0) < stamp(256, 0));
    }

    #[test]
    fn a_successor_is_the_next_that_the_clock_shows() {
        let start = Duration::new(5, 990_000_000);
        let mut stamp = Tai64n::from_unix(start);
        for millis in 1..3000 {
            let shown = Tai64n::from_unix(start + Duration::from_millis(millis));
            if shown != stamp {
                assert_eq!(stamp.successor(), shown, "after {millis} ms");
                stamp = shown;
            }
        }
    }

    #[test]
    fn time_saturates_at_both_ends() {
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, Instant::from_nanos(u64::MAX));
    }
}
