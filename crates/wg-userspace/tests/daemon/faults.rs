//! What the machine refuses for a while is no reason to end, nor to be silent for good.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use testbed::{Host, Ping, eventually};
use wg_config::PublicKey;
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::pair::{Outside, Pair, WG, inner_v4, only, private_key, public_key, set_flags};
use crate::privileges::{status_word, threads};
use crate::{PATIENCE, uapi};

/// A pair whose first host logs to `/run/log`.
pub(crate) fn logging_pair() -> Result<Pair> {
    let script = "LOG_LEVEL=verbose exec wg-userspace $1 > /run/log 2>&1";
    Pair::with_script(script, "sh /run/start", "wg-userspace", Outside::V4)
}

pub(crate) fn logged(host: &Host, what: &str) -> Result<()> {
    eventually(what, PATIENCE, || host.read_file("/run/log").ok()?.contains(what).then_some(()))
}

/// Pings once; the reply may stay away.
pub(crate) fn ping_once(pair: &Pair) -> Result<bool> {
    let ping = Ping { count: 1, patience: Duration::from_millis(200), ..Ping::default() };
    Ok(pair.a.ping_with(inner_v4(2), ping)?.loss() == 0)
}

/// Pings until there is a reply again, then wants every one.
pub(crate) fn recovers(pair: &Pair) -> Result<()> {
    eventually("a reply", PATIENCE, || ping_once(pair).ok()?.then_some(()))?;
    pair.ping()
}

#[test]
fn a_firewall_that_refuses_packets_is_told_and_outlived() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    let rules = "table inet t { chain c { type filter hook output priority 0; \
                 oifname eth0 udp dport 2222 drop; }; }";
    pair.a.run_with_input("nft -f -", rules)?.success()?;
    ensure!(!ping_once(&pair)?);
    logged(&pair.a, "cannot send to 192.0.2.2:2222: Operation not permitted")?;
    pair.a.run("nft delete table inet t")?.success()?;
    recovers(&pair)
}

#[test]
fn a_network_that_goes_and_comes_back() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    pair.a.run("ip link set eth0 down")?.success()?;
    ensure!(!ping_once(&pair)?);
    logged(&pair.a, "cannot send to 192.0.2.2:2222: Network is unreachable")?;
    pair.a.set_up("eth0")?;
    recovers(&pair)?;
    // The address, too.
    pair.a.run("ip address flush dev eth0")?.success()?;
    ensure!(!ping_once(&pair)?);
    pair.a.add_address("eth0", "192.0.2.7/24")?;
    recovers(&pair)
}

/// The kernel drops what it has to say about links when it is not heard; the daemon then asks.
#[test]
fn lost_messages_about_links() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    let daemon = threads(&pair.a)?[0];
    kill(daemon, Signal::SIGSTOP)?;
    pair.a.run("ip tuntap add noise mode tun")?.success()?;
    pair.a.in_network(|| -> Result<()> {
        for _ in 0..1000 {
            set_flags("noise", nix::libc::IFF_UP)?;
            set_flags("noise", 0)?;
        }
        set_flags(WG, 0)?;
        Ok(())
    })?;
    kill(daemon, Signal::SIGCONT)?;
    let is_free = || std::net::UdpSocket::bind(("0.0.0.0", 1111)).ok();
    pair.a.in_network(|| eventually("the sockets' end", PATIENCE, is_free))?;
    pair.a.set_up(WG)?;
    pair.a.run(&format!("ip address replace fd09::1/64 dev {WG} nodad"))?.success()?;
    recovers(&pair)
}

#[test]
fn an_interface_that_goes_down_and_up_under_traffic() -> Result<()> {
    let pair = logging_pair()?;
    for _ in 0..5 {
        pair.ping()?;
        pair.a.run(&format!("ip link set {WG} down"))?.success()?;
        pair.a.set_up(WG)?;
        pair.a.run(&format!("ip address replace fd09::1/64 dev {WG} nodad"))?.success()?;
    }
    recovers(&pair)
}

/// Ten messages in five seconds, however many packets there are.
#[test]
fn the_log_stays_short() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    pair.a.run("ip route add 198.51.100.0/24 dev wg0")?.success()?;
    let socket = pair.a.in_network(|| std::net::UdpSocket::bind("0.0.0.0:0"))?;
    for _ in 0..2000 {
        socket.send_to(b"x", "198.51.100.1:9")?;
    }
    logged(&pair.a, "no peer has 198.51.100.1 among its allowed IPs")?;
    pair.ping()?;
    let log = pair.a.read_file("/run/log")?;
    let lines = log.lines().filter(|line| line.contains("198.51.100.1")).count();
    ensure!(lines <= 30, "{lines} lines for packets that nobody wants");
    Ok(())
}

/// Peers by the ends of their keys, addresses, reasons: what an administrator asks for first.
#[test]
fn the_log_says_who_and_why() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    let key = public_key(2).to_string();
    let peer = format!("peer({}…{})", &key[..4], &key[39..43]);
    logged(&pair.a, &format!("{peer}: sending a handshake initiation"))?;
    logged(&pair.a, &format!("{peer}: handshake complete with 192.0.2.2:2222"))?;
    // Someone whom it does not know.
    let update = DeviceUpdate { private_key: Some(private_key(9)), ..DeviceUpdate::default() };
    uapi::set(&pair.b, WG, &update)?;
    let back = PeerUpdate { endpoint: Some(pair.endpoint(1)), ..PeerUpdate::new(public_key(1)) };
    uapi::set(&pair.b, WG, &only(back))?;
    let ping = Ping { count: 1, patience: Duration::from_millis(100), ..Ping::default() };
    let _ = pair.b.ping_with(inner_v4(1), ping)?;
    logged(&pair.a, "handshake message from 192.0.2.2:2222 refused: unknown peer")
}

