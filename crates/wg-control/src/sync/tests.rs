use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wg_config::{AllowedIpChange, Config, Endpoint, Interface};

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
    let update =
        sync(vec![peer(1, &[1, 3]), peer(2, &[2])], vec![section(1, &[2, 3]), section(2, &[1])]);
    let given: Vec<_> = update.peers.iter().map(|peer| &peer.allowed_ips[..]).collect();
    assert_eq!(given, [[ip(2).into()], [ip(1).into()]]);
    assert!(update.peers.iter().all(|peer| !peer.replace_allowed_ips));
}

#[test]
fn the_interfaces_own_peer_takes_nothing_from_others() {
    let private_key = PrivateKey::from([9; KEY_LEN]);
    let own = wg_config::Peer { public_key: private_key.public_key(), ..section(0, &[1]) };
    let interface = Interface { private_key: Some(private_key.clone()), ..Interface::default() };
    let config = Config { interface, peers: vec![section(1, &[1]), own] };
    let device =
        Device { private_key: Some(private_key), peers: vec![peer(1, &[1])], ..Device::default() };
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
    let values =
        (option::of(0..3_u8), option::of(prop_oneof![Just("5"), Just("6")]), option::of(0..3_u16));
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
