//! Each bad input: one clear sentence, exit code 1, nothing changed.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use anyhow::Result;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use testbed::Output;
use testbed::report::{self, Entry};

use crate::machine::{INTERFACE, LIMIT, Machine, PEER};

/// Runs `up` on this file, which must be refused before anything is done.
fn refused(machine: &Machine, config: impl AsRef<[u8]>) -> Result<Output> {
    machine.config(config)?;
    let before = machine.settled()?;
    let output = machine.wg_quick("up wg0")?.code(1)?;
    assert!(!output.stderr.contains("[#]"), "nothing is begun: {output}");
    assert_eq!(output.stdout, "");
    machine.assert_as(&before)?;
    Ok(output)
}

#[test]
fn a_file_that_says_something_wrong_is_refused_with_line_and_column() -> Result<()> {
    let machine = Machine::new()?;
    let whole = format!("{INTERFACE}{PEER}");
    for (from, to, place, word) in [
        ("kLYkcympiJC9", "", ":2:14", "base64"),
        ("kLYkcympiJC9", "kLYkcympiJ!9", ":2:14", "base64"),
        ("10.66.0.2/24", "10.66.0.2/33", ":3:11", "10.66.0.2/33"),
        ("172.16.5.0/24", "172.16.5.0/99", ":8:28", "172.16.5.0/99"),
        ("51820", "70000", ":7:22", "70000"),
        ("Address", "Adress", ":3:1", "Address"),
        ("[Interface]\n", "MTU = 1400\n[Interface]\n", ":1:1", "MTU"),
        ("PublicKey", "# PublicKey", ":5:1", "PublicKey"),
    ] {
        let output = refused(&machine, whole.replacen(from, to, 1))?;
        let shown = format!("/etc/wireguard/wg0.conf{place}");
        assert!(output.stderr.contains(&shown), "{from} -> {to}: {shown} in {output}");
        assert!(output.stderr.contains(word), "{from} -> {to}: {word} in {output}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_text_is_refused() -> Result<()> {
    let machine = Machine::new()?;
    let mut text = format!("{INTERFACE}{PEER}").into_bytes();
    text.extend(b"AllowedIPs = \xff\xfe\n");
    let output = refused(&machine, text)?;
    assert!(output.stderr.contains("/etc/wireguard/wg0.conf:9:14"), "{output}");
    Ok(())
}

#[test]
fn a_line_of_100_mb_is_refused_in_a_few_lines() -> Result<()> {
    let machine = Machine::new()?;
    let output = refused(&machine, vec![b'a'; 100_000_000])?;
    assert!(output.stderr.len() < 2000, "{} bytes of error", output.stderr.len());
    assert!(output.stderr.contains("/etc/wireguard/wg0.conf:1:1"), "{output}");
    Ok(())
}

#[test]
fn what_the_host_cannot_do_is_refused_before_anything_changes() -> Result<()> {
    let machine = Machine::new()?;
    let whole = format!("{INTERFACE}{PEER}");
    let output = refused(&machine, whole.replace("[Peer]", "Table = nosuch\n[Peer]"))?;
    assert!(output.stderr.contains("`nosuch'"), "{output}");
    Ok(())
}

#[test]
fn an_endpoint_that_cannot_be_resolved_is_refused_before_anything_changes() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}").replace("192.0.2.1", "no.such.invalid"))?;
    let before = machine.settled()?;
    let mut command = machine.command("wg-quick")?;
    command.env("WG_ENDPOINT_RESOLUTION_RETRIES", "0").args(["up", "wg0"]);
    let output = machine.host.run_command(&mut command, "")?.code(1)?;
    assert!(output.stderr.ends_with(": `no.such.invalid:51820'\n"), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    machine.assert_as(&before)
}

#[test]
fn a_command_before_up_may_be_what_makes_an_endpoint_resolve() -> Result<()> {
    let machine = Machine::new()?;
    let peer = PEER.replace("192.0.2.1", "vpn.example");
    let hook = "PreUp = echo 192.0.2.9 vpn.example >> /etc/hosts";
    machine.config(format!("{INTERFACE}{hook}\n{peer}"))?;
    machine.wg_quick("up wg0")?.success()?;
    let wg = testbed::originals::wg()?;
    let endpoints = machine.host.run(&format!("{} show wg0 endpoints", wg.display()))?.stdout;
    assert!(endpoints.ends_with("\t192.0.2.9:51820\n"), "{endpoints}");
    machine.wg_quick("down wg0")?.success()?;

    let peer = PEER.replace("192.0.2.1", "no.such.invalid");
    machine.config(format!("{INTERFACE}PreUp = true\n{peer}"))?;
    let before = machine.settled()?;
    let mut command = machine.command("wg-quick")?;
    command.env("WG_ENDPOINT_RESOLUTION_RETRIES", "0").args(["up", "wg0"]);
    let output = machine.host.run_command(&mut command, "")?.code(1)?;
    let end = ": `no.such.invalid:51820'\n[#] ip link delete dev wg0\n";
    assert!(output.stderr.ends_with(end), "{output}");
    machine.assert_as(&before)
}

#[test]
fn an_endpoint_that_does_not_resolve_yet_is_looked_up_in_the_background() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}").replace("192.0.2.1", "later.example"))?;
    let output = machine.wg_quick("up --resolve=background wg0")?.success()?;
    let peer = "1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=";
    assert!(output.stderr.contains(&format!("[!] Peer {peer}: ")), "{output}");
    assert!(output.stderr.contains("`later.example:51820'"), "{output}");
    let wg = testbed::originals::wg()?;
    let endpoints = || machine.host.run(&format!("{} show wg0 endpoints", wg.display()));
    assert_eq!(endpoints()?.stdout, format!("{peer}\t(none)\n"));
    machine.host.add_host_name("192.0.2.9".parse()?, "later.example")?;
    testbed::eventually("the endpoint", LIMIT, || {
        endpoints().ok()?.stdout.contains("192.0.2.9:51820").then_some(())
    })?;
    testbed::eventually("the end of the search", LIMIT, || {
        let all = machine.host.processes().ok()?;
        (!all.iter().any(|process| process.command.contains("resolve-endpoints"))).then_some(())
    })
}

