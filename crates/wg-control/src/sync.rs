//! The difference between an interface and a configuration file.

mod owners;

use std::cell::{Cell, OnceCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use owners::Owners;
use wg_config::{AllowedIp, KEY_LEN, PresharedKey, PrivateKey, PublicKey};

use crate::{Device, DeviceUpdate, Peer, PeerUpdate};

impl DeviceUpdate {
    /// What is left of a change made by [`DeviceUpdate::replacing`] for an interface that is like
    /// `device` now: only what differs, so that sessions and traffic go on (`wg syncconf`). An
    /// endpoint that the file does not name stays.
    #[must_use]
    pub fn differing_from(self, device: &Device) -> Self {
        let private_key = self.private_key.unwrap_or_else(|| PrivateKey::from([0; KEY_LEN]));
        let own_key = private_key.public_key();
        let same_key = device
            .private_key
            .as_ref()
            .map_or(private_key.is_zero(), |current| *current == private_key);
        // The backends ignore a peer that is the interface itself.
        let sections: Vec<_> =
            self.peers.iter().filter(|section| section.public_key != own_key).collect();
        Self {
            private_key: Some(private_key).filter(|_| !same_key),
            listen_port: self.listen_port.filter(|port| *port != device.listen_port),
            fwmark: self.fwmark.filter(|mark| *mark != device.fwmark),
            replace_peers: false,
            peers: peers_difference(&device.peers, &sections),
        }
    }
}

/// The sections are not moved, nor is there ever too little room: both would leave copies of
/// preshared keys behind.
fn peers_difference(current: &[Peer], wanted: &[&PeerUpdate]) -> Vec<PeerUpdate> {
    let known = Known::new(current);
    let places: Vec<_> = wanted.iter().map(|section| known.place(&section.public_key)).collect();
    let mut sections_of = vec![0_u32; current.len()];
    places.iter().flatten().for_each(|place| sections_of[*place] += 1);
    let gone = current.iter().zip(&sections_of).filter(|(_, sections)| **sections == 0);
    let mut difference = Vec::with_capacity(current.len() + wanted.len());
    difference.extend(
        gone.map(|(peer, _)| PeerUpdate { remove: true, ..PeerUpdate::new(peer.public_key) }),
    );

    let settled = settled_peers(current, wanted, &places, &sections_of);
    let is_settled = |place: Option<usize>| place.is_some_and(|place| settled[place]);
    let owners = Owners::after(
        current.iter().zip(&settled).filter(|(_, settled)| !**settled).map(|(peer, _)| peer),
        wanted.iter().zip(&places).filter(|(_, place)| !is_settled(**place)).map(|(peer, _)| *peer),
    );
    for merged in &merge_sections(wanted) {
        let place = known.place(&merged.public_key);
        let Some(current) = place.map(|place| &current[place]) else {
            let allowed_ips = owners.allowed_ips(&merged.public_key);
            difference.push(PeerUpdate { allowed_ips, ..merged.clone() });
            continue;
        };
        let mut peer = PeerUpdate::new(merged.public_key);
        peer.preshared_key = changed_preshared_key(current, merged.preshared_key.as_ref());
        peer.endpoint = merged.endpoint.filter(|endpoint| Some(*endpoint) != current.endpoint);
        let keepalive = merged.persistent_keepalive.unwrap_or(0);
        peer.persistent_keepalive =
            Some(keepalive).filter(|seconds| *seconds != current.persistent_keepalive);
        (peer.replace_allowed_ips, peer.allowed_ips) =
            if is_settled(place) { (false, Vec::new()) } else { owners.difference(current) };
        if peer != PeerUpdate::new(peer.public_key) {
            difference.push(peer);
        }
    }
    difference
}

/// Finds the interface's peers. Sections mostly stand in the interface's order, so that behind one
/// peer the next is looked at first; a table is made only where that was wrong.
struct Known<'a> {
    peers: &'a [Peer],
    places: OnceCell<HashMap<PublicKey, usize>>,
    next: Cell<usize>,
}

