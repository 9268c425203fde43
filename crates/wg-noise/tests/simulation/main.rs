//! Sessions in simulated time: how they come up, are renewed, survive a bad network and end, as a
//! table of corners with their sources: a section of the paper, or a file of the kernel's
//! `drivers/net/wireguard`. Corners that need sockets are in wg-tunnel's `corners`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attempts;
mod keepalives;
mod network;
mod renewal;
mod sessions;
mod two_hosts;

use std::io::Write;

/// The table: what, source, test. Makes a test of each row and the count of all.
macro_rules! corners {
    ($($what:literal, $source:literal, $module:ident::$test:ident;)*) => {
        const CORNERS: &[(&str, &str)] = &[$(($what, $source)),*];
        mod corner {
            $(
                #[test]
                fn $test() {
                    super::$module::$test();
                }
            )*
        }
    };
}

corners! {
    "key confirmation: the responder sends nothing before the first transport message",
    "paper 5.4.6, 6.3; noise.c", sessions::the_responder_cannot_send_before_the_session_is_confirmed;
    "a session comes up, and data flows both ways",
    "paper 5", sessions::a_session_comes_up_and_data_flows_both_ways;
    "sessions with several peers are kept apart",
    "paper 5.4.1; peerlookup.c", sessions::three_hosts_keep_their_sessions_apart;
    "both initiate at the same instant",
    "paper 6.4; noise.c", sessions::both_may_initiate_at_the_same_instant;
    "the initiator renews at 120 s, the responder does not",
    "paper 6.2; send.c", renewal::only_the_initiator_renews_and_does_so_at_120_seconds;
    "renewals lose nothing under load in both directions",
    "paper 6.2; noise.c", renewal::keys_are_renewed_every_two_minutes_under_load_without_loss;
    "keys are renewed after 2^60 messages",
    "paper 6.1, 6.2; send.c", renewal::keys_are_renewed_after_2_to_the_60_messages;
    "a receiver renews keys before they expire, once",
    "paper 6.2; receive.c", renewal::a_receiver_renews_its_keys_once_before_they_expire;
    "keys are rejected at 180 s",
    "paper 6.2; send.c, receive.c", renewal::a_session_ends_after_180_seconds;
    "keys are zeroed after 540 s",
    "paper 6.3; timers.c", renewal::keys_are_zeroed_after_540_seconds;
    "what is left of a handshake is zeroed after 540 s",
    "paper 6.3; timers.c", renewal::what_is_left_of_a_handshake_is_zeroed_too;
    "received data is answered by a keepalive after 10 s, exactly once",
    "paper 6.5; timers.c", keepalives::received_data_is_answered_by_one_keepalive;
    "data of one's own takes the keepalive's place",
    "paper 6.5; timers.c", keepalives::data_of_our_own_is_answer_enough;
    "a persistent keepalive keeps its interval, and is sent once each",
    "timers.c", keepalives::a_persistent_keepalive_keeps_its_interval;
    "a persistent keepalive never gives up",
    "timers.c", keepalives::a_persistent_keepalive_never_gives_up;
    "an initiation is repeated for 90 s, then there is rest",
    "paper 6.4; timers.c", attempts::a_handshake_is_given_up_after_90_seconds_and_taken_up_for_new_data;
    "new data starts the 90 s over",
    "paper 6.4; send.c", attempts::new_data_starts_the_90_seconds_over;
    "128 packets wait for a session, the oldest give way",
    "device.c, messages.h", sessions::at_most_128_packets_wait_and_the_oldest_give_way;
    "unanswered data brings a handshake after 15 s",
    "paper 6.5; timers.c", attempts::unanswered_data_brings_a_new_handshake_after_15_seconds;
    "a peer that was restarted is found again",
    "paper 6.5; timers.c", attempts::a_restarted_peer_is_found_again;
    "nothing comes out twice on a network that loses, repeats and reorders",
    "paper 5.4.6; receive.c", sessions::a_bad_network_loses_and_reorders_but_never_repeats_or_changes;
    "a wall clock that is set back, or forward and back, stops no handshake",
    "paper 5.1; noise.c", attempts::a_wall_clock_that_jumps_stops_no_handshake;
    "after a sleep there are no old keys, and each timer fires once",
    "device.c, timers.c", attempts::after_a_sleep_there_is_one_new_handshake;
    "under load a cookie comes before a handshake",
    "paper 5.3; receive.c", attempts::a_host_under_load_wants_a_cookie_first;
    "both under load: the response needs a cookie, too",
    "paper 5.3; receive.c", attempts::two_hosts_under_load_exchange_cookies;
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
