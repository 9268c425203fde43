//! What goes through a tunnel.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Amount, Ping, eventually, tcp_transfer};

use crate::pair::{Outside, Pair, WG, inner_v4, inner_v6, public_key, whole};
use crate::{PATIENCE, uapi};

/// The longest packet whose message fits a UDP datagram over IPv4.
const MAX_MTU: u32 = 65507 - 32;
const TRANSFER: Amount = Amount::Bytes(64 << 20);

#[test]
fn ping_and_tcp_over_ipv4() -> Result<()> {
    ping_and_tcp(Outside::V4)
}

#[test]
fn ping_and_tcp_over_ipv6() -> Result<()> {
    ping_and_tcp(Outside::V6)
}

fn ping_and_tcp(outside: Outside) -> Result<()> {
    let pair = Pair::new(outside)?;
    pair.ping()?;
    tcp_transfer(&pair.a, &pair.b, inner_v4(2), TRANSFER, PATIENCE)?;
    tcp_transfer(&pair.b, &pair.a, inner_v6(1), TRANSFER, PATIENCE)?;
    for (host, other) in [(&pair.a, 2), (&pair.b, 1)] {
        let peer = uapi::peer(host, WG, &public_key(other))?;
        ensure!(peer.endpoint == Some(pair.endpoint(other)), "{peer:?}");
        ensure!(peer.last_handshake.is_some());
        ensure!(peer.rx_bytes > 64 << 20 && peer.tx_bytes > 64 << 20, "{peer:?}");
    }
    Ok(())
}

#[test]
fn both_directions_at_once() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    pair.ping()?;
    thread::scope(|scope| {
        let there = scope
            .spawn(|| tcp_transfer(&pair.a, &pair.b, inner_v4(2), TRANSFER, PATIENCE).map(drop));
        let back = tcp_transfer(&pair.b, &pair.a, inner_v4(1), TRANSFER, PATIENCE).map(drop);
        there.join().unwrap().and(back)
    })
}

#[test]
fn packets_of_every_length_pass_at_any_mtu() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    let ping = |payload| {
        let ping = Ping { count: 1, payload, ..Ping::default() };
        whole(&pair.a.ping_with(inner_v4(2), ping)?)
    };
    (0..40).try_for_each(ping)?;
    for mtu in [1280, 1421, 9000, MAX_MTU] {
        pair.a.set_mtu(WG, mtu)?;
        pair.b.set_mtu(WG, mtu)?;
        for less in [0, 1, 15, 16, 17] {
            ping(mtu as usize - 28 - less)?;
        }
    }
    Ok(())
}

/// What the endpoints say after the responder has answered from the address it was asked at.
#[test]
fn replies_come_from_the_address_that_was_asked() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    pair.b.add_address("eth0", "192.0.2.22/24")?;
    let second = "192.0.2.22:2222".parse()?;
    let update = wg_control::PeerUpdate {
        endpoint: Some(second),
        ..wg_control::PeerUpdate::new(public_key(2))
    };
    uapi::set(&pair.a, WG, &crate::pair::only(update))?;
    pair.ping()?;
    ensure!(uapi::peer(&pair.a, WG, &public_key(2))?.endpoint == Some(second));
    Ok(())
}

#[test]
fn a_persistent_keepalive_opens_the_session_by_itself() -> Result<()> {
    let pair = Pair::new(Outside::V6)?;
    let update = wg_control::PeerUpdate {
        persistent_keepalive: Some(25),
        ..wg_control::PeerUpdate::new(public_key(2))
    };
    uapi::set(&pair.a, WG, &crate::pair::only(update))?;
    eventually("a handshake", PATIENCE, || {
        uapi::peer(&pair.b, WG, &public_key(1)).ok()?.last_handshake
    })?;
    // The initiator confirms the session without data.
    eventually("the confirmation", PATIENCE, || {
        let peer = uapi::peer(&pair.b, WG, &public_key(1)).ok()?;
        (peer.rx_bytes >= 148 + 32).then_some(())
    })?;
    whole(&pair.b.ping_with(inner_v6(1), Ping { pause: Duration::ZERO, ..Ping::default() })?)
}
