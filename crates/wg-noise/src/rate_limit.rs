//! How many initiations a source address may have answered (kernel: `ratelimiter.c`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Instant;

/// The price of one initiation: 20 a second.
const COST: Duration = Duration::from_millis(50);
/// What a bucket holds at most: a burst of 5.
const CAPACITY: Duration = Duration::from_millis(250);
/// Buckets at most.
const MAX_SOURCES: usize = 65_536;
/// Time between two sweeps of full, so superfluous, buckets.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Initiations per source address (20 a second, burst of 5; one bucket for an IPv4 address or an
/// IPv6 /64), bounded in size.
///
/// To be asked only about addresses that are proven to be the sender's ([`MacState::Mac2`]):
/// forged ones could fill the table, and a source that finds no place in it is refused.
///
/// [`MacState::Mac2`]: crate::MacState::Mac2
#[derive(Debug, Default)]
pub struct RateLimiter {
    buckets: HashMap<Source, Bucket>,
    last_sweep: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

#[derive(Debug)]
struct Bucket {
    /// Time saved up for initiations, at `updated`.
    tokens: Duration,
    updated: Instant,
}

impl RateLimiter {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a token of `source`'s bucket; `false` when there is none.
    pub fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = Source::from(source);
        if let Some(bucket) = self.buckets.get_mut(&source) {
            return bucket.take(now);
        }
        self.sweep(now);
        if self.buckets.len() >= MAX_SOURCES {
            return false;
        }
        self.buckets.insert(source, Bucket { tokens: CAPACITY - COST, updated: now });
        true
    }

    /// Drops the buckets that are full again. No more than once a second, or a full table would
    /// cost its whole length for each stranger.
    fn sweep(&mut self, now: Instant) {
        if self.last_sweep.is_some_and(|last| now.since(last) < SWEEP_INTERVAL) {
            return;
        }
        self.last_sweep = Some(now);
        self.buckets.retain(|_, bucket| bucket.tokens_at(now) < CAPACITY);
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let tokens = self.tokens_at(now);
        let left = tokens.checked_sub(COST);
        self.tokens = left.unwrap_or(tokens);
        self.updated = now;
        left.is_some()
    }

    fn tokens_at(&self, now: Instant) -> Duration {
        self.tokens.saturating_add(now.since(self.updated)).min(CAPACITY)
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000_000_000);

    fn after(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `tries` at one instant pass.
    fn allowed(limiter: &mut RateLimiter, source: &str, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| limiter.allow(address(source), now)).count()
    }

    #[test]
    fn five_at_once_then_twenty_a_second() {
        let mut limiter = RateLimiter::new();
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 10, START), 5);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 10, after(49)), 0);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 10, after(50)), 1);
        let passed: usize =
            (51..=1050).map(|t| allowed(&mut limiter, "192.0.2.1", 1, after(t))).sum();
        assert_eq!(passed, 20);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 10, after(60_000)), 5);
    }

    #[test]
    fn a_bucket_is_an_ipv4_address_or_an_ipv6_64() {
        let mut limiter = RateLimiter::new();
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 9, START), 5);
        assert_eq!(allowed(&mut limiter, "192.0.2.2", 9, START), 5);
        assert_eq!(allowed(&mut limiter, "::ffff:192.0.2.1", 9, START), 0);
        assert_eq!(allowed(&mut limiter, "2001:db8:0:1::1", 9, START), 5);
        assert_eq!(allowed(&mut limiter, "2001:db8:0:1:ffff::2", 9, START), 0);
        assert_eq!(allowed(&mut limiter, "2001:db8:0:2::1", 9, START), 5);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut limiter = RateLimiter::new();
        let stranger = |i: usize| IpAddr::from(u32::try_from(i).unwrap().to_be_bytes());
        for i in 0..MAX_SOURCES {
            assert!(limiter.allow(stranger(i), START));
        }
        assert!(!limiter.allow(stranger(MAX_SOURCES), START));
        assert!(!limiter.allow(stranger(MAX_SOURCES), after(999)));
        assert!(limiter.allow(stranger(0), after(999)), "known sources go on");
        assert!(limiter.allow(stranger(MAX_SOURCES), after(1000)));
        assert_eq!(limiter.buckets.len(), 2);
    }

    #[test]
    fn a_source_is_not_forgotten_before_its_bucket_is_full() {
        let mut limiter = RateLimiter::new();
        assert!(limiter.allow(address("192.0.2.1"), START));
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 9, after(800)), 5);
        // The stranger's place is swept for.
        assert!(limiter.allow(address("192.0.2.2"), after(1000)));
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 9, after(1000)), 4);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", 9, after(1001)), 0);
    }
}
