//! The corners, one function each.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant as Clock};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use wg_noise::{MAX_STAGED_PACKETS, Message, Peer};
use wg_tunnel::{AllowedIp, AllowedIpChange, PeerUpdate, Secret, Update};

use crate::scene::{
    COOKIE_REPLY, Far, HERE, INITIATION, NOBODY, PATIENCE, PORT, RESPONSE, Scene, THERE, error_of,
    inner, ip, now, peer, public, udp_v4, with_peer,
};

const ONE: [u8; 32] = [21; 32];
const TWO: [u8; 32] = [22; 32];

pub(crate) fn strangers_get_nothing() {
    let (_scene, far) = Scene::connected(ONE);
    let stranger = Far::new(TWO);
    stranger.send(&stranger.initiation());
    let mut wrong = Far::new(ONE).initiation();
    wrong[120] ^= 1;
    stranger.send(&wrong);
    // Handshakes are done in order: when this one is answered, those have been refused.
    let again = Far { peer: Peer::new(public([3; 32])), ..far };
    again.connect();
    stranger.socket.set_nonblocking(true).unwrap();
    assert!(stranger.socket.recv(&mut [0; 200]).is_err(), "a stranger was answered");
}

pub(crate) fn load_wants_a_cookie() {
    let scene = Scene::new();
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    let end = Clock::now() + PATIENCE;
    // Load is over after a second, which may pass at any time on a busy machine.
    while prove_address_under_load().is_none() {
        assert!(Clock::now() < end, "no cookie was asked for, or taken");
    }
}

/// `None` when there was no load at some point.
fn prove_address_under_load() -> Option<()> {
    let soon = Duration::from_secs(1);
    let flooder = Far::at("127.0.0.9", TWO);
    flood(&flooder)?;
    let far = Far::at("127.0.0.2", ONE);
    far.send(&far.initiation());
    let reply = far.receive_within(soon, COOKIE_REPLY)?;
    let Some(Message::CookieReply(cookie)) = Message::parse(&reply) else { panic!() };
    far.peer.consume_cookie_reply(cookie, now()).unwrap();
    // Forgets that an initiation was just sent, and not the cookie.
    far.peer.reset();
    let with_cookie = far.initiation();
    assert_ne!(with_cookie[132..], [0; 16]);
    // A cookie is for one source.
    let elsewhere = Far::at("127.0.0.3", ONE);
    elsewhere.send(&with_cookie);
    elsewhere.receive_within(soon, COOKIE_REPLY)?;
    far.send(&with_cookie);
    far.finish(&far.receive_within(soon, RESPONSE)?);
    Some(())
}

/// Sends initiations of a stranger until one is answered with a cookie.
fn flood(flooder: &Far) -> Option<()> {
    let message = flooder.initiation();
    let end = Clock::now() + PATIENCE;
    while Clock::now() < end {
        (0..2000).for_each(|_| flooder.send(&message));
        if flooder.receive_within(Duration::from_millis(20), COOKIE_REPLY).is_some() {
            return Some(());
        }
    }
    None
}

pub(crate) fn a_replayed_initiation_is_refused() {
    let scene = Scene::new();
    let far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    let initiation = far.initiation();
    far.send(&initiation);
    let response = far.receive().bytes;
    for _ in 0..3 {
        far.send(&initiation);
    }
    far.finish(&response);
    // It went into effect after the replays, and is the next that is heard of the tunnel.
    far.expect_silence_before(&inner());
    assert_eq!(scene.endpoint(), Some(far.address()));
}

pub(crate) fn the_responder_waits_for_confirmation() {
    let scene = Scene::new();
    let far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    far.send(&far.initiation());
    let response = far.receive().bytes;
    let socket = inner();
    socket.send_to(b"too early", (THERE[0], 7)).unwrap();
    let Some(Message::Response(message)) = Message::parse(&response) else { panic!() };
    let _ = far.peer.consume_response(&far.local, message, now(), Duration::ZERO).unwrap();
    far.socket.set_nonblocking(true).unwrap();
    assert!(far.socket.recv(&mut [0; 200]).is_err(), "data before the confirmation");
    far.socket.set_nonblocking(false).unwrap();
    assert_eq!(scene.tunnel.status().peers[0].last_handshake, None);
    far.send(&far.seal(&[]));
    let (_, packet) = far.receive_packet();
    assert_eq!(&packet[28..37], b"too early");
    assert!(scene.tunnel.status().peers[0].last_handshake.is_some());
}

