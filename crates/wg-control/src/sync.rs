//! The difference between an interface and a configuration file.

use std::cell::{Cell, OnceCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use wg_config::{AllowedIp, AllowedIpChange, KEY_LEN, PresharedKey, PrivateKey, PublicKey};

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
        let peers = self.peers.into_iter().filter(|peer| peer.public_key != own_key).collect();
        Self {
            private_key: Some(private_key).filter(|_| !same_key),
            listen_port: self.listen_port.filter(|port| *port != device.listen_port),
            fwmark: self.fwmark.filter(|mark| *mark != device.fwmark),
            replace_peers: false,
            peers: peers_difference(&device.peers, peers),
        }
    }
}

fn peers_difference(current: &[Peer], wanted: Vec<PeerUpdate>) -> Vec<PeerUpdate> {
    let known = Known::new(current);
    let places: Vec<_> = wanted.iter().map(|section| known.place(&section.public_key)).collect();
    let mut sections_of = vec![0_u32; current.len()];
    places.iter().flatten().for_each(|place| sections_of[*place] += 1);
    let gone = current.iter().zip(&sections_of).filter(|(_, sections)| **sections == 0);
    let mut difference: Vec<_> = gone
        .map(|(peer, _)| PeerUpdate { remove: true, ..PeerUpdate::new(peer.public_key) })
        .collect();

    let settled = settled_peers(current, &wanted, &places, &sections_of);
    let is_settled = |place: Option<usize>| place.is_some_and(|place| settled[place]);
    let owners = Owners::after(
        current.iter().zip(&settled).filter(|(_, settled)| !**settled).map(|(peer, _)| peer),
        wanted.iter().zip(&places).filter(|(_, place)| !is_settled(**place)).map(|(peer, _)| peer),
    );
    for mut peer in merge_sections(wanted) {
        let place = known.place(&peer.public_key);
        let Some(current) = place.map(|place| &current[place]) else {
            peer.allowed_ips = owners.allowed_ips(&peer.public_key);
            difference.push(peer);
            continue;
        };
        peer.preshared_key = changed_preshared_key(current, peer.preshared_key);
        peer.endpoint = peer.endpoint.filter(|endpoint| Some(*endpoint) != current.endpoint);
        let keepalive = peer.persistent_keepalive.unwrap_or(0);
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
    sections: &[PeerUpdate],
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
fn merge_sections(sections: Vec<PeerUpdate>) -> Vec<PeerUpdate> {
    let mut peers: Vec<PeerUpdate> = Vec::with_capacity(sections.len());
    let mut places = HashMap::with_capacity(sections.len());
    for mut section in sections {
        section.allowed_ips = Vec::new();
        match places.entry(section.public_key) {
            Entry::Occupied(place) => {
                let peer: &mut PeerUpdate = &mut peers[*place.get()];
                peer.preshared_key = section.preshared_key.or(peer.preshared_key.take());
                peer.endpoint = section.endpoint.or(peer.endpoint);
                peer.persistent_keepalive =
                    section.persistent_keepalive.or(peer.persistent_keepalive);
            }
            Entry::Vacant(place) => {
                place.insert(peers.len());
                peers.push(section);
            }
        }
    }
    peers
}

/// No key and a key of zeros are the same.
fn changed_preshared_key(current: &Peer, wanted: Option<PresharedKey>) -> Option<PresharedKey> {
    let wanted = wanted.unwrap_or_else(|| PresharedKey::from([0; KEY_LEN]));
    match &current.preshared_key {
        Some(current) => Some(wanted).filter(|wanted| wanted != current),
        None => Some(wanted).filter(|wanted| !wanted.is_zero()),
    }
}

/// Which peer has which allowed IP once all sections were applied in order; an allowed IP belongs
/// to the peer that it was given to last.
#[derive(Default)]
struct Owners {
    owner: HashMap<AllowedIp, PublicKey>,
    /// What each peer was ever given, in order; it may have been taken away since.
    given: HashMap<PublicKey, Vec<AllowedIp>>,
}

impl Owners {
    fn after<'a>(
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
    fn allowed_ips(&self, key: &PublicKey) -> Vec<AllowedIpChange> {
        let mut seen = HashSet::new();
        let given = self.given.get(key).into_iter().flatten();
        let kept = given.filter(|ip| self.owner.get(ip) == Some(key) && seen.insert(**ip));
        kept.copied().map(AllowedIpChange::from).collect()
    }

    /// Whether the peer's allowed IPs are to be replaced, and those to give to it.
    fn difference(&self, current: &Peer) -> (bool, Vec<AllowedIpChange>) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use wg_config::{Config, Endpoint, Interface};

    use super::*;

    fn ip(last: u8) -> AllowedIp {
        AllowedIp::new([10, 0, 0, last].into(), 32).unwrap()
    }

    fn peer(number: u8, allowed_ips: &[u8]) -> Peer {
        let allowed_ips = allowed_ips.iter().copied().map(ip).collect();
        Peer { allowed_ips, ..Peer::new([number; KEY_LEN].into()) }
    }

    /// An interface with one peer, both with every setting.
    fn full_device(allowed_ips: &[u8]) -> Device {
        Device {
            private_key: Some([9; KEY_LEN].into()),
            listen_port: 5,
            fwmark: 6,
            peers: vec![Peer {
                preshared_key: Some([8; KEY_LEN].into()),
                endpoint: Some("192.0.2.1:5".parse().unwrap()),
                persistent_keepalive: 7,
                ..peer(1, allowed_ips)
            }],
            ..Device::default()
        }
    }

    fn section(number: u8, allowed_ips: &[u8]) -> wg_config::Peer {
        wg_config::Peer {
            name: None,
            public_key: [number; KEY_LEN].into(),
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: true,
            allowed_ips: allowed_ips.iter().map(|last| ip(*last).into()).collect(),
        }
    }

    fn sync(peers: Vec<Peer>, sections: Vec<wg_config::Peer>) -> DeviceUpdate {
        let device = Device { peers, ..Device::default() };
        let config = Config { peers: sections, ..Config::default() };
        sync_with(&device, &config)
    }

    fn sync_with(device: &Device, config: &Config) -> DeviceUpdate {
        DeviceUpdate::replacing(config.clone(), resolve).unwrap().differing_from(device)
    }

    fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, std::net::AddrParseError> {
        endpoint.to_string().parse()
    }

    #[test]
    fn nothing_is_said_where_nothing_differs() {
        let device = full_device(&[1, 2]);
        let interface = Interface {
            private_key: device.private_key.clone(),
            listen_port: Some(5),
            fwmark: Some(6),
            ..Interface::default()
        };
        let same = wg_config::Peer {
            preshared_key: Some([8; KEY_LEN].into()),
            endpoint: Some(Endpoint::new("192.0.2.1", "5")),
            persistent_keepalive: Some(7),
            ..section(1, &[2, 1])
        };
        let config = Config { interface, peers: vec![same] };
        let update = sync_with(&device, &config);
        assert_eq!(update, DeviceUpdate::default());
    }

    #[test]
    fn what_the_file_does_not_say_is_cleared_except_the_endpoint() {
        let device = full_device(&[1]);
        let config = Config { peers: vec![section(1, &[1])], ..Config::default() };
        let update = sync_with(&device, &config);
        let expected = DeviceUpdate {
            private_key: Some([0; KEY_LEN].into()),
            listen_port: Some(0),
            fwmark: Some(0),
            replace_peers: false,
            peers: vec![PeerUpdate {
                preshared_key: Some([0; KEY_LEN].into()),
                persistent_keepalive: Some(0),
                ..PeerUpdate::new([1; KEY_LEN].into())
            }],
        };
        assert_eq!(update, expected);
    }

    #[test]
    fn a_peer_that_the_file_lacks_goes_before_others_change() {
        let update = sync(vec![peer(1, &[1]), peer(2, &[2])], vec![section(2, &[1, 2])]);
        assert!(update.peers[0].remove);
        assert_eq!(update.peers[0].public_key, [1; KEY_LEN].into());
        assert_eq!(update.peers[1].allowed_ips, [ip(1).into()]);
        assert!(!update.peers[1].replace_allowed_ips);
    }

    #[test]
    fn allowed_ips_that_only_move_are_given_and_not_replaced() {
        let update = sync(
            vec![peer(1, &[1, 3]), peer(2, &[2])],
            vec![section(1, &[2, 3]), section(2, &[1])],
        );
        let given: Vec<_> = update.peers.iter().map(|peer| &peer.allowed_ips[..]).collect();
        assert_eq!(given, [[ip(2).into()], [ip(1).into()]]);
        assert!(update.peers.iter().all(|peer| !peer.replace_allowed_ips));
    }

    #[test]
    fn the_interfaces_own_peer_takes_nothing_from_others() {
        let private_key = PrivateKey::from([9; KEY_LEN]);
        let own = wg_config::Peer { public_key: private_key.public_key(), ..section(0, &[1]) };
        let interface =
            Interface { private_key: Some(private_key.clone()), ..Interface::default() };
        let config = Config { interface, peers: vec![section(1, &[1]), own] };
        let device = Device {
            private_key: Some(private_key),
            peers: vec![peer(1, &[1])],
            ..Device::default()
        };
        let update = sync_with(&device, &config);
        assert_eq!(update, DeviceUpdate::default());
    }

    /// What a backend does with changes, as WireGuard's cross-platform interface describes it.
    fn apply(peers: &mut BTreeMap<PublicKey, Peer>, changes: &[PeerUpdate]) {
        for change in changes {
            let key = change.public_key;
            if change.remove {
                peers.remove(&key);
                continue;
            }
            let peer = peers.entry(key).or_insert_with(|| Peer::new(key));
            if let Some(key) = &change.preshared_key {
                peer.preshared_key = Some(key.clone()).filter(|key| !key.is_zero());
            }
            peer.endpoint = change.endpoint.or(peer.endpoint);
            peer.persistent_keepalive =
                change.persistent_keepalive.unwrap_or(peer.persistent_keepalive);
            if change.replace_allowed_ips {
                peer.allowed_ips.clear();
            }
            for ip in &change.allowed_ips {
                for peer in peers.values_mut().filter(|peer| !ip.remove || peer.public_key == key) {
                    peer.allowed_ips.retain(|had| *had != ip.ip.masked());
                }
                if let Some(peer) = peers.get_mut(&key).filter(|_| !ip.remove) {
                    peer.allowed_ips.push(ip.ip.masked());
                }
            }
        }
        for peer in peers.values_mut() {
            peer.allowed_ips.sort();
        }
    }

    fn sections() -> impl Strategy<Value = Vec<wg_config::Peer>> {
        let changes = vec((0..6_u8, prop::bool::weighted(0.2)), 0..4);
        let values = (
            option::of(0..3_u8),
            option::of(prop_oneof![Just("5"), Just("6")]),
            option::of(0..3_u16),
        );
        let section = (1..5_u8, any::<bool>(), changes, values).prop_map(
            |(number, replace, changes, (preshared_key, port, persistent_keepalive))| {
                let change = |(last, remove)| AllowedIpChange { ip: ip(last), remove };
                wg_config::Peer {
                    preshared_key: preshared_key.map(|byte| [byte; KEY_LEN].into()),
                    endpoint: port.map(|port| Endpoint::new("192.0.2.1", port)),
                    persistent_keepalive,
                    replace_allowed_ips: replace,
                    allowed_ips: changes.into_iter().map(change).collect(),
                    ..section(number, &[])
                }
            },
        );
        vec(section, 0..6)
    }

    proptest! {
        /// Applying the difference leads where applying every section would, after what the file
        /// does not say was cleared.
        #[test]
        fn the_difference_leads_to_what_the_file_says(before in sections(), file in sections()) {
            let before = Config { peers: before, ..Config::default() };
            let mut peers = BTreeMap::new();
            apply(&mut peers, &DeviceUpdate::adding(before, resolve).unwrap().peers);
            let device = Device { peers: peers.values().cloned().collect(), ..Device::default() };
            let config = Config { peers: file, ..Config::default() };

            let whole = DeviceUpdate::adding(config.clone(), resolve).unwrap().peers;
            let keys: HashSet<_> = whole.iter().map(|peer| peer.public_key).collect();
            let mut expected = peers.clone();
            expected.retain(|key, _| keys.contains(key));
            for peer in expected.values_mut() {
                peer.preshared_key = None;
                peer.persistent_keepalive = 0;
            }
            apply(&mut expected, &whole);

            let update = sync_with(&device, &config);
            apply(&mut peers, &update.peers);
            prop_assert_eq!(&peers, &expected);

            let device = Device { peers: peers.into_values().collect(), ..Device::default() };
            let keys: HashSet<_> = config.peers.iter().map(|peer| peer.public_key).collect();
            let once = keys.len() == config.peers.len();
            if once && config.peers.iter().all(|peer| peer.replace_allowed_ips) {
                let again = sync_with(&device, &config);
                prop_assert_eq!(again, DeviceUpdate::default());
            }
        }
    }
}
