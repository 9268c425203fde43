//! Handshake messages: what is accepted and what is refused.

use std::net::SocketAddr;

use wg_noise::{
    COOKIE_REPLY_LEN, CookieChecker, HandshakeError, IncomingInitiation, LocalStatic, MacState,
    Peer, PresharedKey, PublicKey, Wanted,
};

use crate::side::{START, UNIX, after, connected, sides, tampered};

#[test]
fn with_and_without_a_preshared_key() {
    for preshared in [None, Some([9; 32])] {
        let (mut a, mut b) = sides();
        a.peer.set_preshared_key(preshared.map(PresharedKey::from));
        b.peer.set_preshared_key(preshared.map(PresharedKey::from));
        let initiation = a.initiate(START).unwrap();
        let response = b.answer(&initiation, START).unwrap();
        assert!(b.peer.reserve(1, START).is_none(), "not confirmed");
        let wanted = a.finish(&response, START).unwrap();
        assert_eq!(wanted, Wanted { initiation: false, staged: true, keepalive: true });
        assert_eq!(b.open(&a.seal(b"there", START).unwrap(), START).unwrap(), b"there");
        assert_eq!(a.open(&b.seal(b"back", START).unwrap(), START).unwrap(), b"back");
        assert_eq!(a.peer.last_handshake(), Some(UNIX));
        assert_eq!(b.peer.last_handshake(), Some(UNIX));
    }
}

#[test]
fn the_initiator_refuses_another_preshared_key() {
    for (ours, theirs) in
        [(Some([1; 32]), None), (None, Some([1; 32])), (Some([1; 32]), Some([2; 32]))]
    {
        let (mut a, mut b) = sides();
        a.peer.set_preshared_key(ours.map(PresharedKey::from));
        b.peer.set_preshared_key(theirs.map(PresharedKey::from));
        let initiation = a.initiate(START).unwrap();
        let response = b.answer(&initiation, START).unwrap();
        assert_eq!(a.finish(&response, START), Err(HandshakeError::Authentication));
        assert!(a.peer.reserve(1, START).is_none());
    }
}

#[test]
fn a_preshared_key_may_be_cleared() {
    let (mut a, mut b) = sides();
    a.peer.set_preshared_key(Some(PresharedKey::from([1; 32])));
    a.peer.set_preshared_key(None);
    let initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    assert!(a.finish(&response, START).is_ok());
}

#[test]
fn an_initiation_for_somebody_else_does_not_open() {
    let (mut a, b) = sides();
    let initiation = a.initiate(START).unwrap();
    let other = LocalStatic::new(&[0x33; 32]);
    let refused = IncomingInitiation::open(&other, &initiation);
    assert_eq!(refused.err(), Some(HandshakeError::Authentication));
    let source = "192.0.2.1:1".parse::<SocketAddr>().unwrap();
    let check = |key: &PublicKey| CookieChecker::new(key).check(&initiation, source, START);
    assert_eq!(check(other.public_key()), MacState::Invalid);
    assert_eq!(check(b.local.public_key()), MacState::Mac1);
}

#[test]
fn an_initiation_is_not_another_peers() {
    let (mut a, mut b) = sides();
    let initiation = a.initiate(START).unwrap();
    let opened = IncomingInitiation::open(&b.local, &initiation).unwrap();
    assert_eq!(opened.public_key(), a.local.public_key());
    let other = Peer::new(*LocalStatic::new(&[0x33; 32]).public_key());
    let index = b.index();
    let refused = other.consume_initiation(&b.local, opened, index, START, &mut b.rng);
    assert_eq!(refused, Err(HandshakeError::Authentication));
    assert_eq!(b.indices_in_use(), 0, "the index is free again");
}

/// The sender's index, bytes 4 to 8, is protected by mac1 alone.
#[test]
fn an_initiation_with_a_changed_byte_is_refused_and_leaves_no_trace() {
    let (mut a, mut b) = sides();
    let initiation = a.initiate(START).unwrap();
    for (position, changed) in tampered(initiation, 8..116) {
        let refused = b.answer(&changed, START);
        assert_eq!(refused, Err(HandshakeError::Authentication), "byte {position}");
        assert_eq!(b.indices_in_use(), 0);
    }
    assert_eq!(b.peer.deadline(), None);
    assert!(b.answer(&initiation, START).is_ok());
}

#[test]
fn a_response_with_a_changed_byte_is_refused_and_leaves_the_handshake_open() {
    let (mut a, mut b) = sides();
    let initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    for (position, changed) in tampered(response, 8..12) {
        assert_eq!(a.finish(&changed, START), Err(HandshakeError::Unexpected), "byte {position}");
    }
    for (position, changed) in tampered(response, 12..60) {
        let refused = a.finish(&changed, START);
        assert_eq!(refused, Err(HandshakeError::Authentication), "byte {position}");
    }
    assert!(a.peer.reserve(1, START).is_none());
    assert!(a.finish(&response, START).is_ok());
    assert_eq!(a.finish(&response, START), Err(HandshakeError::Unexpected), "only once");
}

