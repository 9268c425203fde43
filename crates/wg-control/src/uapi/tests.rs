use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::libc::{EINVAL, EPROTO};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wg_config::{AllowedIp, AllowedIpChange, PublicKey};

use super::*;
use crate::{Device, DeviceUpdate, Peer, PeerUpdate, SecretWriter};

const PUBLIC: &str =
    "public_key=c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038\n";

/// What the original `wg` 1.0.20260223 sends for `wg set wg0 private-key F fwmark 3 listen-port 1
/// peer K preshared-key F endpoint 1.2.3.4:5 persistent-keepalive 9 allowed-ips 1.2.3.4/32`.
const SET_OF_THE_ORIGINAL: &str = "\
set=1
private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669
listen_port=1
fwmark=3
public_key=c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038
preshared_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669
endpoint=1.2.3.4:5
persistent_keepalive_interval=9
replace_allowed_ips=true
allowed_ip=1.2.3.4/32

";

/// What wireguard-go 0.0.20260522 answers to `get=1`.
const ANSWER_OF_WIREGUARD_GO: &str = "\
listen_port=5
public_key=c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038
preshared_key=0000000000000000000000000000000000000000000000000000000000000000
protocol_version=1
endpoint=[fe80::1%lo]:1
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
allowed_ip=10.0.0.0/8
errno=0

";

fn read_one(text: impl AsRef<[u8]>) -> Result<Option<Request>, RequestError> {
    RequestReader::new(text.as_ref()).next()
}

fn set_text(update: &DeviceUpdate) -> String {
    let mut text = Vec::new();
    write_set(&mut text, update).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_set_of_the_original_is_read_and_written_to_the_byte() {
    let Some(Request::Set(update)) = read_one(SET_OF_THE_ORIGINAL).unwrap() else {
        panic!("not a set");
    };
    assert_eq!(update.listen_port, Some(1));
    assert_eq!(update.fwmark, Some(3));
    assert_eq!(update.peers.len(), 1);
    assert_eq!(update.peers[0].endpoint, Some("1.2.3.4:5".parse().unwrap()));
    assert_eq!(update.peers[0].persistent_keepalive, Some(9));
    assert!(update.peers[0].replace_allowed_ips);
    assert_eq!(set_text(&update), SET_OF_THE_ORIGINAL);
}

#[test]
fn an_answer_of_wireguard_go_is_read_and_written_to_the_byte() {
    let device = read_device(ANSWER_OF_WIREGUARD_GO.as_bytes(), "wg0").unwrap();
    assert_eq!(device.name, "wg0");
    assert_eq!(device.private_key, None);
    assert_eq!(device.peers[0].preshared_key, None);
    assert_eq!(device.peers[0].last_handshake, None);
    let mut text = Vec::new();
    write_device(&mut text, &device).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), ANSWER_OF_WIREGUARD_GO);
}

#[test]
fn removing_a_peer_says_nothing_else_about_it() {
    let mut peer = PeerUpdate::new([1; 32].into());
    peer.remove = true;
    peer.persistent_keepalive = Some(5);
    let text = set_text(&DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() });
    assert_eq!(text, format!("set=1\npublic_key={}\nremove=true\n\n", "01".repeat(32)));
}

#[test]
fn an_allowed_ip_is_taken_away_with_a_minus() {
    let set = format!("set=1\n{PUBLIC}allowed_ip=-10.0.0.0/8\n\n");
    let Some(Request::Set(update)) = read_one(&set).unwrap() else { panic!("not a set") };
    assert!(update.peers[0].allowed_ips[0].remove);
    assert_eq!(set_text(&update), set);
}

#[test]
fn replacing_allowed_ips_drops_those_before_it() {
    let set = format!(
        "set=1\n{PUBLIC}allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=::/0\n\n"
    );
    let Some(Request::Set(update)) = read_one(set).unwrap() else { panic!("not a set") };
    assert_eq!(update.peers[0].allowed_ips.len(), 1);
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let mut reader = RequestReader::new(&b"get=1\n\nset=1\nlisten_port=7\n\nget=1\n\n"[..]);
    assert_eq!(reader.next().unwrap(), Some(Request::Get));
    let update = DeviceUpdate { listen_port: Some(7), ..DeviceUpdate::default() };
    assert_eq!(reader.next().unwrap(), Some(Request::Set(update)));
    assert_eq!(reader.next().unwrap(), Some(Request::Get));
    assert_eq!(reader.next().unwrap(), None);
}