pub(crate) fn staged_packets_go_out_with_the_session() {
    let scene = Scene::new();
    let far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, Some(far.address())))).unwrap();
    let socket = inner();
    for payload in [b"first", b"again"] {
        socket.send_to(payload, (THERE[0], 7)).unwrap();
    }
    far.answer(&far.receive().bytes);
    for payload in [b"first", b"again"] {
        let (_, packet) = far.receive_packet();
        assert_eq!(&packet[28..33], payload);
    }
}

pub(crate) fn a_full_staging_budget_stops_no_handshake() {
    let scene = Scene::new();
    // The queue has room for all that is sent here.
    ip("link set wg0 mtu 65000 txqueuelen 2000");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = inner();
    // All of one size, so that what is left does not do for one more.
    let packet = [7; 60_000];
    for number in 0..6 {
        let address = format!("10.9.0.{}", 100 + number);
        let ip = AllowedIp::new(address.parse().unwrap(), 32).unwrap();
        let dead = PeerUpdate {
            allowed_ips: vec![AllowedIpChange { ip, remove: false }],
            ..peer([100 + number; 32], Some(silent.local_addr().unwrap()))
        };
        scene.tunnel.apply(with_peer(dead)).unwrap();
        for _ in 0..MAX_STAGED_PACKETS {
            socket.send_to(&packet, (address.as_str(), 7)).unwrap();
        }
    }
    let far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, Some(far.address())))).unwrap();
    socket.send_to(&packet, (THERE[0], 7)).unwrap();
    assert_eq!(far.receive().bytes[0], INITIATION);
}

pub(crate) fn the_inner_source_must_be_the_peers() {
    let (_scene, far) = Scene::connected(ONE);
    let socket = inner();
    let to = socket.local_addr().unwrap();
    for source in [NOBODY[0], HERE[0], "127.0.0.1"] {
        far.send(&far.seal(&udp_v4(source, 0, to, b"forged")));
    }
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"true")));
    assert_eq!(received(&socket), b"true");

    let socket = UdpSocket::bind((HERE[1], 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = socket.local_addr().unwrap();
    for (source, payload) in [(NOBODY[1], b"forged"), (HERE[1], b"forged"), (THERE[1], b"honest")] {
        far.send(&far.seal(&udp_v6(source, to, payload)));
    }
    assert_eq!(received(&socket), b"honest");
}

pub(crate) fn malformed_inner_packets_are_dropped() {
    let (scene, far) = Scene::connected(ONE);
    let socket = inner();
    let to = socket.local_addr().unwrap();
    let good = udp_v4(THERE[0], 0, to, b"good");
    let mut longer = good.clone();
    longer[3] += 100;
    let mut shorter = good.clone();
    shorter[2..4].copy_from_slice(&[0, 19]);
    let mut version = good.clone();
    version[0] = 0x55;
    let mut v6 = vec![0x60; 39];
    v6[4..6].copy_from_slice(&[0, 0]);
    for bad in [&longer[..], &shorter, &version, &good[..19], &v6, &[0x45], &[0]] {
        far.send(&far.seal(bad));
    }
    far.send(&far.seal(&good));
    assert_eq!(received(&socket), b"good");
    // All of them were authentic, and counted.
    assert!(scene.tunnel.status().peers[0].rx_bytes > 8 * 32);
}

pub(crate) fn roaming_follows_authenticated_new_packets() {
    let (scene, far) = Scene::connected(ONE);
    let here = far.address();
    let socket = inner();
    let to = socket.local_addr().unwrap();
    let message = far.seal(&udp_v4(THERE[0], 0, to, b"one"));
    far.send(&message);
    assert_eq!(received(&socket), b"one");
    assert_eq!(scene.endpoint(), Some(here));

    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    elsewhere.send_to(&message, far.target).unwrap();
    let mut forged = far.seal(&udp_v4(THERE[0], 0, to, b"forged"));
    *forged.last_mut().unwrap() ^= 1;
    elsewhere.send_to(&forged, far.target).unwrap();
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"two")));
    assert_eq!(received(&socket), b"two");
    assert_eq!(scene.endpoint(), Some(here), "neither a replay nor a forgery moves it");

    let new = far.seal(&udp_v4(THERE[0], 0, to, b"three"));
    elsewhere.send_to(&new, far.target).unwrap();
    assert_eq!(received(&socket), b"three");
    assert_eq!(scene.endpoint(), Some(elsewhere.local_addr().unwrap()));
}

