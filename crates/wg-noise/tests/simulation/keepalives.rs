//! Keepalives, passive and persistent.

use crate::network::{Conditions, Kind, Network};
use crate::two_hosts::{A, B, assert_near, connected, seconds};

pub(crate) fn received_data_is_answered_by_one_keepalive() {
    let mut network = connected(7);
    let start = network.now;
    for at in [0.0, 3.0, 6.0] {
        network.send_at(start + seconds(at), A, B);
    }
    network.run(100.0);
    let keepalives = network.sent_times(B, Kind::Keepalive, start);
    // The packet that brought the session up came a second before.
    assert_eq!(keepalives.len(), 1, "{keepalives:?}");
    assert_near(keepalives[0], 9.0);
    assert!(network.sent_times(A, Kind::Keepalive, start).is_empty());
    assert!(network.sent_times(A, Kind::Initiation, start).is_empty());
}

pub(crate) fn data_of_our_own_is_answer_enough() {
    let mut network = connected(8);
    let start = network.now;
    network.send_at(start + seconds(5.0), B, A);
    network.send_at(start + seconds(6.0), A, B);
    network.send_at(start + seconds(7.0), B, A);
    network.run(10.0);
    assert!(network.sent_times(B, Kind::Keepalive, start).is_empty());
    network.run(50.0);
    let keepalives = network.sent_times(A, Kind::Keepalive, start);
    assert_eq!(keepalives.len(), 1, "{keepalives:?}");
    assert_near(keepalives[0], 17.0);
}

pub(crate) fn a_persistent_keepalive_keeps_its_interval() {
    let mut network = Network::new(9, 2);
    let start = network.now;
    let wanted = network.peer(A, B).set_persistent_keepalive(25, network.now);
    network.obey(A, B, wanted);
    network.run(110.0);
    let keepalives = network.sent_times(A, Kind::Keepalive, start);
    assert_eq!(keepalives.len(), 5, "{keepalives:?}");
    for (i, &at) in keepalives.iter().enumerate() {
        assert_near(at, 25.0 * i as f64);
    }
    assert!(network.sent_times(B, Kind::Keepalive, start).is_empty(), "keepalives want no answer");

    network.run(1000.0);
    let handshakes = network.sent_times(A, Kind::Initiation, start);
    assert!((7..10).contains(&handshakes.len()), "{handshakes:?}");
    let from = network.now;
    assert_eq!(network.peer(A, B).set_persistent_keepalive(0, network.now), Default::default());
    network.run(1000.0);
    assert!(network.sent_times(A, Kind::Keepalive, from).is_empty());
}

pub(crate) fn a_persistent_keepalive_never_gives_up() {
    let mut network = Network::new(10, 2);
    network.conditions = Conditions::cut();
    let wanted = network.peer(A, B).set_persistent_keepalive(25, network.now);
    network.obey(A, B, wanted);
    network.run(1000.0);
    network.conditions = Conditions::clean();
    network.run(60.0);
    assert!(network.peer(B, A).last_handshake().is_some());
}