#[test]
fn an_address_that_the_interface_has_already_is_told() -> Result<()> {
    let machine = Machine::new()?;
    let add = "PreUp = ip address add 10.66.0.2/24 dev %i";
    machine.config(format!("{INTERFACE}{add}\n{PEER}"))?;
    let before = machine.settled()?;
    let output = machine.wg_quick("up wg0")?.code(2)?;
    assert!(output.stderr.contains("wg0: add address 10.66.0.2/24: File exists"), "{output}");
    machine.assert_as(&before)
}

#[test]
fn an_interface_that_exists_is_left_alone() -> Result<()> {
    let machine = Machine::new()?;
    machine.host.run("ip link add wg0 type veth peer name other")?.success()?;
    let output = refused(&machine, format!("{INTERFACE}{PEER}"))?;
    assert_eq!(output.stderr, "wg-quick: `wg0' already exists\n");
    let before = machine.settled()?;
    let output = machine.wg_quick("down wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: `wg0' is not a WireGuard interface\n");
    machine.assert_as(&before)
}

#[test]
fn a_daemon_whose_queue_of_connections_is_full_holds_nobody() -> Result<()> {
    let machine = Machine::new()?;
    machine.host.run("ip link add wg0 type veth peer name other")?.success()?;
    machine.host.run("mkdir -p /run/wireguard")?.success()?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let daemon = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let path = machine.host.path("/run/wireguard/wg0.sock");
    bind(daemon.as_raw_fd(), &UnixAddr::new(&path)?)?;
    listen(&daemon, Backlog::new(0)?)?;
    let _first = UnixStream::connect(&path)?;
    let output = machine.host.run("wg show interfaces")?.success()?;
    assert_eq!(output.stdout, "wg0\n");
    Ok(())
}

#[test]
fn a_tun_device_that_cannot_be_opened_is_told() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.host.run("mount --bind /dev/null /dev/net/tun")?.success()?;
    let before = machine.settled()?;
    let output = machine.wg_quick("up wg0")?;
    if !output.stderr.contains("[!]") {
        return report::add(&Entry::Skipped {
            test: "a_tun_device_that_cannot_be_opened_is_told".to_owned(),
            reason: "the kernel has WireGuard and needs no TUN device".to_owned(),
        });
    }
    let output = output.code(1)?;
    assert!(output.stderr.contains("could not start"), "{output}");
    machine.assert_as(&before)
}