impl<'a> Known<'a> {
    fn new(peers: &'a [Peer]) -> Self {
        Self { peers, places: OnceCell::new(), next: Cell::new(0) }
    }

    /// The peer's place among the interface's.
    fn place(&self, key: &PublicKey) -> Option<usize> {
        // Behind the last comes the first.
        let next = self.next.get() % self.peers.len().max(1);
        let place = if self.peers.get(next).is_some_and(|peer| peer.public_key == *key) {
            next
        } else {
            let table = || self.peers.iter().map(|peer| peer.public_key).zip(0..).collect();
            *self.places.get_or_init(table).get(key)?
        };
        self.next.set(place + 1);
        Some(place)
    }
}

/// Which of the interface's peers have the allowed IPs that their only sections give them, and no
/// others, while no other section names any of these: each of them can be looked at by itself,
/// since an allowed IP is at one peer of an interface only.
fn settled_peers(
    current: &[Peer],
    sections: &[&PeerUpdate],
    places: &[Option<usize>],
    sections_of: &[u32],
) -> Vec<bool> {
    let mut settled = vec![false; current.len()];
    let mut others = HashSet::new();
    for (section, place) in sections.iter().zip(places) {
        match *place {
            Some(place) if sections_of[place] == 1 && keeps_all(&current[place], section) => {
                settled[place] = true;
            }
            _ => others.extend(section.allowed_ips.iter().map(|change| change.ip.masked())),
        }
    }
    let mut kept = current.iter().zip(&settled).filter(|(_, settled)| **settled);
    let is_elsewhere = |ip: &AllowedIp| others.contains(&ip.masked());
    if !others.is_empty() && kept.any(|(peer, _)| peer.allowed_ips.iter().any(is_elsewhere)) {
        settled.fill(false);
    }
    settled
}

/// Whether a section gives a peer the allowed IPs that it has, in any order.
fn keeps_all(current: &Peer, section: &PeerUpdate) -> bool {
    let changes = &section.allowed_ips;
    if !section.replace_allowed_ips
        || changes.len() != current.allowed_ips.len()
        || changes.iter().any(|change| change.remove)
    {
        return false;
    }
    let had = current.allowed_ips.iter().map(AllowedIp::masked);
    let wanted = changes.iter().map(|change| change.ip.masked());
    if had.clone().eq(wanted.clone()) {
        return true;
    }
    let (mut had, mut wanted): (Vec<_>, Vec<_>) = (had.collect(), wanted.collect());
    had.sort_unstable();
    wanted.sort_unstable();
    had == wanted
}

/// Joins the sections of each peer: the last of a repeated value wins. The allowed IPs are left
/// out; they are the business of [`Owners`].
fn merge_sections(sections: &[&PeerUpdate]) -> Vec<PeerUpdate> {
    let mut peers: Vec<PeerUpdate> = Vec::with_capacity(sections.len());
    let mut places = HashMap::with_capacity(sections.len());
    for section in sections {
        match places.entry(section.public_key) {
            Entry::Occupied(place) => {
                let peer: &mut PeerUpdate = &mut peers[*place.get()];
                if section.preshared_key.is_some() {
                    peer.preshared_key.clone_from(&section.preshared_key);
                }
                peer.endpoint = section.endpoint.or(peer.endpoint);
                peer.persistent_keepalive =
                    section.persistent_keepalive.or(peer.persistent_keepalive);
            }
            Entry::Vacant(place) => {
                place.insert(peers.len());
                peers.push(PeerUpdate {
                    preshared_key: section.preshared_key.clone(),
                    allowed_ips: Vec::new(),
                    ..**section
                });
            }
        }
    }
    peers
}

/// No key and a key of zeros are the same.
fn changed_preshared_key(current: &Peer, wanted: Option<&PresharedKey>) -> Option<PresharedKey> {
    let current = current.preshared_key.as_ref().filter(|key| !key.is_zero());
    match wanted.filter(|key| !key.is_zero()) {
        wanted if wanted == current => None,
        None => Some(PresharedKey::from([0; KEY_LEN])),
        wanted => wanted.cloned(),
    }
}

#[cfg(test)]
mod tests;
