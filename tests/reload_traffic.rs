//! `wg-quick reload` under traffic: whoever is not concerned does not notice.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::{Keys, ip};
use testbed::{Amount, Host, Ping, connect, tcp_transfer};

const PEERS: u32 = 10_000;
/// Echo requests, a millisecond apart: longer than the reload takes.
const PINGS: u16 = 2_000;
const STALL: Duration = Duration::from_secs(10);

/// The gateway's file: the other host, and thousands of peers that are not there.
fn gateway_config(own: &Keys, other: &Keys, last: &str) -> Result<String> {
    let mut text = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.77.0.1/24\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.77.0.2/32\n",
        own.private, other.public
    );
    for peer in 0..PEERS {
        let [_, b, c, d] = peer.to_be_bytes();
        // Any 32 bytes are a public key.
        write!(text, "[Peer]\nPublicKey = {peer:0>42x}A=\nAllowedIPs = 10.{}.{c}.{d}/32", b + 100)?;
        text.push_str(if peer + 1 == PEERS { last } else { "\n" });
    }
    Ok(text)
}

fn handshake(host: &Host) -> Result<String> {
    let shown = host.run("wg show wg0 latest-handshakes")?.success()?.stdout;
    let lines: Vec<_> = shown.lines().filter(|line| !line.ends_with("\t0")).collect();
    Ok(lines.join("\n"))
}

#[test]
fn one_of_ten_thousand_peers_changes_and_not_a_packet_is_lost() -> Result<()> {
    let (gateway, other) = (Host::new("gateway")?, Host::new("other")?);
    connect(&gateway, "eth0", &other, "eth0")?;
    gateway.add_address("eth0", "192.0.2.1/24")?;
    other.add_address("eth0", "192.0.2.2/24")?;
    let keys = [Keys::generate(&gateway)?, Keys::generate(&other)?];
    let file = "/etc/wireguard/wg0.conf";
    gateway.write_file(file, gateway_config(&keys[0], &keys[1], "\n")?, 0o600)?;
    let config = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.77.0.2/24\n[Peer]\nPublicKey = {}\n\
         AllowedIPs = 10.77.0.0/24\nEndpoint = 192.0.2.1:51820\n",
        keys[1].private, keys[0].public
    );
    other.write_file(file, config, 0o600)?;
    for host in [&gateway, &other] {
        host.run("wg-quick up wg0")?.success()?;
    }
    let target = ip("10.77.0.1");
    ensure!(other.ping(target)?.received() > 0, "the tunnel works");
    let session = handshake(&gateway)?;
    ensure!(session.lines().count() == 1, "one handshake: {session}");

    let changed = gateway_config(&keys[0], &keys[1], ", 10.200.0.0/16\nPersistentKeepalive = 9\n")?;
    gateway.write_file(file, &changed, 0o600)?;
    let (report, output) = thread::scope(|scope| -> Result<_> {
        let pause = Duration::from_millis(1);
        let ping = Ping { count: PINGS, pause, ..Ping::default() };
        let other = &other;
        let pings = scope.spawn(move || other.ping_with(target, ping));
        let output = gateway.run("wg-quick reload wg0")?.success()?;
        Ok((pings.join().ok().context("the pings panicked")??, output))
    })?;
    let lines = "[#] wg syncconf wg0 /dev/fd/63\n[#] ip -4 route add 10.200.0.0/16 dev wg0\n";
    ensure!(output.stderr == lines, "only what differs: {output}");
    ensure!(report.received() == usize::from(PINGS), "{report}: {} of {PINGS}", report.received());

    // A stream fills the queues until one overflows, so that it has a reload of its own.
    gateway.write_file(file, changed.replace("= 9\n", "= 8\n"), 0o600)?;
    thread::scope(|scope| -> Result<_> {
        let time = Amount::Time(Duration::from_secs(3));
        let (from, to) = (&other, &gateway);
        let stream = scope.spawn(move || tcp_transfer(from, to, target, time, STALL));
        gateway.run("wg-quick reload wg0")?.success()?;
        stream.join().ok().context("the stream panicked")?
    })?;
    ensure!(handshake(&gateway)? == session, "the session is the same");
    let routes = gateway.run("ip route show dev wg0")?.success()?.stdout;
    ensure!(routes.lines().count() == PEERS as usize + 2, "a route for each peer and the change");
    Ok(())
}
