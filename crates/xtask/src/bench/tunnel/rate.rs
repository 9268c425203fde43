//! The best rate that a tunnel carries without loss.

use anyhow::Result;

/// The share of packets that may be lost at a rate "without loss".
pub(super) const MAX_LOSS: f64 = 0.001;
/// Halvings of the interval.
const STEPS: u32 = 7;
/// The highest rate tried is so many times the lowest.
const INTERVAL: f64 = 64.0;

/// What came of packets that were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// From the first sent to the last received.
    pub(super) seconds: f64,
}

impl Passed {
    /// Packets received each second.
    pub(super) fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// The share of the packets that were lost.
    pub(super) fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }
}

/// Searches between `ceiling` packets each second, which is as many as can be sent, and a 64th of
/// that. `send` tries a rate, and again if it failed: one hiccup of the machine early in the search
/// would decide it. The answer is the best rate received with a loss of at most [`MAX_LOSS`], and
/// within four hundredths of what could have been found; 0 when there was no such rate.
///
/// # Errors
/// The first of `send`.
pub(super) fn best(ceiling: f64, mut send: impl FnMut(f64) -> Result<Passed>) -> Result<f64> {
    let (mut low, mut high) = (ceiling / INTERVAL, ceiling);
    let mut best: f64 = 0.0;
    for _ in 0..STEPS {
        let rate = (low * high).sqrt();
        let first = send(rate)?;
        let passed = if first.loss() <= MAX_LOSS { first } else { send(rate)? };
        if passed.loss() <= MAX_LOSS {
            best = best.max(passed.rate());
            low = rate;
        } else {
            high = rate;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tunnel that carries `limit` packets each second, and loses the rest.
    fn tunnel(limit: f64) -> impl Fn(f64) -> Result<Passed> {
        move |rate| {
            let received = rate.min(limit) as u64;
            Ok(Passed { sent: rate as u64, received, seconds: 1.0 })
        }
    }

    #[test]
    fn the_search_comes_near_the_limit() {
        for limit in [20_000.0, 123_456.0, 900_000.0] {
            let best = best(1e6, tunnel(limit)).expect("no send fails");
            assert!(best <= limit * (1.0 + MAX_LOSS) && best > limit * 0.96, "{limit}: {best}");
        }
    }

    #[test]
    fn a_hiccup_does_not_decide() {
        let mut last = 0.0;
        let hiccups = |rate| {
            let is_first = rate != last;
            last = rate;
            let limit = if is_first { 0.0 } else { 123_456.0 };
            tunnel(limit)(rate)
        };
        let best = best(1e6, hiccups).expect("no send fails");
        assert!(best > 123_456.0 * 0.96, "{best}");
    }

    #[test]
    fn nothing_is_found_where_every_rate_loses() {
        let lossy =
            |rate| Ok(Passed { sent: rate as u64, received: rate as u64 / 2, seconds: 1.0 });
        assert_eq!(best(1e6, lossy).ok(), Some(0.0));
    }
}
