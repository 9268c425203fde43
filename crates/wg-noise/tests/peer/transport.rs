//! Transport messages, counters and the life of a keypair.

use wg_noise::{OpenError, REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, TRANSPORT_OVERHEAD};

use crate::side::{START, UNIX, after, connected, sides, tampered};

#[test]
fn a_transport_message_with_a_changed_byte_is_refused() {
    let (a, b) = connected();
    let message: [u8; 64] = a.seal(&[7; 32], START).unwrap().try_into().unwrap();
    for (position, changed) in tampered(message, 8..64) {
        assert_eq!(b.open(&changed, START), Err(OpenError::Authentication), "byte {position}");
    }
    for len in TRANSPORT_OVERHEAD..message.len() {
        assert_eq!(b.open(&message[..len], START), Err(OpenError::Authentication));
    }
    assert_eq!(b.open(&message, START).unwrap(), [7; 32]);
    let keypair = b.peer.keypair(u32::from_le_bytes(*message[4..].first_chunk().unwrap()), START);
    let short = keypair.unwrap().open(0, &mut [0; TRANSPORT_OVERHEAD - 1]).err();
    assert_eq!(short, Some(OpenError::Authentication));
}

#[test]
fn counters_are_taken_in_batches_and_accepted_once() {
    let (a, b) = connected();
    let batch = a.peer.reserve(3, START).unwrap();
    assert_eq!((batch.first, a.peer.reserve(1, START).unwrap().first), (1, 4));
    let keypair = b.peer.keypair(batch.keypair.remote_index(), START).unwrap();
    assert_eq!(keypair.remote_index(), batch.keypair.local_index());

    let mut fresh = [true, true, false, true];
    keypair.accept(&[1, 1, 2, 3], &mut fresh);
    assert_eq!(fresh, [true, false, false, true]);
    let mut fresh = [true, true, true];
    keypair.accept(&[1, 2, 3], &mut fresh);
    assert_eq!(fresh, [false, true, false], "what did not authenticate was not marked");
}

#[test]
fn threads_share_a_peer_and_never_a_counter() {
    let (a, b) = connected();
    let send = || -> Vec<Vec<u8>> { (0..500).map(|_| a.seal(&[1; 16], START).unwrap()).collect() };
    let messages: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let accepted =
        |messages: &[Vec<u8>]| messages.iter().filter(|message| b.accept(message, START)).count();
    let halves = messages.split_at(1000);
    let total: usize = std::thread::scope(|scope| {
        // Each half is received by two threads at once: the network duplicates.
        let receivers: Vec<_> = [halves.0, halves.0, halves.1, halves.1]
            .map(|half| scope.spawn(move || accepted(half)))
            .into();
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
    });
    assert_eq!(total, 2000);
}

#[test]
fn a_keypair_wears_out() {
    let (a, b) = connected();
    let worn = b.peer.reserve(REKEY_AFTER_MESSAGES, START).unwrap();
    let wanted = |now| b.peer.sent(&worn.keypair, true, now).initiation;
    assert!(!wanted(after(5000)), "the limit itself is allowed");
    let _ = b.peer.reserve(1, START).unwrap();
    assert!(wanted(after(5000)), "a responder's keypair, too");
    assert!(!wanted(START), "its last handshake message was just sent");

    let left = REJECT_AFTER_MESSAGES - REKEY_AFTER_MESSAGES - 1;
    assert!(b.peer.reserve(left + 1, START).is_none());
    let last = b.peer.reserve(left, START).unwrap();
    assert_eq!(last.first + left, REJECT_AFTER_MESSAGES);
    assert!(b.peer.reserve(1, START).is_none());
    assert!(b.peer.reserve(u64::MAX, START).is_none());

    let mut message = [0; 32];
    last.keypair.seal(REJECT_AFTER_MESSAGES, &mut message);
    assert_eq!(a.open(&message, START), Err(OpenError::Expired));
}

#[test]
fn a_keypair_ends_after_180_seconds() {
    let (a, b) = connected();
    let index = a.peer.reserve(1, after(179_999)).unwrap().keypair.remote_index();
    assert!(b.peer.keypair(index, after(179_999)).is_some());
    assert!(a.peer.reserve(1, after(180_000)).is_none());
    assert!(b.peer.keypair(index, after(180_000)).is_none());
    for bit in 0..32 {
        assert!(b.peer.keypair(index ^ 1 << bit, START).is_none(), "bit {bit}");
    }
}

#[test]
fn a_packet_staged_too_late_is_sent_with_the_next() {
    let (a, _) = connected();
    a.peer.stage(b"late");
    let batch = a.peer.reserve(1, START).unwrap();
    assert!(a.peer.sent(&batch.keypair, true, START).staged);
    assert_eq!(a.peer.take_staged(), [Box::from(*b"late")]);
    assert!(!a.peer.sent(&batch.keypair, true, START).staged);
}

#[test]
fn reset_forgets_all_but_the_settings() {
    let (a, _) = connected();
    let _ = a.peer.set_persistent_keepalive(25, START);
    a.peer.stage(b"packet");
    a.peer.reset();
    assert_eq!(a.indices_in_use(), 0);
    assert_eq!(a.peer.deadline(), None);
    assert!(!a.peer.has_staged());
    assert_eq!(a.peer.persistent_keepalive(), 25);
    assert_eq!(a.peer.public_key(), sides().1.local.public_key());
}

#[test]
fn debug_shows_no_secret() {
    let (a, _) = connected();
    let batch = a.peer.reserve(1, START).unwrap();
    let shown = format!("{batch:?} {:?}", a.peer);
    assert!(shown.contains("remote_index") && shown.contains("public_key"));
    assert!(!shown.contains("sending") && !shown.contains("preshared"), "{shown}");
}

#[test]
fn a_keypair_near_its_end_asks_for_one_handshake() {
    let (a, b) = connected();
    let keypair = a.peer.reserve(1, START).unwrap().keypair;
    let wanted = |now| a.peer.received(&keypair, false, now, UNIX).initiation;
    assert!(!wanted(after(164_999)));
    assert!(wanted(after(165_000)));
    assert!(!wanted(after(175_000)), "retransmissions are the timer's task");
    let theirs = b.peer.reserve(1, START).unwrap().keypair;
    let wanted = b.peer.received(&theirs, false, after(165_000), UNIX);
    assert!(!wanted.initiation, "the initiator renews");
}

#[test]
fn a_keypair_that_has_a_successor_asks_for_no_handshake() {
    let (mut a, mut b) = connected();
    let previous = a.peer.reserve(1, START).unwrap().keypair;
    let initiation = a.initiate(after(120_000)).unwrap();
    let response = b.answer(&initiation, after(120_000)).unwrap();
    let _ = a.finish(&response, after(120_000)).unwrap();
    assert!(!a.peer.received(&previous, true, after(170_000), UNIX).initiation);
    assert!(!a.peer.sent(&previous, true, after(170_000)).initiation);
}