#[test]
fn malformed_requests_are_refused_with_the_line_and_the_errno_of_wireguard_go() {
    let cases = [
        ("hello\n", 1, EPROTO, "expected `get=1' or `set=1'"),
        ("\n", 1, EPROTO, "expected `get=1'"),
        ("get=2\n\n", 1, EPROTO, "expected `get=1'"),
        ("set=1\r\n\r\n", 1, EPROTO, "expected `get=1'"),
        ("get=1\nfoo=1\n\n", 2, EINVAL, "`get=1' stands alone"),
        ("get=1\n", 2, EPROTO, "the stream ends before"),
        ("get=1", 1, EPROTO, "the stream ends before"),
        ("set=1\nlisten_port=77", 2, EPROTO, "the stream ends before"),
        ("set=1\nlisten_port=77\n", 3, EPROTO, "the stream ends before"),
        ("set=1\nbogus=1\n\n", 2, EINVAL, "`bogus' is not a key of the interface"),
        ("set=1\nbogus\n\n", 2, EPROTO, "expected `key=value'"),
        ("set=1\nlisten_port=70000\n\n", 2, EINVAL, "listen_port is `70000'; expected a port"),
        ("set=1\nlisten_port=+5\n\n", 2, EINVAL, "listen_port is `+5'"),
        ("set=1\nlisten_port= 5\n\n", 2, EINVAL, "listen_port is ` 5'"),
        ("set=1\nlisten_port=\n\n", 2, EINVAL, "listen_port is `'"),
        ("set=1\nlisten_port=5=6\n\n", 2, EINVAL, "listen_port is `5=6'"),
        ("set=1\nlisten_port =5\n\n", 2, EINVAL, "`listen_port ' is not a key"),
        ("set=1\nlisten_port=\x01\u{ff}\n\n", 2, EINVAL, "listen_port is `\\x01\\xc3\\xbf'"),
        ("set=1\nfwmark=0x10\n\n", 2, EINVAL, "fwmark is `0x10'"),
        ("set=1\nprivate_key=00\n\n", 2, EINVAL, "expected private_key to be 64 hex"),
        ("set=1\nreplace_peers=false\n\n", 2, EINVAL, "replace_peers is `false'; expected true"),
        ("set=1\nremove=true\n\n", 2, EINVAL, "`remove' is not a key of the interface"),
        ("set=1\npublic_key=zz\n\n", 2, EINVAL, "public_key is `zz'"),
    ];
    let of_a_peer = [
        ("remove=false\n\n", 3, EINVAL, "remove is `false'"),
        ("protocol_version=2\n\n", 3, EINVAL, "protocol_version is `2'; expected 1"),
        ("endpoint=localhost:1\n\n", 3, EINVAL, "endpoint is `localhost:1'"),
        ("allowed_ip=1.2.3.4\n\n", 3, EINVAL, "allowed_ip is `1.2.3.4'"),
        ("allowed_ip=1.2.3.4/33\n\n", 3, EINVAL, "allowed_ip is `1.2.3.4/33'"),
        ("allowed_ip=+10.0.0.0/8\n\n", 3, EINVAL, "allowed_ip is `+10.0.0.0/8'"),
        ("listen_port=5\n\n", 3, EINVAL, "`listen_port' is not a key of the peer"),
        ("preshared_key=5\n\n", 3, EINVAL, "expected preshared_key to be 64 hex"),
        ("\nbogus\n", 1, EPROTO, "expected `get=1'"),
    ];
    let of_a_peer = of_a_peer.map(|(text, line, errno, problem)| {
        (format!("set=1\n{PUBLIC}{text}"), line, errno, problem)
    });
    let cases = cases.map(|(text, line, errno, problem)| (text.to_owned(), line, errno, problem));
    for (text, line, errno, expected) in cases.into_iter().chain(of_a_peer) {
        let mut reader = RequestReader::new(text.as_bytes());
        let error = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("accepted: {text:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.errno(), errno, "{text:?}");
        let prefix = format!("line {line} of the request: ");
        let message = error.to_string();
        assert!(message.starts_with(&prefix) && message.contains(expected), "{text:?}: {message}");
    }
}

#[test]
fn ten_megabytes_without_a_line_feed_are_refused_at_once() {
    for start in ["", "set=1\n", "get=1\n"] {
        let mut text = start.as_bytes().to_vec();
        text.resize(10_000_000, b'a');
        let error = read_one(text).unwrap_err();
        assert_eq!(error.errno(), EPROTO);
        assert!(error.to_string().ends_with("more than 1024 bytes without a line feed"));
    }
}

#[test]
fn a_faulty_line_does_not_leave_the_rest_of_the_request_behind() {
    let mut reader = RequestReader::new(&b"set=1\nfoo=1\nbar=2\nlisten_port=6\n\nget=1\n\n"[..]);
    let error = reader.next().unwrap_err();
    assert!(error.to_string().starts_with("line 2 "), "{error}");
    assert_eq!(reader.next().unwrap(), Some(Request::Get));
}

#[test]
fn errors_do_not_contain_secrets() {
    let secret = "1c5d3a2d".repeat(8);
    for text in [
        format!("set=1\nprivate_key={secret}1\n\n"),
        format!("set=1\n{PUBLIC}preshared_key={secret}1\n\n"),
        format!("set=1\nprivate_key:{secret}\n\n"),
    ] {
        let error = read_one(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret));
    }
    let answer = format!("private_key={secret}1\nerrno=0\n\n");
    let error = read_device(answer.as_bytes(), "wg0").unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&secret));
}

