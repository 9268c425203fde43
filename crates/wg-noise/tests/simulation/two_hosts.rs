//! Two hosts with a session, and how time and packets are counted.

use std::time::Duration;

use crate::network::Network;

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Two hosts with a fresh session that A initiated, at rest.
pub(crate) fn connected(seed: u64) -> Network {
    let mut network = Network::new(seed, 2);
    network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B).len(), 1);
    network
}

/// Packets from `from` to `to`, one each `interval` seconds for `duration` seconds from now.
pub(crate) fn stream(
    network: &mut Network,
    from: usize,
    to: usize,
    interval: f64,
    duration: f64,
) -> Vec<u64> {
    let start = network.now;
    let count = (duration / interval) as usize;
    (0..count).map(|i| network.send_at(start + seconds(i as f64 * interval), from, to)).collect()
}

pub(crate) fn assert_near(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 0.2, "{actual} is not about {expected}");
}

pub(crate) fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}
