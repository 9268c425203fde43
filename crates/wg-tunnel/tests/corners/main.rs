//! Corners of the protocol, of the kind that need sockets and an interface: each with its source,
//! each tried on a tunnel whose far end the test plays by hand. Those that need simulated time are
//! in wg-noise's `simulation`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configuration;
mod handshakes;
mod inner;
mod packets;
mod scene;

use std::io::Write;

use nix::sched::{CloneFlags, unshare};

/// The table: what, source, test. Makes a test of each row and the count of all.
macro_rules! corners {
    ($($what:literal, $source:literal, $module:ident::$test:ident;)*) => {
        const CORNERS: &[(&str, &str)] = &[$(($what, $source)),*];
        $(
            #[test]
            fn $test() {
                in_own_network($module::$test);
            }
        )*
    };
}

corners! {
    "a handshake message with a wrong mac1, or from a stranger, gets no answer",
    "paper 5.1, 5.3; receive.c", handshakes::strangers_get_nothing;
    "under load a sender must prove its address with a cookie, and cookies are for one source",
    "paper 5.3, 5.4.7; receive.c, cookie.c", handshakes::load_wants_a_cookie;
    "a replayed initiation is refused",
    "paper 5.1; noise.c", handshakes::a_replayed_initiation_is_refused;
    "key confirmation: a responder sends no data before the first transport message",
    "paper 5.4.6; noise.c", handshakes::the_responder_waits_for_confirmation;
    "what was staged is sent when the session comes up",
    "paper 6.1; send.c", handshakes::staged_packets_go_out_with_the_session;
    "a peer gets its handshake when others have used up what may be staged",
    "send.c", handshakes::a_full_staging_budget_stops_no_handshake;
    "the source of an inner packet must be the peer's, over IPv4 and IPv6",
    "paper 2; receive.c", packets::the_inner_source_must_be_the_peers;
    "truncated and malformed inner packets are dropped, and padding is cut off",
    "paper 5.4.6; receive.c", packets::malformed_inner_packets_are_dropped;
    "roaming follows authenticated new packets only",
    "paper 2.1; receive.c, socket.c", packets::roaming_follows_authenticated_new_packets;
    "answers leave from the address that was asked",
    "socket.c", packets::the_source_address_is_kept;
    "a source address that is gone is given up",
    "socket.c", packets::a_source_address_that_is_gone_is_given_up;
    "a peer with our own key is ignored",
    "netlink.c", configuration::a_peer_with_our_own_key_is_ignored;
    "a peer whose key becomes our own is removed",
    "netlink.c, noise.c", configuration::a_peer_whose_key_becomes_ours_is_removed;
    "an allowed IP moves to the peer that got it last",
    "paper 2; allowedips.c", configuration::an_allowed_ip_moves;
    "a peer that is removed under traffic neither sends nor receives",
    "peer.c", configuration::a_removed_peer_is_cut_off;
    "a new private key ends all sessions, and new ones come up with it",
    "netlink.c, device.c", configuration::a_new_private_key_ends_sessions;
    "a new port under traffic keeps the session",
    "netlink.c, socket.c", configuration::a_new_port_keeps_the_session;
    "a new firewall mark is on the next packet",
    "socket.c", configuration::a_new_mark_counts_at_once;
    "the outer header carries the inner congestion marks and no other traffic class",
    "RFC 6040; send.c", packets::only_congestion_marks_go_outside;
    "congestion met outside is told inside",
    "RFC 6040; receive.c", packets::congestion_met_outside_is_told_inside;
    "the outer packet may be cut on its way, also where the inner one must not be",
    "socket.c", packets::the_outer_packet_may_be_cut;
    "handshake messages have the class AF41",
    "messages.h", packets::handshakes_have_their_traffic_class;
    "a packet for nobody is answered with an ICMP error",
    "device.c", packets::a_packet_for_nobody_is_answered;
    "a packet for a peer without an endpoint is answered with an ICMP error",
    "device.c", packets::a_packet_without_an_endpoint_is_answered;
    "a packet longer than a datagram can be is answered with an ICMP error",
    "RFC 1191; RFC 4443", packets::an_oversize_packet_is_answered;
}

#[test]
fn the_table_is_counted() {
    let count = CORNERS.len();
    // Not with println, which the test harness keeps to itself.
    let _ = writeln!(std::io::stdout(), "{count} corners with a tunnel and a peer:");
    for (what, source) in CORNERS {
        assert!(!source.is_empty());
        let _ = writeln!(std::io::stdout(), "  {what} ({source})");
    }
}

/// Runs a test where nothing else is.
fn in_own_network(test: fn()) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