#[test]
fn only_the_latest_initiation_may_be_answered() {
    let (mut a, mut b) = sides();
    let first = a.initiate(START).unwrap();
    let late = b.answer(&first, START).unwrap();
    let second = a.initiate(after(5000)).unwrap();
    assert_eq!(a.finish(&late, after(5000)), Err(HandshakeError::Unexpected));
    let response = b.answer(&second, after(5000)).unwrap();
    assert!(a.finish(&response, after(5000)).is_ok());
}

#[test]
fn an_initiation_is_not_answered_after_the_next_is_due() {
    for (millis, ends) in [(5333, true), (5334, false)] {
        let (mut a, mut b) = sides();
        let initiation = a.initiate(START).unwrap();
        let response = b.answer(&initiation, START).unwrap();
        let end = a.finish(&response, after(millis));
        assert_eq!(end.err(), (!ends).then_some(HandshakeError::Unexpected));
        assert_eq!(a.indices_in_use(), usize::from(ends));
    }
}

/// The peer renews the session while our initiation is held back on the way.
#[test]
fn an_old_initiation_is_forgotten_when_the_peers_is_answered() {
    for (millis, kept) in [(5333, true), (5334, false)] {
        let (mut a, mut b) = sides();
        let _held_back = a.initiate(START).unwrap();
        let theirs = b.initiate(after(millis)).unwrap();
        assert!(a.answer(&theirs, after(millis)).is_ok());
        assert_eq!(a.indices_in_use(), 1 + usize::from(kept));
    }
}

#[test]
fn an_initiation_is_accepted_once() {
    let (mut a, mut b) = sides();
    let first = a.initiate(START).unwrap();
    let second = a.initiate(after(5000)).unwrap();
    assert!(b.answer(&second, after(5000)).is_ok());
    for now in [after(5000), after(60_000)] {
        assert_eq!(b.answer(&second, now), Err(HandshakeError::Replay));
        assert_eq!(b.answer(&first, now), Err(HandshakeError::Replay), "an older one");
    }
    b.peer.reset();
    assert_eq!(b.answer(&second, after(60_000)), Err(HandshakeError::Replay));
}

#[test]
fn a_peer_may_initiate_fifty_times_a_second() {
    let (mut a, mut b) = sides();
    let mut initiation = |millis| {
        a.peer.reset();
        a.initiate(after(millis)).unwrap()
    };
    let messages = [0, 100, 200].map(&mut initiation);
    assert!(b.answer(&messages[0], START).is_ok());
    assert_eq!(b.answer(&messages[1], after(19)), Err(HandshakeError::Flood));
    assert!(b.answer(&messages[1], after(20)).is_ok());
    assert!(b.answer(&messages[2], after(40)).is_ok());
}

#[test]
fn an_initiation_is_sent_every_five_seconds_at_most() {
    let (mut a, _) = sides();
    assert!(a.initiate(START).is_some());
    assert!(a.initiate(after(4999)).is_none());
    assert_eq!(a.indices_in_use(), 1, "an index that was not needed is free");
    assert!(a.initiate(after(5000)).is_some());
    assert_eq!(a.indices_in_use(), 1, "the older handshake is forgotten");
    a.peer.reset();
    assert_eq!(a.indices_in_use(), 0);
    assert!(a.initiate(after(5001)).is_some());
}

#[test]
fn keys_of_low_order_are_refused() {
    let (mut a, _) = sides();
    a.peer = Peer::new(PublicKey::from([0; 32]));
    assert!(a.initiate(START).is_none());
    assert_eq!(a.indices_in_use(), 0);
    assert_eq!(a.peer.deadline(), None, "there is no use in trying again");

    let (mut a, mut b) = sides();
    let mut initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    initiation[8..40].fill(0);
    assert_eq!(b.answer(&initiation, START), Err(HandshakeError::InvalidKey));
    let mut forged = response;
    forged[12..44].fill(0);
    assert_eq!(a.finish(&forged, START), Err(HandshakeError::InvalidKey));
    assert!(a.finish(&response, START).is_ok());
}

#[test]
fn a_new_local_key_needs_no_new_peer() {
    let (mut a, mut b) = connected();
    a.local = LocalStatic::new(&[0x44; 32]);
    b.peer = Peer::new(*a.local.public_key());
    let now = after(5000);
    let initiation = a.initiate(now).unwrap();
    let response = b.answer(&initiation, now).unwrap();
    assert!(a.finish(&response, now).is_ok());
    assert_eq!(b.open(&a.seal(b"again", now).unwrap(), now).unwrap(), b"again");
}

