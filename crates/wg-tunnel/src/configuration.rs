//! What is configured: the side of the engine that no packet waits for.

use std::collections::HashMap;
use std::sync::Arc;

use wg_noise::{PublicKey, StagingBudget};

use crate::allowed_ips::AllowedIp;
use crate::keyed_hash::KeyedHash;
use crate::peer::Peer;
use crate::update::Secret;

/// Behind a lock of its own; what the data path needs of it is published as snapshots.
#[derive(Default)]
pub(crate) struct Configuration {
    pub(crate) private_key: Option<Secret>,
    /// The port bound, or the one to bind when the link comes up.
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
    pub(crate) link_up: bool,
    pub(crate) peers: Peers,
    /// Shared by all peers.
    pub(crate) staging: Arc<StagingBudget>,
    pub(crate) positions: Positions,
}

/// The peers by their public keys.
pub(crate) type Peers = HashMap<PublicKey, ConfiguredPeer, KeyedHash>;

/// Places in the order of peers and of allowed IPs.
#[derive(Default)]
pub(crate) struct Positions(u64);

/// A peer and what only the configuration knows of it.
pub(crate) struct ConfiguredPeer {
    pub(crate) peer: Arc<Peer>,
    pub(crate) position: u64,
    /// In a place of its own: a table that grows leaves its entries behind in what it frees.
    pub(crate) preshared_key: Option<Box<Secret>>,
    pub(crate) allowed_ips: OwnedIps,
}

impl Configuration {
    /// The peers that have something to send once there are sockets.
    pub(crate) fn waiting_peers(&self) -> Vec<Arc<Peer>> {
        self.peers
            .values()
            .map(|configured| configured.peer.clone())
            .filter(|peer| peer.noise.persistent_keepalive() > 0 || peer.noise.has_staged())
            .collect()
    }
}

impl ConfiguredPeer {
    /// What takes time to drop.
    pub(crate) fn into_parts(self) -> (Arc<Peer>, OwnedIps) {
        (self.peer, self.allowed_ips)
    }
}

impl Positions {
    /// A place behind all others.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A peer's allowed IPs in the order in which they came. One that goes leaves a gap, and the
/// gaps are closed when they are half of the list: any number of changes takes linear time.
#[derive(Default)]
pub(crate) struct OwnedIps {
    entries: Vec<(u64, Option<AllowedIp>)>,
    gaps: usize,
}

impl OwnedIps {
    /// None yet, with room for `count`.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { entries: Vec::with_capacity(count), gaps: 0 }
    }

    /// Appends; positions must rise.
    pub(crate) fn push(&mut self, position: u64, ip: AllowedIp) {
        debug_assert!(self.entries.last().is_none_or(|(last, _)| *last < position));
        self.entries.push((position, Some(ip)));
    }

    /// Removes the entry that was pushed with this position.
    pub(crate) fn remove(&mut self, position: u64) {
        if let Ok(at) = self.entries.binary_search_by_key(&position, |(position, _)| *position) {
            self.gaps += usize::from(self.entries[at].1.take().is_some());
        }
        if self.gaps * 2 > self.entries.len() {
            self.entries.retain(|(_, ip)| ip.is_some());
            self.gaps = 0;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = AllowedIp> {
        self.entries.iter().filter_map(|(_, ip)| *ip)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use testbed::memory::Place;

    use super::*;

    /// What a table that grows frees, and where a removed peer was, is not wiped.
    #[test]
    fn preshared_keys_are_not_in_the_table_itself() {
        let secret: [u8; 32] = std::array::from_fn(|i| i as u8 + 100);
        let (key, mut peers) = (PublicKey::from([7; 32]), Peers::default());
        let configured = ConfiguredPeer {
            peer: Arc::new(Peer::new(key, Arc::default(), None)),
            position: 0,
            preshared_key: Some(Box::new(Secret::from(secret))),
            allowed_ips: OwnedIps::default(),
        };
        peers.insert(key, configured);
        let kept = peers[&key].preshared_key.as_deref().unwrap();
        assert!(Place::of(kept).holds_some_of(&secret));
        assert!(!Place::of(&peers[&key]).holds_some_of(&secret));
        let mut place = Place::of(kept);
        drop(peers.remove(&key).map(ConfiguredPeer::into_parts));
        assert!(!place.holds_some_of(&secret));
    }

    fn ip(number: u32) -> AllowedIp {
        AllowedIp::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32).unwrap()
    }

    #[test]
    fn the_order_stays_when_entries_go() {
        let mut ips = OwnedIps::default();
        (1..=10).for_each(|i| ips.push(i, ip(i as u32)));
        for position in [1, 3, 4, 8, 9, 9, 77] {
            ips.remove(position);
        }
        ips.push(11, ip(4));
        let left: Vec<_> = ips.iter().collect();
        assert_eq!(left, [2, 5, 6, 7, 10, 4].map(ip));
        ips.remove(2);
        ips.remove(11);
        assert_eq!(ips.iter().collect::<Vec<_>>(), [5, 6, 7, 10].map(ip));
    }
}
