//! Changes while packets flow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Amount, Host, Ping, eventually, tcp_transfer};
use wg_config::{AllowedIp, AllowedIpChange};
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::pair::{
    Outside, Pair, WG, allowed_ip, inner_v4, inner_v6, only, peer_update, private_key, public_key,
};
use crate::{PATIENCE, uapi};

/// Runs `change`, after which packets must pass, while `a` pings `b` without a pause. There are
/// replies before it, and again from when it has begun.
fn under_traffic(pair: &Pair, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let (done, received) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more_than = |count| {
        eventually("replies to the traffic", PATIENCE, || {
            (received.load(Ordering::Relaxed) > count).then_some(())
        })
    };
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let ping = Ping {
                count: 1,
                payload: 1000,
                patience: Duration::from_millis(500),
                pause: Duration::ZERO,
            };
            while !done.load(Ordering::Relaxed) {
                // There may be no peer to send it to just now.
                let report = pair.a.ping_with(inner_v4(2), ping);
                let replies = report.map_or(0, |report| report.received());
                received.fetch_add(replies, Ordering::Relaxed);
            }
        });
        let changed = more_than(0)
            .and_then(|()| {
                let before = received.load(Ordering::Relaxed);
                change().map(|()| before)
            })
            .and_then(more_than);
        done.store(true, Ordering::Relaxed);
        traffic.join().expect("the traffic does not panic");
        changed
    })
}

/// Waits until `host` gets a reply.
fn answered(host: &Host, address: std::net::IpAddr) -> Result<()> {
    let once = Ping { count: 1, patience: Duration::from_millis(500), ..Ping::default() };
    eventually("a reply", PATIENCE, || {
        (host.ping_with(address, once).ok()?.loss() == 0).then_some(())
    })
}

#[test]
fn the_listening_port() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    under_traffic(&pair, || {
        for port in [3001, 3002, 0, 3003] {
            let update = DeviceUpdate { listen_port: Some(port), ..DeviceUpdate::default() };
            uapi::set(&pair.a, WG, &update)?;
            answered(&pair.a, inner_v4(2))?;
            // The other end has followed.
            let bound = uapi::get(&pair.a, WG)?.listen_port;
            ensure!(bound != 0 && (port == 0 || bound == port));
            let seen = uapi::peer(&pair.b, WG, &public_key(1))?.endpoint;
            ensure!(seen.map(|endpoint| endpoint.port()) == Some(bound), "{seen:?}, not {bound}");
        }
        Ok(())
    })?;
    tcp_transfer(&pair.a, &pair.b, inner_v4(2), Amount::Bytes(8 << 20), PATIENCE)?;
    Ok(())
}

#[test]
fn a_port_that_is_taken_changes_nothing() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    let taken = pair.a.in_network(|| std::net::UdpSocket::bind("[::]:0"))?;
    let port = taken.local_addr()?.port();
    let new_peer = PeerUpdate::new(public_key(77));
    let update = DeviceUpdate {
        listen_port: Some(port),
        fwmark: Some(5),
        private_key: Some(private_key(9)),
        replace_peers: true,
        peers: vec![new_peer],
    };
    let before = uapi::get(&pair.a, WG)?;
    let error = uapi::set(&pair.a, WG, &update).err().context("the port is taken")?;
    ensure!(format!("{error:#}").contains("errno=98"), "{error:#}");
    ensure!(uapi::get(&pair.a, WG)? == before);
    pair.ping()
}

#[test]
fn the_private_key() -> Result<()> {
    let pair = Pair::new(Outside::V6)?;
    under_traffic(&pair, || {
        let update = DeviceUpdate { private_key: Some(private_key(3)), ..DeviceUpdate::default() };
        uapi::set(&pair.a, WG, &update)?;
        let mut known = peer_update(1);
        known.public_key = public_key(3);
        uapi::set(&pair.b, WG, &only(known))?;
        answered(&pair.a, inner_v4(2))
    })?;
    pair.ping()
}

