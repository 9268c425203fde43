//! What changes under traffic.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant as Clock;

use wg_noise::Peer;
use wg_tunnel::{PeerUpdate, Secret, Update};

use crate::inner::{inner, received, received_after_errors, udp_v4};
use crate::scene::{Far, ONE, PATIENCE, PORT, Scene, THERE, TWO, ip, peer, public, with_peer};

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