/// New peers without anything.
fn many_peers(count: u16) -> Vec<PeerUpdate> {
    let key = |number: u16| {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&number.to_le_bytes());
        PublicKey::from(key)
    };
    (0..count).map(|number| PeerUpdate::new(key(number))).collect()
}

#[test]
fn clients_that_die_in_the_middle_of_an_answer() -> Result<()> {
    let host = Host::new("die")?;
    host.run("wg-userspace wg0")?.success()?;
    let update = DeviceUpdate { peers: many_peers(5000), ..DeviceUpdate::default() };
    uapi::set(&host, "wg0", &update)?;
    for length in [0, 1, 1000, 100_000] {
        let mut client = uapi::connect(&host, "wg0")?;
        client.write_all(b"get=1\n\nget=1\n\n")?;
        client.read_exact(&mut vec![0; length])?;
    }
    ensure!(uapi::get(&host, "wg0")?.peers.len() == 5000);
    Ok(())
}

/// With little memory it turns clients away, and goes on forwarding.
#[test]
fn little_memory() -> Result<()> {
    let pair = error_logging_pair()?;
    limit_address_space(&pair.a, Some(3 << 10))?;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = uapi::connect(&pair.a, WG)?;
        // It may have been turned away already.
        let _ = client.write_all(b"set=1\n");
        clients.push(client);
    }
    logged(&pair.a, "cannot serve a UAPI client")?;
    pair.ping()?;
    drop(clients);
    limit_address_space(&pair.a, None)?;
    eventually("an answer", PATIENCE, || uapi::get(&pair.a, WG).ok())?;
    pair.ping()
}

/// Wherever it runs out: as clients come, and as the interface goes up and needs new sockets.
#[test]
fn address_space_that_runs_out() -> Result<()> {
    let pair = error_logging_pair()?;
    let daemon = threads(&pair.a)?[0];
    for kibibytes in (0..1200).step_by(12) {
        limit_address_space(&pair.a, Some(kibibytes))?;
        let mut clients = Vec::new();
        for _ in 0..5 {
            // Only a daemon that has ended refuses. One without room accepts and hangs up at once.
            let mut client = uapi::connect(&pair.a, WG)
                .with_context(|| format!("gone with {kibibytes} KiB left"))?;
            let _ = client.write_all(b"get=1\n");
            clients.push(client);
        }
        for flags in [0, nix::libc::IFF_UP] {
            pair.a.in_network(|| set_flags(WG, flags))?;
        }
    }
    logged(&pair.a, "cannot serve a UAPI client: Out of memory")?;
    limit_address_space(&pair.a, None)?;
    uapi::get(&pair.a, WG)?;
    ensure!(threads(&pair.a)?[0] == daemon);
    pair.a.run(&format!("ip address replace fd09::1/64 dev {WG} nodad"))?.success()?;
    recovers(&pair)
}

/// A request that there is no room for is refused as a whole.
#[test]
fn a_request_that_is_too_large_for_the_memory() -> Result<()> {
    let pair = error_logging_pair()?;
    let before = uapi::get(&pair.a, WG)?;
    limit_address_space(&pair.a, Some(24 << 10))?;
    let update = DeviceUpdate { peers: many_peers(65_000), ..DeviceUpdate::default() };
    let error = uapi::set(&pair.a, WG, &update).expect_err("there is no room");
    ensure!(format!("{error:#}").contains("errno=12"), "{error:#}");
    logged(&pair.a, "cannot do what a UAPI client asks for: Out of memory")?;
    ensure!(uapi::get(&pair.a, WG)?.peers.len() == before.peers.len());
    pair.ping()?;
    // One so long that it cannot even be read.
    limit_address_space(&pair.a, Some(4 << 10))?;
    ensure!(uapi::set(&pair.a, WG, &update).is_err());
    pair.ping()?;
    limit_address_space(&pair.a, None)?;
    uapi::set(&pair.a, WG, &update)?;
    ensure!(uapi::get(&pair.a, WG)?.peers.len() == 65_001);
    pair.ping()
}

/// A pair with a session, whose first host logs errors to `/run/log`.
fn error_logging_pair() -> Result<Pair> {
    let script = "LOG_LEVEL=error exec wg-userspace $1 > /run/log 2>&1";
    let pair = Pair::with_script(script, "sh /run/start", "wg-userspace", Outside::V4)?;
    pair.ping()?;
    Ok(pair)
}

/// Lets the host's daemon take so many KiB of address space more than it has, or any number.
fn limit_address_space(host: &Host, more: Option<u64>) -> Result<()> {
    let process = threads(host)?[0];
    let limit = match more {
        None => "unlimited".to_owned(),
        Some(more) => {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let taken: u64 = status_word(&status, "VmSize:")?.parse()?;
            format!("{}:unlimited", (taken + more) * 1024)
        }
    };
    let output = Command::new("prlimit")
        .arg(format!("--pid={process}"))
        .arg(format!("--as={limit}"))
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