#[test]
fn removal_of_a_peer() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    let again = PeerUpdate { endpoint: Some(pair.endpoint(2)), ..peer_update(2) };
    under_traffic(&pair, || {
        for _ in 0..20 {
            let removal = PeerUpdate { remove: true, ..PeerUpdate::new(public_key(2)) };
            uapi::set(&pair.a, WG, &only(removal))?;
            ensure!(uapi::get(&pair.a, WG)?.peers.is_empty());
            uapi::set(&pair.a, WG, &only(again.clone()))?;
        }
        answered(&pair.a, inner_v4(2))
    })?;
    pair.ping()
}

#[test]
fn allowed_ips_decide_what_passes() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    pair.ping()?;
    // Taken from the sender at the receiving end: its packets are dropped there.
    let taken = AllowedIpChange { ip: allowed_ip(inner_v4(1)), remove: true };
    let update = PeerUpdate { allowed_ips: vec![taken], ..PeerUpdate::new(public_key(1)) };
    uapi::set(&pair.b, WG, &only(update))?;
    let short = Ping { count: 3, patience: Duration::from_millis(300), ..Ping::default() };
    ensure!(pair.a.ping_with(inner_v4(2), short)?.received() == 0);
    ensure!(pair.a.ping(inner_v6(2))?.loss() == 0, "the other allowed IP is as it was");
    // Given back.
    let given = PeerUpdate {
        allowed_ips: vec![allowed_ip(inner_v4(1)).into()],
        ..PeerUpdate::new(public_key(1))
    };
    uapi::set(&pair.b, WG, &only(given))?;
    pair.ping()
}

#[test]
fn an_allowed_ip_has_one_owner() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    let ip = |text: &str, cidr| AllowedIp::new(text.parse().unwrap(), cidr).unwrap();
    let give = |number, ips: &[AllowedIp]| {
        let ips = ips.iter().map(|ip| AllowedIpChange::from(*ip)).collect();
        only(PeerUpdate { allowed_ips: ips, ..PeerUpdate::new(public_key(number)) })
    };
    let owned = |number| -> Result<Vec<AllowedIp>> {
        Ok(uapi::peer(&pair.a, WG, &public_key(number))?.allowed_ips)
    };
    let (wide, narrow) = (ip("10.0.0.0", 8), ip("10.1.0.0", 16));
    uapi::set(&pair.a, WG, &give(7, &[wide, narrow, ip("fd00::", 16)]))?;
    uapi::set(&pair.a, WG, &give(8, &[ip("10.1.2.3", 16)]))?;
    ensure!(owned(7)? == [wide, ip("fd00::", 16)]);
    ensure!(owned(8)? == [narrow]);
    // Given to the one that has it already: nothing moves. Taken from one that has it not: same.
    uapi::set(&pair.a, WG, &give(8, &[narrow]))?;
    let taken = AllowedIpChange { ip: narrow, remove: true };
    let update = PeerUpdate { allowed_ips: vec![taken], ..PeerUpdate::new(public_key(7)) };
    uapi::set(&pair.a, WG, &only(update))?;
    ensure!(owned(8)? == [narrow]);
    // A wider one leaves the packets of the narrower one alone.
    pair.ping()
}

#[test]
fn the_own_key_is_no_peer() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    let own = PeerUpdate {
        allowed_ips: vec![allowed_ip(inner_v4(2)).into()],
        ..PeerUpdate::new(public_key(1))
    };
    uapi::set(&pair.a, WG, &only(own))?;
    ensure!(uapi::get(&pair.a, WG)?.peers.len() == 1);
    pair.ping()?;
    // A key that becomes the own one.
    uapi::set(&pair.a, WG, &only(PeerUpdate::new(public_key(5))))?;
    let update = DeviceUpdate { private_key: Some(private_key(5)), ..DeviceUpdate::default() };
    uapi::set(&pair.a, WG, &update)?;
    let keys: Vec<_> = uapi::get(&pair.a, WG)?.peers.iter().map(|peer| peer.public_key).collect();
    ensure!(keys == [public_key(2)]);
    Ok(())
}

#[test]
fn down_and_up_again() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    pair.ping()?;
    for _ in 0..3 {
        pair.a.in_network(|| crate::pair::set_flags(WG, 0))?;
        pair.a.set_up(WG)?;
        pair.a.add_address(WG, "fd09::1/64")?;
        answered(&pair.a, inner_v4(2))?;
    }
    pair.ping()
}
