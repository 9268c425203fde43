//! Who is answered, and when there is a session.

use std::net::UdpSocket;
use std::time::{Duration, Instant as Clock};

use wg_noise::{MAX_STAGED_PACKETS, Message, Peer};
use wg_tunnel::{AllowedIp, AllowedIpChange, PeerUpdate};

use crate::inner::inner;
use crate::scene::{
    COOKIE_REPLY, Far, INITIATION, ONE, PATIENCE, RESPONSE, Scene, THERE, TWO, ip, now, peer,
    public, with_peer,
};

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
