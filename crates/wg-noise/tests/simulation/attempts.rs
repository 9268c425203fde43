//! Handshakes that are not answered, or only with a cookie.

use std::time::Duration;

use crate::network::{Conditions, Kind, Network};
use crate::two_hosts::{A, B, connected, seconds, stream};

pub(crate) fn a_handshake_is_given_up_after_90_seconds_and_taken_up_for_new_data() {
    let mut network = Network::new(11, 2);
    network.conditions = Conditions::cut();
    let start = network.now;
    network.send(A, B);
    network.run(89.0);
    assert!(network.peer(A, B).has_staged());
    network.run(7.0);
    assert!(!network.peer(A, B).has_staged());
    network.run(400.0);
    let initiations = network.sent_times(A, Kind::Initiation, start);
    assert!((17..=18).contains(&initiations.len()), "{initiations:?}");
    assert!(initiations.last().is_some_and(|&last| last < 90.0));
    let gaps: Vec<_> = initiations.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (5.0..5.334).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > 5.05), "there is jitter: {gaps:?}");

    network.conditions = Conditions::clean();
    let revived = network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B), [revived]);
}

pub(crate) fn new_data_starts_the_90_seconds_over() {
    let mut network = Network::new(12, 2);
    network.conditions = Conditions::cut();
    let start = network.now;
    network.send(A, B);
    network.send_at(start + seconds(80.0), A, B);
    network.run(300.0);
    let last = network.sent_times(A, Kind::Initiation, start).pop().unwrap();
    assert!((160.0..170.0).contains(&last), "{last}");
}

pub(crate) fn unanswered_data_brings_a_new_handshake_after_15_seconds() {
    let mut network = connected(14);
    network.run(30.0);
    network.conditions = Conditions::cut();
    let start = network.now;
    stream(&mut network, A, B, 1.0, 10.0);
    network.run(20.0);
    let initiations = network.sent_times(A, Kind::Initiation, start);
    assert!((15.0..15.334).contains(&initiations[0]), "{initiations:?}");
}

pub(crate) fn a_restarted_peer_is_found_again() {
    let mut network = connected(15);
    network.run(10.0);
    network.restart(B);
    let sent = stream(&mut network, A, B, 1.0, 30.0);
    network.run(31.0);
    let delivered = network.delivered_ids(A, B);
    assert!(!delivered.contains(&sent[0]), "B has no keys for it");
    assert!(delivered.contains(&sent[29]));
}

pub(crate) fn a_wall_clock_that_jumps_stops_no_handshake() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let mut network = connected(22);
    let start = network.now;
    let mut sent = Vec::new();
    for wall in [network.wall - YEAR, network.wall + YEAR, network.wall] {
        network.wall = wall;
        sent.extend(stream(&mut network, A, B, 0.5, 130.0));
        network.run(130.0);
    }
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B)[1..], sent);
    assert_eq!(network.sent_times(A, Kind::Initiation, start).len(), 3, "one for each renewal");
    assert_eq!(network.sent_times(B, Kind::Response, start).len(), 3);
}

pub(crate) fn after_a_sleep_there_is_one_new_handshake() {
    let mut network = connected(23);
    let wanted = network.peer(A, B).set_persistent_keepalive(25, network.now);
    network.obey(A, B, wanted);
    // Until B has answered the data of the start with a keepalive.
    network.run(12.0);
    network.sleep(3600.0);
    let awake = network.now;
    assert!(network.peer(A, B).reserve(1, awake).is_none(), "the session is too old");
    network.run(1.0);
    assert_eq!(network.sent_times(A, Kind::Initiation, awake), [0.0]);
    assert_eq!(network.sent_times(B, Kind::Response, awake).len(), 1);
    assert_eq!(network.sent_times(A, Kind::Keepalive, awake).len(), 1);
    assert_eq!(network.sent_times(B, Kind::Keepalive, awake).len(), 0);
    for host in [A, B] {
        assert_eq!(network.hosts[host].indices.in_use(), 1, "the old keys are zeroed");
    }
    let revived = network.send(B, A);
    network.run(1.0);
    assert_eq!(network.delivered_ids(B, A), [revived]);
}

pub(crate) fn a_host_under_load_wants_a_cookie_first() {
    let mut network = Network::new(19, 2);
    network.hosts[B].under_load = true;
    let start = network.now;
    let packet = network.send(A, B);
    network.run(4.9);
    assert!(network.delivered_ids(A, B).is_empty());
    assert_eq!(network.sent_times(B, Kind::CookieReply, start).len(), 1);
    assert!(network.sent_times(B, Kind::Response, start).is_empty());
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B), [packet]);
}

pub(crate) fn two_hosts_under_load_exchange_cookies() {
    let mut network = Network::new(20, 2);
    network.hosts[A].under_load = true;
    network.hosts[B].under_load = true;
    let start = network.now;
    let packet = network.send(A, B);
    network.run(11.0);
    assert_eq!(network.delivered_ids(A, B), [packet]);
    assert_eq!(network.sent_times(A, Kind::Initiation, start).len(), 3);
    assert_eq!(network.sent_times(A, Kind::CookieReply, start).len(), 1);
    assert_eq!(network.sent_times(B, Kind::CookieReply, start).len(), 1);
}
