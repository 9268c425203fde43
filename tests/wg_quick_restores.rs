//! `wg-quick down`, and an `up` that fails or is interrupted: the host is as it was.

use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::{Keys, ip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Host, Snapshot, connect, eventually};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn down_leaves_the_host_as_it_was() -> Result<()> {
    for (what, interface_lines) in [
        ("routes in the main table", ""),
        ("routes in table 1234", "Table = 1234\n"),
        ("no routes", "Table = off\n"),
        ("an MTU", "MTU = 1380\n"),
        (
            "hooks",
            "PreUp = ip rule add fwmark 7 table 7\nPostDown = ip rule del fwmark 7 table 7\n",
        ),
    ] {
        let (host, _other) = host_with_a_network()?;
        write_config(&host, interface_lines)?;
        let before = host.snapshot()?;
        host.run("wg-quick up wg0")?.success()?;
        let up = changed(&host, &before).with_context(|| format!("up with {what}"))?;
        host.run("wg-quick down wg0")?.success()?;
        restored(&host, &before, what)?;
        // And again, now that the folders exist.
        host.run("wg-quick up wg0")?.success()?;
        let mut difference = String::new();
        let same = eventually("the same tunnel", LIMIT, || {
            difference = differs_in(&host, &up).ok()?;
            difference.is_empty().then_some(())
        });
        ensure!(same.is_ok(), "{what}: the second time is not the first\n{difference}");
        host.run("wg-quick down wg0")?.success()?;
        restored(&host, &before, what)?;
    }
    Ok(())
}

#[test]
fn a_failing_hook_leaves_the_host_as_it_was() -> Result<()> {
    let (host, _other) = host_with_a_network()?;
    write_config(&host, "PostUp = true\nPostUp = wg set %i fwmark nonsense\n")?;
    let before = host.snapshot()?;
    host.run("wg-quick up wg0")?.code(1)?;
    restored(&host, &before, "a failing hook")
}

#[test]
fn an_interrupt_in_a_slow_hook_leaves_the_host_as_it_was() -> Result<()> {
    let (host, _other) = host_with_a_network()?;
    write_config(&host, "PostUp = sleep 1000; echo never\n")?;
    let before = host.snapshot()?;
    let mut up = host.command("wg-quick");
    up.args(["up", "wg0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = up.spawn()?;
    let sleeps = || host.processes().is_ok_and(|all| all.iter().any(|p| p.command == "sleep 1000"));
    eventually("the hook to sleep", LIMIT, || sleeps().then_some(()))?;
    kill(Pid::from_raw(up.id().try_into()?), Signal::SIGINT)?;
    let status = eventually("wg-quick to end", LIMIT, || up.try_wait().ok().flatten())?;
    ensure!(status.code() == Some(130), "{status}");
    restored(&host, &before, "an interrupt")
}

/// A host that has a network, routes and a rule of its own already; and the host at the other end,
/// to be kept.
fn host_with_a_network() -> Result<(Host, Host)> {
    let (host, other) = (Host::new("restored")?, Host::new("other")?);
    connect(&host, "eth0", &other, "eth0")?;
    host.add_address("eth0", "192.0.2.1/24")?;
    host.add_address("eth0", "2001:db8::1/64")?;
    let gateways: [IpAddr; 2] = [ip("192.0.2.2"), ip("2001:db8::2")];
    host.wait_for_ipv6("eth0")?;
    for gateway in gateways {
        host.add_default_route(gateway)?;
    }
    host.run("ip rule add to 203.0.113.0/24 table 99")?.success()?;
    host.run("ip route add 203.0.113.0/24 via 192.0.2.2 table 99")?.success()?;
    Ok((host, other))
}

fn write_config(host: &Host, interface_lines: &str) -> Result<()> {
    let config = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.7.0.1/24, fd07::1/64\n\
         {interface_lines}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.7.0.2/32, 10.8.0.0/16, fd08::/64\n\
         Endpoint = 192.0.2.2:51820\n",
        Keys::generate(host)?.private,
        Keys::generate(host)?.public,
    );
    host.write_file("/etc/wireguard/wg0.conf", config, 0o600)
}

/// Waits until the tunnel is all there: the daemon sees its interface come up, and the kernel adds
/// IPv6 routes, each in its own time.
fn changed(host: &Host, before: &Snapshot) -> Result<Snapshot> {
    host.wait_for_ipv6("wg0")?;
    eventually("a difference in every respect", LIMIT, || {
        let up = host.snapshot().ok()?;
        let differs = |topic: &&str| up.topic(topic) != before.topic(topic);
        ["ip addr", "ss", "files", "processes"].iter().all(differs).then_some(up)
    })
}

/// Waits until the host is as before: a daemon may end a moment after its interface.
fn restored(host: &Host, before: &Snapshot, what: &str) -> Result<()> {
    let mut difference = String::new();
    let settled = eventually("the host to be as before", Duration::from_secs(5), || {
        difference = before.difference(&host.snapshot().ok()?);
        difference.is_empty().then_some(())
    });
    ensure!(settled.is_ok(), "{what} leaves\n{difference}");
    Ok(())
}

/// What differs from the first time the tunnel was up. A TUN device gets a new link-local address
/// each time.
fn differs_in(host: &Host, first: &Snapshot) -> Result<String> {
    let settled = |snapshot: &Snapshot, topic| {
        let lines = snapshot.topic(topic).lines().filter(|line| !line.contains("local fe80:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let now = host.snapshot()?;
    let mut difference = String::new();
    for topic in ["ip -4 route", "ip -6 route", "ip -4 rule", "ip -6 rule", "ss", "processes"] {
        let (first, now) = (settled(first, topic), settled(&now, topic));
        if first != now {
            difference.push_str(&format!("{topic} at first:\n{first}\nand then:\n{now}\n"));
        }
    }
    Ok(difference)
}