pub(crate) fn the_source_address_is_kept() {
    let scene = Scene::new();
    let mut far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    far.target = SocketAddr::from(([127, 0, 0, 5], PORT));
    far.connect();
    inner().send_to(b"reply", (THERE[0], 7)).unwrap();
    assert_eq!(far.receive_packet().0.from, far.target);
}

pub(crate) fn a_source_address_that_is_gone_is_given_up() {
    let scene = Scene::new();
    let mut far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    ip("address add 192.0.2.5/32 dev lo");
    far.target = SocketAddr::from(([192, 0, 2, 5], PORT));
    far.connect();
    let socket = inner();
    socket.send_to(b"reply", (THERE[0], 7)).unwrap();
    assert_eq!(far.receive_packet().0.from, far.target);
    ip("address delete 192.0.2.5/32 dev lo");
    socket.send_to(b"reply", (THERE[0], 7)).unwrap();
    assert_ne!(far.receive_packet().0.from.ip(), far.target.ip());
}

pub(crate) fn a_peer_with_our_own_key_is_ignored() {
    let scene = Scene::new();
    scene.tunnel.apply(with_peer(peer([3; 32], None))).unwrap();
    assert!(scene.tunnel.status().peers.is_empty());
}

pub(crate) fn a_peer_whose_key_becomes_ours_is_removed() {
    let (scene, _far) = Scene::connected(ONE);
    let update = Update { private_key: Some(Secret::from(ONE)), ..Update::default() };
    scene.tunnel.apply(update).unwrap();
    assert!(scene.tunnel.status().peers.is_empty());
}

pub(crate) fn an_allowed_ip_moves() {
    let (scene, far) = Scene::connected(ONE);
    let socket = inner();
    socket.send_to(b"to one", (THERE[0], 7)).unwrap();
    assert_eq!(&far.receive_packet().1[28..34], b"to one");
    let other = Far::new(TWO);
    scene.tunnel.apply(with_peer(peer(TWO, None))).unwrap();
    other.connect();
    socket.send_to(b"to two", (THERE[0], 7)).unwrap();
    assert_eq!(&other.receive_packet().1[28..34], b"to two");
    // Nor may the first use it any more.
    let to = socket.local_addr().unwrap();
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"by one")));
    other.send(&other.seal(&udp_v4(THERE[0], 0, to, b"by two")));
    assert_eq!(received(&socket), b"by two");
}

pub(crate) fn a_removed_peer_is_cut_off() {
    let (scene, far) = Scene::connected(ONE);
    let socket = inner();
    let to = socket.local_addr().unwrap();
    let sender = socket.try_clone().unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let traffic = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // Refused by ICMP when the peer is gone.
            let _ = sender.send_to(b"traffic", (THERE[0], 7));
        }
    });
    far.receive_packet();
    let gone = PeerUpdate { remove: true, ..peer(ONE, None) };
    scene.tunnel.apply(with_peer(gone)).unwrap();
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"late")));
    // What was sent before the removal ends; then nothing comes.
    let other = Far::new(TWO);
    scene.tunnel.apply(with_peer(peer(TWO, None))).unwrap();
    other.connect();
    other.receive_packet();
    drop(stop);
    traffic.join().unwrap();
    far.socket.set_nonblocking(true).unwrap();
    while far.socket.recv(&mut [0; 2000]).is_ok() {}
    other.send(&other.seal(&udp_v4(THERE[0], 0, to, b"new")));
    assert_eq!(received_after_errors(&socket), b"new", "and not what the removed peer sent");
    assert!(far.socket.recv(&mut [0; 2000]).is_err());
}

