//! Packets of both directions, inside and outside.

use std::net::{SocketAddr, UdpSocket};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::inner::{class_of_next, error_of, hear_all_errors, inner, received, udp_v4, udp_v6};
use crate::scene::{Far, HERE, NOBODY, ONE, PATIENCE, PORT, Scene, THERE, ip, peer, with_peer};

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
