//! Sessions in simulated time: how they come up, are renewed, survive a bad network and end, as a
//! table of corners with their sources: a section of the paper, or a file of the kernel's
//! `drivers/net/wireguard`. Corners that need sockets are in wg-tunnel's `corners`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod network;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use network::{Conditions, Kind, Network};
use wg_noise::{Instant, REKEY_AFTER_MESSAGES};

/// The table: what, source, test. Makes a test of each row and the count of all.
macro_rules! corners {
    ($($what:literal, $source:literal, $test:ident;)*) => {
        const CORNERS: &[(&str, &str)] = &[$(($what, $source)),*];
        mod corner {
            $(
                #[test]
                fn $test() {
                    super::$test();
                }
            )*
        }
    };
}

corners! {
    "key confirmation: the responder sends nothing before the first transport message",
    "paper 5.4.6, 6.3; noise.c", the_responder_cannot_send_before_the_session_is_confirmed;
    "a session comes up, and data flows both ways",
    "paper 5", a_session_comes_up_and_data_flows_both_ways;
    "sessions with several peers are kept apart",
    "paper 5.4.1; peerlookup.c", three_hosts_keep_their_sessions_apart;
    "both initiate at the same instant",
    "paper 6.4; noise.c", both_may_initiate_at_the_same_instant;
    "the initiator renews at 120 s, the responder does not",
    "paper 6.2; send.c", only_the_initiator_renews_and_does_so_at_120_seconds;
    "renewals lose nothing under load in both directions",
    "paper 6.2; noise.c", keys_are_renewed_every_two_minutes_under_load_without_loss;
    "keys are renewed after 2^60 messages",
    "paper 6.1, 6.2; send.c", keys_are_renewed_after_2_to_the_60_messages;
    "a receiver renews keys before they expire, once",
    "paper 6.2; receive.c", a_receiver_renews_its_keys_once_before_they_expire;
    "keys are rejected at 180 s",
    "paper 6.2; send.c, receive.c", a_session_ends_after_180_seconds;
    "keys are zeroed after 540 s",
    "paper 6.3; timers.c", keys_are_zeroed_after_540_seconds;
    "what is left of a handshake is zeroed after 540 s",
    "paper 6.3; timers.c", what_is_left_of_a_handshake_is_zeroed_too;
    "received data is answered by a keepalive after 10 s, exactly once",
    "paper 6.5; timers.c", received_data_is_answered_by_one_keepalive;
    "data of one's own takes the keepalive's place",
    "paper 6.5; timers.c", data_of_our_own_is_answer_enough;
    "a persistent keepalive keeps its interval, and is sent once each",
    "timers.c", a_persistent_keepalive_keeps_its_interval;
    "a persistent keepalive never gives up",
    "timers.c", a_persistent_keepalive_never_gives_up;
    "an initiation is repeated for 90 s, then there is rest",
    "paper 6.4; timers.c", a_handshake_is_given_up_after_90_seconds_and_taken_up_for_new_data;
    "new data starts the 90 s over",
    "paper 6.4; send.c", new_data_starts_the_90_seconds_over;
    "128 packets wait for a session, the oldest give way",
    "device.c, messages.h", at_most_128_packets_wait_and_the_oldest_give_way;
    "unanswered data brings a handshake after 15 s",
    "paper 6.5; timers.c", unanswered_data_brings_a_new_handshake_after_15_seconds;
    "a peer that was restarted is found again",
    "paper 6.5; timers.c", a_restarted_peer_is_found_again;
    "nothing comes out twice on a network that loses, repeats and reorders",
    "paper 5.4.6; receive.c", a_bad_network_loses_and_reorders_but_never_repeats_or_changes;
    "a wall clock that is set back, or forward and back, stops no handshake",
    "paper 5.1; noise.c", a_wall_clock_that_jumps_stops_no_handshake;
    "after a sleep there are no old keys, and each timer fires once",
    "device.c, timers.c", after_a_sleep_there_is_one_new_handshake;
    "under load a cookie comes before a handshake",
    "paper 5.3; receive.c", a_host_under_load_wants_a_cookie_first;
    "both under load: the response needs a cookie, too",
    "paper 5.3; receive.c", two_hosts_under_load_exchange_cookies;
}

#[test]
fn the_table_is_counted() {
    let count = CORNERS.len();
    // Not with println, which the test harness keeps to itself.
    let _ = writeln!(std::io::stdout(), "{count} corners in simulated time:");
    for (what, source) in CORNERS {
        assert!(!source.is_empty());
        let _ = writeln!(std::io::stdout(), "  {what} ({source})");
    }
}

