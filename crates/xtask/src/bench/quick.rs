//! `wg-quick` with thousands of peers.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::{Host, connect, originals, privileges};

use crate::build;

/// Peers, each with one route: ours, and what the original can do in a minute.
const OURS: [u32; 4] = [1_000, 2_000, 10_000, 50_000];
const ORIGINAL: [u32; 2] = [1_000, 2_000];
/// Entries in one AllowedIPs line.
const ENTRIES: u32 = 5_000;

/// Prints the times, and what ours may take.
pub(crate) fn run() -> Result<()> {
    privileges::check_tun()?;
    let programs = build::release()?;
    let (host, neighbour) = (Host::with_programs("bench", &programs)?, Host::new("neighbour")?);
    connect(&host, "eth0", &neighbour, "eth0")?;
    host.add_address("eth0", "192.0.2.10/24")?;
    host.add_default_route("192.0.2.1".parse()?)?;

    println!("wg-quick up, with our daemon, one route a peer:");
    let mut ours = Vec::new();
    for peers in OURS {
        write_config(&host, peers, "")?;
        let up = timed(&host, Path::new("wg-quick"), "up wg0")?;
        let routes = host.run("ip route show dev wg0")?.success()?.stdout.lines().count();
        ensure!(routes == peers as usize, "{routes} routes for {peers} peers");
        write_config(&host, peers, "PersistentKeepalive = 9\n")?;
        let reload = timed(&host, Path::new("wg-quick"), "reload wg0")?;
        let down = timed(&host, Path::new("wg-quick"), "down wg0")?;
        println!("{peers:>8} peers: up {up:.3?}, reload of one {reload:.3?}, down {down:.3?}");
        ours.push((peers, up, reload));
    }
    println!("The original, with wireguard-go:");
    let mut original = Vec::new();
    for peers in ORIGINAL {
        write_config(&host, peers, "")?;
        let up = timed(&host, &originals::wg_quick()?, "up wg0")?;
        timed(&host, &originals::wg_quick()?, "down wg0")?;
        println!("{peers:>8} peers: up {up:.3?}");
        original.push((peers, up));
    }
    let extrapolated = extrapolate(&original, 10_000)?;
    let of_10_000 = ours.into_iter().find(|(peers, ..)| *peers == 10_000);
    let (_, own, reload) = of_10_000.context("10,000 peers")?;
    let ratio = extrapolated.as_secs_f64() / own.as_secs_f64();
    println!(
        "   10000 peers: up {extrapolated:.1?} extrapolated; ours is {ratio:.0} times as fast"
    );

    let entries: Vec<_> = (0..ENTRIES).map(address).collect();
    let config = format!("[Interface]\n[Peer]\nAllowedIPs = {}\n", entries.join(", "));
    host.write_file("/etc/wireguard/wg0.conf", config, 0o600)?;
    let strip = timed(&host, Path::new("wg-quick"), "strip wg0")?;
    println!("wg-quick strip of one line with {ENTRIES} allowed IPs: {strip:.3?}");
    ensure!(own < Duration::from_secs(1), "10,000 peers take {own:.3?}, more than a second");
    ensure!(reload < Duration::from_millis(200), "a reload takes {reload:.3?}, more than 200 ms");
    ensure!(strip < Duration::from_millis(20), "strip takes {strip:.3?}, more than 20 ms");
    Ok(())
}

/// The shortest of three runs of a question; a change is made once.
fn timed(host: &Host, program: &Path, arguments: &str) -> Result<Duration> {
    let runs = if arguments.starts_with("strip") { 3 } else { 1 };
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let mut command = host.command(program);
        if !program.ends_with("wg-quick") || program.is_absolute() {
            command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", originals::wireguard_go()?);
        }
        let start = Instant::now();
        host.run_command(command.args(arguments.split(' ')), "")?.success()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// The time for `peers` after a line and a square through the origin and two measurements, as every
/// route of the original asks for all that there are.
fn extrapolate(measured: &[(u32, Duration)], peers: u32) -> Result<Duration> {
    let [(n1, t1), (n2, t2)] = *measured else { anyhow::bail!("two measurements are needed") };
    let (n1, n2, n) = (f64::from(n1), f64::from(n2), f64::from(peers));
    let (rate1, rate2) = (t1.as_secs_f64() / n1, t2.as_secs_f64() / n2);
    let square = ((rate2 - rate1) / (n2 - n1)).max(0.0);
    let linear = rate1 - square * n1;
    Ok(Duration::from_secs_f64(linear * n + square * n * n))
}

/// A file with this many peers, the last of which has these lines besides.
fn write_config(host: &Host, peers: u32, last: &str) -> Result<()> {
    let mut text = "[Interface]\nPrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=\n\
                    Address = 172.16.0.1/32\n"
        .to_owned();
    for peer in 0..peers {
        write!(
            text,
            "\n[Peer]\nPublicKey = {}\nEndpoint = 192.0.2.{}:{}\nAllowedIPs = {}\n",
            key(peer),
            1 + peer % 250,
            1024 + peer % 60_000,
            address(peer),
        )?;
    }
    host.write_file("/etc/wireguard/wg0.conf", text + last, 0o600)
}

fn address(number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("10.{b}.{c}.{d}/32")
}

/// Any 32 bytes are a public key: the peer's number in hexadecimal digits, which base64 knows.
pub(super) fn key(peer: u32) -> String {
    format!("{peer:0>42x}A=")
}