pub(crate) fn a_new_private_key_ends_sessions() {
    let (scene, far) = Scene::connected(ONE);
    let socket = inner();
    let to = socket.local_addr().unwrap();
    let update = Update { private_key: Some(Secret::from([4; 32])), ..Update::default() };
    scene.tunnel.apply(update).unwrap();
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"old")));
    let again = Far { peer: Peer::new(public([4; 32])), ..far };
    again.connect();
    again.send(&again.seal(&udp_v4(THERE[0], 0, to, b"new")));
    assert_eq!(received(&socket), b"new");
}

pub(crate) fn a_new_port_keeps_the_session() {
    let (scene, mut far) = Scene::connected(ONE);
    let socket = inner();
    let to = socket.local_addr().unwrap();
    let port = PORT + 1;
    scene.tunnel.apply(Update { listen_port: Some(port), ..Update::default() }).unwrap();
    socket.send_to(b"there", (THERE[0], 7)).unwrap();
    let (received_there, packet) = far.receive_packet();
    assert_eq!((&packet[28..33], received_there.from.port()), (&b"there"[..], port));
    far.target.set_port(port);
    far.send(&far.seal(&udp_v4(THERE[0], 0, to, b"back")));
    assert_eq!(received(&socket), b"back");
    // A thread that is sending may hold the old sockets for a moment.
    let end = Clock::now() + PATIENCE;
    while UdpSocket::bind(("0.0.0.0", PORT)).is_err() {
        assert!(Clock::now() < end, "the old port is not free");
        std::thread::yield_now();
    }
}

pub(crate) fn a_new_mark_counts_at_once() {
    let (scene, far) = Scene::connected(ONE);
    // Marked packets take another route, from another address. Local addresses come after it.
    ip("route add local 127.0.0.0/8 dev lo src 127.0.0.77 table 99");
    ip("rule add fwmark 9 pref 1 lookup 99");
    ip("rule add pref 2 lookup local");
    ip("rule delete pref 0");
    let socket = inner();
    for (mark, source) in [(9, [127, 0, 0, 77]), (0, [127, 0, 0, 1])] {
        scene.tunnel.apply(Update { fwmark: Some(mark), ..Update::default() }).unwrap();
        socket.send_to(b"data", (THERE[0], 7)).unwrap();
        assert_eq!(far.receive_packet().0.from, SocketAddr::from((source, PORT)));
    }
}

pub(crate) fn only_congestion_marks_go_outside() {
    let (_scene, far) = Scene::connected(ONE);
    let socket = inner();
    for class in [0, 1, 2, 3, 0xb8, 0xb8 | 2] {
        setsockopt(&socket, sockopt::Ipv4Tos, &class).unwrap();
        socket.send_to(b"class", (THERE[0], 7)).unwrap();
        let (received, packet) = far.receive_packet();
        assert_eq!(i32::from(packet[1]), class);
        assert_eq!(i32::from(received.tos), class & 3);
    }
    let socket = UdpSocket::bind((HERE[1], 0)).unwrap();
    setsockopt(&socket, sockopt::Ipv6TClass, &(0xb8 | 1)).unwrap();
    socket.send_to(b"class", (THERE[1], 7)).unwrap();
    assert_eq!(far.receive_packet().0.tos, 1);
}

pub(crate) fn congestion_met_outside_is_told_inside() {
    let (_scene, far) = Scene::connected(ONE);
    let socket = inner();
    setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
    let to = socket.local_addr().unwrap();
    for (inside, outside, told) in [(2, 3, 3), (0, 3, 0), (0xb8 | 1, 3, 0xb8 | 3), (2, 1, 1)] {
        let message = far.seal(&udp_v4(THERE[0], inside, to, b"marked"));
        far.send_marked(&message, outside);
        assert_eq!(class_of_next(&socket), told, "{inside} in {outside}");
    }
}