const A: usize = 0;
const B: usize = 1;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Two hosts with a fresh session that A initiated, at rest.
fn connected(seed: u64) -> Network {
    let mut network = Network::new(seed, 2);
    network.send(A, B);
    network.run(1.0);
    assert_eq!(network.delivered_ids(A, B).len(), 1);
    network
}

/// Packets from `from` to `to`, one each `interval` seconds for `duration` seconds from now.
fn stream(network: &mut Network, from: usize, to: usize, interval: f64, duration: f64) -> Vec<u64> {
    let start = network.now;
    let count = (duration / interval) as usize;
    (0..count).map(|i| network.send_at(start + seconds(i as f64 * interval), from, to)).collect()
}

fn assert_near(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 0.2, "{actual} is not about {expected}");
}

fn a_session_comes_up_and_data_flows_both_ways() {
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

fn three_hosts_keep_their_sessions_apart() {
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

fn keys_are_renewed_every_two_minutes_under_load_without_loss() {
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

fn only_the_initiator_renews_and_does_so_at_120_seconds() {
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

fn a_receiver_renews_its_keys_once_before_they_expire() {
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

fn a_bad_network_loses_and_reorders_but_never_repeats_or_changes() {
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

fn both_may_initiate_at_the_same_instant() {
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

fn the_responder_cannot_send_before_the_session_is_confirmed() {
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

fn received_data_is_answered_by_one_keepalive() {
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

fn data_of_our_own_is_answer_enough() {
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

fn a_persistent_keepalive_keeps_its_interval() {
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

fn a_persistent_keepalive_never_gives_up() {
    let mut network = Network::new(10, 2);
    network.conditions = Conditions::cut();
    let wanted = network.peer(A, B).set_persistent_keepalive(25, network.now);
    network.obey(A, B, wanted);
    network.run(1000.0);
    network.conditions = Conditions::clean();
    network.run(60.0);
    assert!(network.peer(B, A).last_handshake().is_some());
}

fn a_handshake_is_given_up_after_90_seconds_and_taken_up_for_new_data() {
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

fn new_data_starts_the_90_seconds_over() {
    let mut network = Network::new(12, 2);
    network.conditions = Conditions::cut();
    let start = network.now;
    network.send(A, B);
    network.send_at(start + seconds(80.0), A, B);
    network.run(300.0);
    let last = network.sent_times(A, Kind::Initiation, start).pop().unwrap();
    assert!((160.0..170.0).contains(&last), "{last}");
}

fn at_most_128_packets_wait_and_the_oldest_give_way() {
    let mut network = Network::new(13, 2);
    network.conditions = Conditions::cut();
    let sent = stream(&mut network, A, B, 0.01, 2.0);
    assert_eq!(sent.len(), 200);
    network.run(3.0);
    network.conditions = Conditions::clean();
    network.run(5.0);
    assert_eq!(sorted(network.delivered_ids(A, B)), sent[72..]);
}

fn unanswered_data_brings_a_new_handshake_after_15_seconds() {
    let mut network = connected(14);
    network.run(30.0);
    network.conditions = Conditions::cut();
    let start = network.now;
    stream(&mut network, A, B, 1.0, 10.0);
    network.run(20.0);
    let initiations = network.sent_times(A, Kind::Initiation, start);
    assert!((15.0..15.334).contains(&initiations[0]), "{initiations:?}");
}

fn a_restarted_peer_is_found_again() {
    let mut network = connected(15);
    network.run(10.0);
    network.restart(B);
    let sent = stream(&mut network, A, B, 1.0, 30.0);
    network.run(31.0);
    let delivered = network.delivered_ids(A, B);
    assert!(!delivered.contains(&sent[0]), "B has no keys for it");
    assert!(delivered.contains(&sent[29]));
}

fn a_session_ends_after_180_seconds() {
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

fn keys_are_renewed_after_2_to_the_60_messages() {
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

fn keys_are_zeroed_after_540_seconds() {
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

fn what_is_left_of_a_handshake_is_zeroed_too() {
    let mut network = Network::new(18, 2);
    network.conditions = Conditions::cut();
    network.send(A, B);
    network.run(100.0);
    assert_eq!(network.hosts[A].indices.in_use(), 1);
    network.run(540.0);
    assert_eq!(network.hosts[A].indices.in_use(), 0);
    assert_eq!(network.peer(A, B).deadline(), None);
}

fn a_wall_clock_that_jumps_stops_no_handshake() {
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

fn after_a_sleep_there_is_one_new_handshake() {
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

fn a_host_under_load_wants_a_cookie_first() {
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

fn two_hosts_under_load_exchange_cookies() {
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

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}
