//! How keys are renewed, and how they end.

use wg_noise::{Instant, REKEY_AFTER_MESSAGES};

use crate::network::{Conditions, Kind, Network};
use crate::two_hosts::{A, B, assert_near, connected, sorted, stream};

pub(crate) fn keys_are_renewed_every_two_minutes_under_load_without_loss() {
    let mut network = Network::new(3, 2);
    let start = network.now;
    let there = stream(&mut network, A, B, 0.015, 400.0);
    let back = stream(&mut network, B, A, 0.019, 400.0);
    network.run(401.0);
    assert!(sorted(network.delivered_ids(A, B)) == there, "some were lost from A to B");
    assert!(sorted(network.delivered_ids(B, A)) == back, "some were lost from B to A");

    // Both began at once; then they agree on whose session it is and who renews it.
    let renewals = [A, B].map(|host| {
        let initiations = network.sent_times(host, Kind::Initiation, start);
        assert_eq!(initiations[0], 0.0);
        initiations[1..].to_vec()
    });
    let [renewals] = renewals
        .into_iter()
        .filter(|at| !at.is_empty())
        .collect::<Vec<_>>()
        .try_into()
        .expect("one side renews");
    assert_eq!(renewals.len(), 3, "{renewals:?}");
    for (i, &at) in renewals.iter().enumerate() {
        assert_near(at, 120.0 * (i + 1) as f64);
    }
}

pub(crate) fn only_the_initiator_renews_and_does_so_at_120_seconds() {
    let mut network = connected(4);
    let start = Instant::from_nanos(1_000_000_000);
    let there = stream(&mut network, A, B, 0.015, 250.0);
    let back = stream(&mut network, B, A, 0.015, 250.0);
    network.run(251.0);
    assert!(sorted(network.delivered_ids(A, B))[1..] == there, "some were lost from A to B");
    assert!(sorted(network.delivered_ids(B, A)) == back, "some were lost from B to A");
    let initiations = network.sent_times(A, Kind::Initiation, start);
    assert_eq!(initiations.len(), 3, "{initiations:?}");
    for (i, &at) in initiations.iter().enumerate() {
        assert_near(at, 120.0 * i as f64);
    }
    assert!(network.sent_times(B, Kind::Initiation, start).is_empty());
}

pub(crate) fn a_receiver_renews_its_keys_once_before_they_expire() {
    let mut network = connected(5);
    let start = Instant::from_nanos(1_000_000_000);
    // Keepalives want no answer, so A sends nothing that would renew the keys at 120 s.
    let wanted = network.peer(B, A).set_persistent_keepalive(5, network.now);
    network.obey(B, A, wanted);
    network.conditions.blocked = vec![(A, Kind::Initiation)];
    network.run(179.0);
    let initiations = network.sent_times(A, Kind::Initiation, start);
    assert_eq!(initiations[0], 0.0);
    assert!((165.0..170.5).contains(&initiations[1]), "{initiations:?}");
    for pair in initiations[1..].windows(2) {
        assert!(pair[1] - pair[0] >= 5.0, "one lastminute handshake, then its retransmissions");
    }
}

pub(crate) fn a_session_ends_after_180_seconds() {
    let mut network = connected(16);
    // Without a new handshake, which would renew the keys.
    network.conditions.blocked = vec![(A, Kind::Initiation), (B, Kind::Initiation)];
    let start = Instant::from_nanos(1_000_000_000);
    network.run(0.5);
    let sent = stream(&mut network, A, B, 1.0, 200.0);
    network.run(250.0);
    // The first of the stream was sent 1.5 s after the handshake began.
    assert_eq!(network.delivered_ids(A, B)[1..], sent[..179]);
    let last = network.sent_times(A, Kind::Data, start).pop().unwrap();
    assert_near(last, 179.5);
    assert!(network.peer(A, B).reserve(1, network.now).is_none());
    assert!(network.peer(B, A).reserve(1, network.now).is_none());
}

pub(crate) fn keys_are_renewed_after_2_to_the_60_messages() {
    let mut network = connected(21);
    network.run(5.0);
    let start = network.now;
    // As if so many had been sent; one was, and the next two are the last of the limit.
    assert!(network.peer(A, B).reserve(REKEY_AFTER_MESSAGES - 3, start).is_some());
    let sent = stream(&mut network, A, B, 0.5, 1.5);
    network.run(0.9);
    assert!(network.sent_times(A, Kind::Initiation, start).is_empty(), "the limit itself");
    network.run(1.0);
    assert_eq!(network.sent_times(A, Kind::Initiation, start).len(), 1);
    network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B)[1..].len(), sent.len() + 1);
}

pub(crate) fn keys_are_zeroed_after_540_seconds() {
    let mut network = connected(17);
    network.run(538.0);
    assert_eq!(network.hosts[A].indices.in_use(), 1);
    assert_eq!(network.hosts[B].indices.in_use(), 1);
    network.run(2.0);
    assert_eq!(network.hosts[A].indices.in_use(), 0);
    assert_eq!(network.hosts[B].indices.in_use(), 0);
    assert_eq!(network.peer(A, B).deadline(), None, "nothing is left to do");
    let revived = network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B).last(), Some(&revived));
}

pub(crate) fn what_is_left_of_a_handshake_is_zeroed_too() {
    let mut network = Network::new(18, 2);
    network.conditions = Conditions::cut();
    network.send(A, B);
    network.run(100.0);
    assert_eq!(network.hosts[A].indices.in_use(), 1);
    network.run(540.0);
    assert_eq!(network.hosts[A].indices.in_use(), 0);
    assert_eq!(network.peer(A, B).deadline(), None);
}