#[test]
fn an_answer_must_be_whole_and_end_in_an_errno() {
    for (text, expected) in [
        ("", "line 1 of the daemon's answer: the answer is cut off"),
        ("\n", "line 1 of the daemon's answer: the answer ends without an errno"),
        ("listen_port=1\n\n", "line 2 of the daemon's answer: the answer ends without an errno"),
        ("listen_port=1\nerrno=0\n", "line 3 of the daemon's answer: the answer is cut off"),
        ("bogus\nerrno=0\n\n", "line 1 of the daemon's answer: expected `key=value'"),
        ("listen_port=x\nerrno=0\n\n", "line 1 of the daemon's answer: the value of listen_port"),
        ("errno=x\n\n", "line 1 of the daemon's answer: the value of errno is not valid"),
        ("errno=19\n\n", "the daemon answered errno=19"),
        ("errno=-19\n\n", "the daemon answered errno=19"),
    ] {
        let error = read_device(text.as_bytes(), "wg0").unwrap_err();
        assert!(error.to_string().starts_with(expected), "{text:?}: {error}");
    }
    assert!(read_errno(&b"errno=0\n\n"[..]).is_ok());
    assert!(matches!(read_errno(&b"errno=-22\n\n"[..]), Err(AnswerError::Refused(22))));
}

#[test]
fn unknown_keys_of_an_answer_are_skipped() {
    let text = format!("own_public_key=1\n{PUBLIC}bogus=3\nerrno=0\n\n");
    assert_eq!(read_device(text.as_bytes(), "wg0").unwrap().peers.len(), 1);
}

#[test]
fn a_refusal_is_written_as_a_negative_number() {
    let mut text = Vec::new();
    write_errno(&mut text, EINVAL).unwrap();
    assert_eq!(text, b"errno=-22\n\n");
}

fn key() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>().prop_filter("zeros stand for no key", |key| *key != [0; 32])
}

fn allowed_ip() -> impl Strategy<Value = AllowedIp> {
    (any::<IpAddr>(), 0..=128_u8).prop_map(|(address, cidr)| {
        AllowedIp::new(address, if address.is_ipv4() { cidr % 33 } else { cidr }).unwrap()
    })
}

fn allowed_ip_change() -> impl Strategy<Value = AllowedIpChange> {
    (allowed_ip(), any::<bool>()).prop_map(|(ip, remove)| AllowedIpChange { ip, remove })
}

fn endpoint() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>(), 0..4_u32).prop_map(|(address, port, scope)| match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
    })
}

fn peer_update() -> impl Strategy<Value = PeerUpdate> {
    let what = (key(), any::<bool>(), any::<bool>(), any::<bool>());
    let values = (
        option::of(key().prop_map_into()),
        option::of(endpoint()),
        option::of(any::<u16>()),
        vec(allowed_ip_change(), 0..5),
    );
    (what, values).prop_map(|((public_key, remove, update_only, replace), values)| {
        let new = PeerUpdate::new(public_key.into());
        if remove {
            return PeerUpdate { remove, ..new };
        }
        let (preshared_key, endpoint, persistent_keepalive, allowed_ips) = values;
        PeerUpdate {
            update_only,
            preshared_key,
            endpoint,
            persistent_keepalive,
            replace_allowed_ips: replace,
            allowed_ips,
            ..new
        }
    })
}

