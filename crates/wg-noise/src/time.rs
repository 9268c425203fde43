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
        const STEP: u32 = 1 << (1_000_000_000 / INITIATIONS_PER_SECOND).ilog2();

        let seconds = EPOCH.wrapping_add(since_epoch.as_secs());
        let nanos = since_epoch.subsec_nanos() & !(STEP - 1);
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
    fn time_saturates_at_both_ends() {
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, Instant::from_nanos(u64::MAX));
    }
}