#[test]
fn a_cookie_reply_is_for_whom_waits_for_one() {
    let (mut a, mut b) = sides();
    let source = "192.0.2.1:51820".parse::<SocketAddr>().unwrap();
    let checker = CookieChecker::new(b.local.public_key());
    let nothing = [0; COOKIE_REPLY_LEN];
    assert_eq!(a.peer.consume_cookie_reply(&nothing, START), Err(HandshakeError::Unexpected));
    let initiation = a.initiate(START).unwrap();
    assert_eq!(a.peer.consume_cookie_reply(&nothing, START), Err(HandshakeError::Authentication));
    let reply = checker.reply(&initiation, source, START, &mut b.rng);
    assert_eq!(reply[4..8], initiation[4..8]);
    a.peer.consume_cookie_reply(&reply, START).unwrap();
    let again = a.initiate(after(5000)).unwrap();
    assert_eq!(checker.check(&again, source, after(5000)), MacState::Mac2);
}

#[test]
fn a_response_carries_a_mac2_too() {
    let (mut a, mut b) = sides();
    let source = "192.0.2.2:51820".parse::<SocketAddr>().unwrap();
    let checker = CookieChecker::new(a.local.public_key());
    let initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    assert_eq!(checker.check(&response, source, START), MacState::Mac1);
    let reply = checker.reply(&response, source, START, &mut a.rng);
    b.peer.consume_cookie_reply(&reply, START).unwrap();
    let initiation = a.initiate(after(5000)).unwrap();
    let response = b.answer(&initiation, after(5000)).unwrap();
    assert_eq!(checker.check(&response, source, after(5000)), MacState::Mac2);
}

/// Each side's keepalive arrives last, when the other's handshake has ended too.
#[test]
fn sessions_that_crossed_are_renewed_before_they_expire() {
    let (mut b, mut a) = sides();
    let (from_a, from_b) = (a.initiate(START).unwrap(), b.initiate(START).unwrap());
    let response = a.answer(&from_b, START).unwrap();
    let _ = b.finish(&response, START).unwrap();
    let confirms_bs = b.seal(&[], START).unwrap();
    let response = b.answer(&from_a, START).unwrap();
    let _ = a.finish(&response, START).unwrap();
    let confirms_as = a.seal(&[], START).unwrap();
    a.open(&confirms_bs, START).unwrap();
    b.open(&confirms_as, START).unwrap();
    let wants = |millis| {
        [&a, &b].map(|side| {
            let keypair = side.peer.reserve(1, after(millis)).unwrap().keypair;
            side.peer.sent(&keypair, true, after(millis)).initiation
        })
    };
    assert_eq!(wants(169_999), [false, false], "both are responders");
    assert_eq!(wants(170_000), [true, true]);
}

/// Kernel: `wg_packet_send_handshake_initiation` and its like call the timers' events for any
/// authenticated packet.
#[test]
fn handshake_messages_are_packets_to_the_timers() {
    // Each side gets a packet, and sends one: a keepalive and a new handshake are due.
    let busy = || {
        let (a, b) = connected();
        for (from, to) in [(&a, &b), (&b, &a)] {
            to.open(&from.seal(b"data", after(6000)).unwrap(), after(6000)).unwrap();
        }
        assert_eq!(a.peer.deadline(), Some(after(16_000)), "a keepalive");
        let keypair = b.peer.reserve(1, after(7000)).unwrap().keypair;
        assert!(!b.peer.sent(&keypair, true, after(7000)).initiation);
        (a, b)
    };

    let (mut a, mut b) = busy();
    let initiation = a.initiate(after(8000)).unwrap();
    assert!(!a.peer.poll(after(16_000)).keepalive, "the initiation was answer enough");
    b.answer(&initiation, after(8000)).unwrap();
    let due = b.peer.poll(after(22_333));
    assert!(!due.initiation, "the initiation was an answer");

    let (mut a, mut b) = busy();
    b.open(&a.seal(b"data", after(9500)).unwrap(), after(9500)).unwrap();
    let initiation = a.initiate(after(10_000)).unwrap();
    b.answer(&initiation, after(10_000)).unwrap();
    assert!(!b.peer.poll(after(19_500)).keepalive, "the response was answer enough");
}

#[test]
fn a_keypair_is_as_old_as_the_response() {
    let (mut a, mut b) = sides();
    let initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    assert!(a.finish(&response, after(3000)).is_ok());
    assert!(a.peer.reserve(1, after(182_999)).is_some());
    assert!(a.peer.reserve(1, after(183_000)).is_none());
}