fn device_update() -> impl Strategy<Value = DeviceUpdate> {
    let private_key = option::of(key().prop_map_into());
    let numbers = (option::of(any::<u16>()), option::of(any::<u32>()));
    (private_key, numbers, any::<bool>(), vec(peer_update(), 0..5)).prop_map(
        |(private_key, (listen_port, fwmark), replace_peers, peers)| DeviceUpdate {
            private_key,
            listen_port,
            fwmark,
            replace_peers,
            peers,
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    let keys = (key(), option::of(key().prop_map_into()));
    let numbers = (any::<u16>(), any::<u64>(), any::<u64>());
    let handshake = option::of((1..u64::MAX, 0..1_000_000_000_u32));
    (keys, option::of(endpoint()), numbers, handshake, vec(allowed_ip(), 0..5)).prop_map(
        |((public_key, preshared_key), endpoint, numbers, handshake, allowed_ips)| Peer {
            public_key: public_key.into(),
            preshared_key,
            endpoint,
            persistent_keepalive: numbers.0,
            last_handshake: handshake.map(|(seconds, nanos)| Duration::new(seconds, nanos)),
            rx_bytes: numbers.1,
            tx_bytes: numbers.2,
            allowed_ips,
        },
    )
}

fn device() -> impl Strategy<Value = Device> {
    (option::of(key()), any::<u16>(), any::<u32>(), vec(peer(), 0..5)).prop_map(
        |(private_key, listen_port, fwmark, peers)| {
            let private_key = private_key.map(wg_config::PrivateKey::from);
            let public_key = private_key.as_ref().map(wg_config::PrivateKey::public_key);
            let name = "wg0".to_owned();
            Device { name, private_key, public_key, listen_port, fwmark, peers }
        },
    )
}

/// Text that gets past the first lines more often than arbitrary bytes do.
fn almost_a_request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("set=1".to_owned()),
        Just("get=1".to_owned()),
        Just(String::new()),
        Just(PUBLIC.trim_end().to_owned()),
        "(private_key|listen_port|fwmark|replace_peers|remove|endpoint|allowed_ip)=.{0,20}",
        "(protocol_version|last_handshake_time_nsec|rx_bytes|errno)=[-0-9]{0,20}",
        "endpoint=\\[[0-9a-f:%]{0,9}\\]?:[0-9]{0,6}",
    ];
    vec(line, 0..12).prop_map(|lines| lines.join("\n").into_bytes())
}

proptest! {
    #[test]
    fn an_update_survives_the_wire(update in device_update()) {
        let mut text = Vec::new();
        write_set(&mut text, &update).unwrap();
        prop_assert_eq!(read_one(text).unwrap(), Some(Request::Set(update)));
    }

    #[test]
    fn a_device_survives_the_wire(device in device()) {
        let mut text = Vec::new();
        write_device(&mut text, &device).unwrap();
        prop_assert_eq!(read_device(&text[..], "wg0").unwrap(), device);
    }

    #[test]
    fn every_cut_of_a_request_is_refused(update in device_update(), at in any::<prop::sample::Index>()) {
        let mut text = Vec::new();
        write_set(&mut text, &update).unwrap();
        let at = 1 + at.index(text.len() - 1);
        prop_assert!(read_one(&text[..at]).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(
        text in prop_oneof![vec(any::<u8>(), 0..200), almost_a_request()]
    ) {
        let mut reader = RequestReader::new(&text[..]);
        while let Ok(Some(_)) = reader.next() {}
        let _ = read_device(&text[..], "wg0");
        let _ = read_errno(&text[..]);
    }
}

#[test]
fn a_hundred_thousand_peers_survive_the_wire() {
    let peers = (0..100_000_u32).map(|number| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let allowed_ips = (0..3)
            .map(|low| AllowedIp::new(IpAddr::from((number << 2 | low).to_be_bytes()), 32).unwrap())
            .map(AllowedIpChange::from)
            .collect();
        PeerUpdate {
            replace_allowed_ips: true,
            allowed_ips,
            ..PeerUpdate::new(PublicKey::from(key))
        }
    });
    let update = DeviceUpdate { peers: peers.collect(), ..DeviceUpdate::default() };
    let mut writer = SecretWriter::new(Vec::new());
    write_set(&mut writer, &update).unwrap();
    let text = writer.into_inner().unwrap();
    assert_eq!(read_one(text).unwrap(), Some(Request::Set(update)));
}