pub(crate) fn the_outer_packet_may_be_cut() {
    let (_scene, far) = Scene::connected(ONE);
    // The path outside takes less than what fits the interface.
    ip("link set lo mtu 1280");
    let payload = [7; 1300];
    inner().send_to(&payload, (THERE[0], 7)).unwrap();
    let (_, packet) = far.receive_packet();
    assert_eq!(packet[6] & 0x40, 0x40, "the inner one must not be cut");
    assert_eq!(packet[28..][..payload.len()], payload);
}

pub(crate) fn handshakes_have_their_traffic_class() {
    let scene = Scene::new();
    let far = Far::new(ONE);
    scene.tunnel.apply(with_peer(peer(ONE, Some(far.address())))).unwrap();
    inner().send_to(b"data", (THERE[0], 7)).unwrap();
    let initiation = far.receive();
    assert_eq!((initiation.bytes[0], initiation.tos), (1, 0x88));
    far.answer(&initiation.bytes);
    assert_eq!(far.receive_packet().0.tos, 0);
}

pub(crate) fn a_packet_for_nobody_is_answered() {
    let _scene = Scene::new();
    for (here, nobody) in HERE.into_iter().zip(NOBODY) {
        let socket = UdpSocket::bind((here, 0)).unwrap();
        hear_all_errors(&socket);
        socket.connect((nobody, 7)).unwrap();
        assert_eq!(error_of(&socket, b"hello"), Errno::EHOSTUNREACH);
    }
}

pub(crate) fn a_packet_without_an_endpoint_is_answered() {
    let scene = Scene::new();
    scene.tunnel.apply(with_peer(peer(ONE, None))).unwrap();
    for (here, there) in HERE.into_iter().zip(THERE) {
        let socket = UdpSocket::bind((here, 0)).unwrap();
        hear_all_errors(&socket);
        socket.connect((there, 7)).unwrap();
        assert_eq!(error_of(&socket, b"hello"), Errno::EHOSTUNREACH);
    }
}

pub(crate) fn an_oversize_packet_is_answered() {
    let (_scene, far) = Scene::connected(ONE);
    ip("link set wg0 mtu 65535");
    for (here, there) in HERE.into_iter().zip(THERE) {
        let socket = UdpSocket::bind((here, 0)).unwrap();
        socket.connect((there, 7)).unwrap();
        socket.send(&[7; 65_400]).unwrap();
        assert_eq!(far.receive_packet().1[0] >> 4, if here == HERE[0] { 4 } else { 6 });
        assert_eq!(error_of(&socket, &[7; 65_480]), Errno::EMSGSIZE);
    }
}

/// Also those that need not last.
fn hear_all_errors(socket: &UdpSocket) {
    if socket.local_addr().unwrap().is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true).unwrap();
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true).unwrap();
    }
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let length = socket.recv(&mut buffer).expect("a packet comes");
    buffer.truncate(length);
    buffer
}

/// ICMP errors may have been left for the socket.
fn received_after_errors(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let end = Clock::now() + PATIENCE;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return buffer;
            }
            Err(error) => assert!(Clock::now() < end, "{error}"),
        }
    }
}

fn class_of_next(socket: &UdpSocket) -> u8 {
    use std::os::fd::AsRawFd;
    let (mut buffer, mut control) = ([0; 100], nix::cmsg_space!(i32));
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let fd = socket.as_raw_fd();
    let received = recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
    let class = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        _ => None,
    });
    class.expect("it was asked for")
}

/// An IPv6 packet with a UDP datagram.
fn udp_v6(source: &str, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let length = (8 + payload.len()) as u16;
    let mut udp =
        [7u16.to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    udp.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.extend(octets(source));
    packet.extend(octets(&to.ip().to_string()));
    // The pseudo header: addresses, length, protocol.
    let words = packet[8..40].chunks(2).chain(udp.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    sum += u32::from(length) + 17;
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    udp[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend(udp);
    packet
}
