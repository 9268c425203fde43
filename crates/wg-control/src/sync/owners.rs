//! Whose allowed IPs are whose.

use std::collections::{HashMap, HashSet};

use wg_config::{AllowedIp, AllowedIpChange, PublicKey};

use crate::{Peer, PeerUpdate};

/// Which peer has which allowed IP once all sections were applied in order; an allowed IP belongs
/// to the peer that it was given to last.
#[derive(Default)]
pub(super) struct Owners {
    owner: HashMap<AllowedIp, PublicKey>,
    /// What each peer was ever given, in order; it may have been taken away since.
    given: HashMap<PublicKey, Vec<AllowedIp>>,
}

impl Owners {
    pub(super) fn after<'a>(
        current: impl Iterator<Item = &'a Peer>,
        sections: impl Iterator<Item = &'a PeerUpdate>,
    ) -> Self {
        let mut owners = Self::default();
        for peer in current {
            for ip in &peer.allowed_ips {
                owners.give(peer.public_key, ip);
            }
        }
        for section in sections {
            if section.replace_allowed_ips {
                owners.take_all(&section.public_key);
            }
            for change in &section.allowed_ips {
                if change.remove {
                    owners.take(&section.public_key, &change.ip);
                } else {
                    owners.give(section.public_key, &change.ip);
                }
            }
        }
        owners
    }

    /// The peer's allowed IPs, in the order in which they were given.
    pub(super) fn allowed_ips(&self, key: &PublicKey) -> Vec<AllowedIpChange> {
        let mut seen = HashSet::new();
        let given = self.given.get(key).into_iter().flatten();
        let kept = given.filter(|ip| self.owner.get(ip) == Some(key) && seen.insert(**ip));
        kept.copied().map(AllowedIpChange::from).collect()
    }

    /// Whether the peer's allowed IPs are to be replaced, and those to give to it.
    pub(super) fn difference(&self, current: &Peer) -> (bool, Vec<AllowedIpChange>) {
        let mut allowed_ips = self.allowed_ips(&current.public_key);
        // One that moves is taken from this peer when the other one gets it.
        if current.allowed_ips.iter().any(|ip| !self.owner.contains_key(&ip.masked())) {
            return (true, allowed_ips);
        }
        let had: HashSet<AllowedIp> = current.allowed_ips.iter().map(AllowedIp::masked).collect();
        allowed_ips.retain(|change| !had.contains(&change.ip));
        (false, allowed_ips)
    }

    fn give(&mut self, key: PublicKey, ip: &AllowedIp) {
        self.owner.insert(ip.masked(), key);
        self.given.entry(key).or_default().push(ip.masked());
    }

    fn take(&mut self, key: &PublicKey, ip: &AllowedIp) {
        if self.owner.get(&ip.masked()) == Some(key) {
            self.owner.remove(&ip.masked());
        }
    }

    fn take_all(&mut self, key: &PublicKey) {
        for ip in self.given.remove(key).unwrap_or_default() {
            self.take(key, &ip);
        }
    }
}
