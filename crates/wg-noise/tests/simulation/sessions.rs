//! How sessions come up, and what they do to packets.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::network::{Conditions, Kind, Network};
use crate::two_hosts::{A, B, sorted, stream};

pub(crate) fn a_session_comes_up_and_data_flows_both_ways() {
    let mut network = Network::new(1, 2);
    let start = network.now;
    let first = network.send(A, B);
    network.run(1.0);
    let reply = network.send(B, A);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B), [first]);
    assert_eq!(network.delivered_ids(B, A), [reply]);
    assert_eq!(network.sent_times(A, Kind::Initiation, start), [0.0]);
    assert_eq!(network.sent_times(B, Kind::Response, start).len(), 1);
    assert_eq!(network.sent_times(B, Kind::Initiation, start).len(), 0);
    assert!(network.peer(A, B).last_handshake().is_some());
    assert!(network.peer(B, A).last_handshake().is_some());
}

pub(crate) fn three_hosts_keep_their_sessions_apart() {
    let mut network = Network::new(2, 3);
    let mut expected = Vec::new();
    for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
        expected.push((from, to, network.send(from, to)));
        network.run(0.5);
    }
    for (from, to, id) in expected {
        assert_eq!(network.delivered_ids(from, to), [id]);
    }
}

pub(crate) fn both_may_initiate_at_the_same_instant() {
    for seed in 0..10 {
        let mut network = Network::new(seed, 2);
        let start = network.now;
        let there = network.send(A, B);
        let back = network.send(B, A);
        network.run(1.0);
        assert_eq!(network.delivered_ids(A, B), [there]);
        assert_eq!(network.delivered_ids(B, A), [back]);
        let there = stream(&mut network, A, B, 0.5, 50.0);
        let back = stream(&mut network, B, A, 0.5, 50.0);
        network.run(60.0);
        assert_eq!(network.delivered_ids(A, B)[1..], there);
        assert_eq!(network.delivered_ids(B, A)[1..], back);
        for host in [A, B] {
            assert_eq!(network.sent_times(host, Kind::Initiation, start), [0.0]);
        }
    }
}

pub(crate) fn the_responder_cannot_send_before_the_session_is_confirmed() {
    let mut network = Network::new(6, 2);
    network.conditions.blocked = vec![(A, Kind::Data), (A, Kind::Keepalive)];
    let start = network.now;
    network.send(A, B);
    network.run(1.0);
    assert_eq!(network.sent_times(B, Kind::Response, start).len(), 1);
    assert!(network.peer(A, B).reserve(1, network.now).is_some());
    assert!(network.peer(B, A).last_handshake().is_none());
    let waiting = network.send(B, A);
    network.run(1.0);
    assert!(network.peer(B, A).has_staged());
    assert!(network.sent_times(B, Kind::Data, start).is_empty());

    network.conditions = Conditions::clean();
    network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(B, A), [waiting], "sent as soon as it is confirmed");
    assert!(network.peer(B, A).last_handshake().is_some());
}

pub(crate) fn a_bad_network_loses_and_reorders_but_never_repeats_or_changes() {
    for seed in 0..8 {
        let mut network = Network::new(seed, 2);
        network.conditions = Conditions {
            loss: 30,
            duplication: 20,
            delay: Duration::from_millis(1)..Duration::from_millis(400),
            ..Conditions::clean()
        };
        let there = stream(&mut network, A, B, 0.05, 300.0);
        let back = stream(&mut network, B, A, 0.05, 300.0);
        network.run(310.0);
        for (from, to, sent) in [(A, B, there), (B, A, back)] {
            let delivered = network.delivered_ids(from, to);
            let distinct: BTreeSet<_> = delivered.iter().collect();
            assert_eq!(distinct.len(), delivered.len(), "delivered twice, seed {seed}");
            assert!(!delivered.is_sorted(), "this network reorders, seed {seed}");
            assert!(
                delivered.len() * 100 > sent.len() * 60,
                "{} of {} came through, seed {seed}",
                delivered.len(),
                sent.len()
            );
        }
    }
}

pub(crate) fn at_most_128_packets_wait_and_the_oldest_give_way() {
    let mut network = Network::new(13, 2);
    network.conditions = Conditions::cut();
    let sent = stream(&mut network, A, B, 0.01, 2.0);
    assert_eq!(sent.len(), 200);
    network.run(3.0);
    network.conditions = Conditions::clean();
    network.run(5.0);
    assert_eq!(sorted(network.delivered_ids(A, B)), sent[72..]);
}
