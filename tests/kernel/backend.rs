//! The kernel backend on the real module, with the original `wg` as the judge.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::{originals, vm};
use wg_config::{AllowedIp, AllowedIpChange, PresharedKey, PrivateKey, PublicKey};
use wg_control::{Device, DeviceUpdate, PeerUpdate, kernel};

#[test]
fn every_setting_of_an_interface_arrives() -> Result<()> {
    vm::test(|| {
        let name = interface("wg0")?;
        let update = DeviceUpdate {
            private_key: Some(private_key(1)),
            listen_port: Some(51820),
            fwmark: Some(0xca6c),
            ..DeviceUpdate::default()
        };
        kernel::set(name, &update)?;
        let (private, public) = (private_key(1), private_key(1).public_key());
        let line =
            |port, mark| format!("{}\t{public}\t{port}\t{mark}\n", private.to_base64().as_str());
        assert_eq!(original(&["show", name, "dump"])?, line("51820", "0xca6c"));

        kernel::set(name, &DeviceUpdate { listen_port: Some(1), ..DeviceUpdate::default() })?;
        assert_eq!(original(&["show", name, "dump"])?, line("1", "0xca6c"));
        kernel::set(name, &DeviceUpdate { fwmark: Some(0), ..DeviceUpdate::default() })?;
        assert_eq!(original(&["show", name, "dump"])?, line("1", "off"));
        let none = Some(PrivateKey::from([0; 32]));
        kernel::set(name, &DeviceUpdate { private_key: none, ..DeviceUpdate::default() })?;
        assert_eq!(original(&["show", name, "dump"])?, "(none)\t(none)\t1\toff\n");
        agree(name).map(drop)
    })
}

#[test]
fn every_setting_of_a_peer_arrives() -> Result<()> {
    vm::test(|| {
        let name = interface("wg0")?;
        let peer = PeerUpdate {
            preshared_key: Some(PresharedKey::from([7; 32])),
            endpoint: Some("192.0.2.1:51820".parse()?),
            persistent_keepalive: Some(25),
            allowed_ips: vec![give("10.1.0.0/16")?, give("fd00:1::/64")?],
            ..PeerUpdate::new(public_key(1))
        };
        set_peers(name, [peer])?;
        let key = public_key(1);
        let psk = PresharedKey::from([7; 32]);
        let psk = psk.to_base64();
        let psk = psk.as_str();
        assert_eq!(
            peers(name)?,
            format!("{key}\t{psk}\t192.0.2.1:51820\t10.1.0.0/16,fd00:1::/64\t0\t0\t0\t25\n")
        );

        // What is not mentioned stays.
        let endpoint: SocketAddr = "[2001:db8::1]:65535".parse()?;
        set_peers(name, [PeerUpdate { endpoint: Some(endpoint), ..PeerUpdate::new(key) }])?;
        assert_eq!(
            peers(name)?,
            format!("{key}\t{psk}\t{endpoint}\t10.1.0.0/16,fd00:1::/64\t0\t0\t0\t25\n")
        );
        let off = PeerUpdate {
            preshared_key: Some(PresharedKey::from([0; 32])),
            persistent_keepalive: Some(0),
            ..PeerUpdate::new(key)
        };
        set_peers(name, [off])?;
        assert_eq!(
            peers(name)?,
            format!("{key}\t(none)\t{endpoint}\t10.1.0.0/16,fd00:1::/64\t0\t0\t0\toff\n")
        );
        agree(name).map(drop)
    })
}

#[test]
fn every_flag_does_what_it_says() -> Result<()> {
    vm::test(|| {
        let name = interface("wg0")?;
        let with = |number, allowed_ips: Vec<AllowedIpChange>| PeerUpdate {
            allowed_ips,
            ..PeerUpdate::new(public_key(number))
        };
        let line = |number, allowed_ips: &str| {
            format!("{}\t(none)\t(none)\t{allowed_ips}\t0\t0\t0\toff\n", public_key(number))
        };
        set_peers(name, [with(1, vec![give("10.1.0.0/16")?]), with(2, vec![give("::/0")?])])?;
        let two = line(1, "10.1.0.0/16") + &line(2, "::/0");
        assert_eq!(peers(name)?, two);

        // Given to another peer, an allowed IP leaves the one that had it.
        set_peers(name, [with(2, vec![give("10.1.0.0/16")?])])?;
        assert_eq!(peers(name)?, line(1, "(none)") + &line(2, "::/0,10.1.0.0/16"));
        // Taken from a peer that does not have it, it stays.
        set_peers(name, [with(1, vec![take("10.1.0.0/16")?])])?;
        assert_eq!(peers(name)?, line(1, "(none)") + &line(2, "::/0,10.1.0.0/16"));
        set_peers(name, [with(2, vec![take("10.1.0.0/16")?, give("10.2.0.0/16")?])])?;
        assert_eq!(peers(name)?, line(1, "(none)") + &line(2, "::/0,10.2.0.0/16"));

        let replace = PeerUpdate { replace_allowed_ips: true, ..with(2, vec![give("fd00::/8")?]) };
        set_peers(name, [replace])?;
        assert_eq!(peers(name)?, line(1, "(none)") + &line(2, "fd00::/8"));

        let stranger = PeerUpdate { update_only: true, ..with(3, vec![give("10.3.0.0/16")?]) };
        let known = PeerUpdate { update_only: true, ..with(1, vec![give("10.1.0.0/16")?]) };
        set_peers(name, [stranger, known])?;
        assert_eq!(peers(name)?, line(1, "10.1.0.0/16") + &line(2, "fd00::/8"));

        set_peers(name, [PeerUpdate { remove: true, ..with(1, vec![]) }])?;
        assert_eq!(peers(name)?, line(2, "fd00::/8"));
        set_peers(name, [PeerUpdate { remove: true, ..with(9, vec![]) }])?;
        assert_eq!(peers(name)?, line(2, "fd00::/8"));

        let replace = DeviceUpdate {
            replace_peers: true,
            peers: vec![with(3, vec![give("0.0.0.0/0")?])],
            ..DeviceUpdate::default()
        };
        kernel::set(name, &replace)?;
        assert_eq!(peers(name)?, line(3, "0.0.0.0/0"));
        agree(name).map(drop)
    })
}

#[test]
fn many_peers_go_in_and_come_back_in_many_messages() -> Result<()> {
    vm::test_within(Duration::from_secs(300), || {
        let name = interface("wg0")?;
        let before =
            PeerUpdate { allowed_ips: vec![give("::/0")?], ..PeerUpdate::new([9; 32].into()) };
        set_peers(name, [before])?;
        let update = DeviceUpdate {
            private_key: Some(private_key(1)),
            listen_port: Some(51820),
            fwmark: Some(1),
            replace_peers: true,
            peers: (0..1_000).map(many_allowed_ips(20)).collect(),
        };
        kernel::set(name, &update)?;
        holds_exactly(name, &update)
    })
}

#[test]
fn a_peer_with_many_allowed_ips_goes_in_and_comes_back_in_many_messages() -> Result<()> {
    vm::test_within(Duration::from_secs(300), || {
        let name = interface("wg0")?;
        let peer = PeerUpdate { replace_allowed_ips: true, ..many_allowed_ips(5_000)(1) };
        // What is replaced has to go, though the change takes many messages.
        let before =
            PeerUpdate { allowed_ips: vec![give("::/0")?], ..PeerUpdate::new(peer.public_key) };
        set_peers(name, [before])?;
        let update = DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() };
        kernel::set(name, &update)?;
        holds_exactly(name, &update)?;

        // No part of a change to a peer that is not there brings it about.
        let stranger = PeerUpdate { update_only: true, ..many_allowed_ips(5_000)(2) };
        set_peers(name, [stranger])?;
        holds_exactly(name, &update)
    })
}

#[test]
fn errors_are_those_of_the_original() -> Result<()> {
    vm::test(|| {
        ip(&["link", "add", "other", "type", "dummy"])?;
        for name in ["missing", "other"] {
            let error = kernel::get(name).expect_err("it is no WireGuard interface");
            assert_eq!(
                format!("Unable to access interface: {}\n", reason(&error)),
                complaint(&["show", name])?
            );
            let error =
                kernel::set(name, &DeviceUpdate { fwmark: Some(1), ..DeviceUpdate::default() })
                    .expect_err("it is no WireGuard interface");
            assert_eq!(
                format!("Unable to modify interface: {}\n", reason(&error)),
                complaint(&["set", name, "fwmark", "1"])?
            );
        }
        // Another socket has the port.
        let taken = std::net::UdpSocket::bind("0.0.0.0:51820")?;
        let name = interface("wg0")?;
        ip(&["link", "set", name, "up"])?;
        let port = DeviceUpdate { listen_port: Some(51820), ..DeviceUpdate::default() };
        let error = kernel::set(name, &port).expect_err("the port is taken");
        assert_eq!(
            format!("Unable to modify interface: {}\n", reason(&error)),
            complaint(&["set", name, "listen-port", "51820"])?
        );
        drop(taken);
        Ok(kernel::set(name, &port)?)
    })
}

#[test]
fn interfaces_are_told_by_their_kind() -> Result<()> {
    vm::test(|| {
        assert_eq!(kernel::interfaces()?, [""; 0]);
        ip(&["link", "add", "wireguard", "type", "dummy"])?;
        ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "veth1"])?;
        interface("wg0")?;
        interface("eth-1")?;
        ip(&["tuntap", "add", "tun0", "mode", "tun"])?;
        assert_eq!(kernel::interfaces()?, ["wg0", "eth-1"]);
        assert_eq!(original(&["show", "interfaces"])?, "wg0 eth-1\n");
        for (name, is) in
            [("wg0", true), ("eth-1", true), ("wireguard", false), ("tun0", false), ("none", false)]
        {
            assert_eq!(kernel::is_wireguard(name)?, is, "{name}");
        }
        Ok(())
    })
}

/// Makes an interface.
fn interface(name: &str) -> Result<&str> {
    ip(&["link", "add", name, "type", "wireguard"])?;
    Ok(name)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status()?;
    if !status.success() {
        bail!("ip {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// What the original prints.
fn original(arguments: &[&str]) -> Result<String> {
    let output = Command::new(originals::wg()?).args(arguments).output()?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!("wg {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What the original complains of when it fails.
fn complaint(arguments: &[&str]) -> Result<String> {
    let output = Command::new(originals::wg()?).args(arguments).output()?;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    Ok(String::from_utf8(output.stderr)?)
}

/// The kernel's reason alone, as the original prints it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The peers' lines of the original's dump, in the order of their keys.
fn peers(name: &str) -> Result<String> {
    let dump = original(&["show", name, "dump"])?;
    let mut lines: Vec<_> = dump.lines().skip(1).collect();
    lines.sort_unstable();
    Ok(lines.iter().flat_map(|line| [line, "\n"]).collect())
}

fn set_peers(name: &str, peers: impl Into<Vec<PeerUpdate>>) -> Result<()> {
    Ok(kernel::set(name, &DeviceUpdate { peers: peers.into(), ..DeviceUpdate::default() })?)
}

/// Checks that the original and the backend read the same.
fn agree(name: &str) -> Result<Device> {
    let device = kernel::get(name)?;
    assert!(dump(&device) == original(&["show", name, "dump"])?, "{}", dump(&device));
    Ok(device)
}

/// Checks that the interface has the peers of the update, and nothing else.
fn holds_exactly(name: &str, update: &DeviceUpdate) -> Result<()> {
    let device = agree(name)?;
    assert_eq!(device.private_key, update.private_key);
    assert_eq!(device.fwmark, update.fwmark.unwrap_or(0));
    assert_eq!(device.peers.len(), update.peers.len());
    for (has, wanted) in device.peers.iter().zip(&update.peers) {
        assert_eq!(has.public_key, wanted.public_key);
        assert_eq!(has.preshared_key, wanted.preshared_key);
        let wanted: Vec<_> = wanted.allowed_ips.iter().map(|change| change.ip).collect();
        assert!(has.allowed_ips == wanted, "{} allowed IPs", has.allowed_ips.len());
    }
    Ok(())
}

/// The device as the original's `dump` prints it.
fn dump(device: &Device) -> String {
    let text = |present: Option<String>| present.unwrap_or_else(|| "(none)".to_owned());
    let mut dump = String::new();
    let _ = writeln!(
        dump,
        "{}\t{}\t{}\t{}",
        text(device.private_key.as_ref().map(|key| key.to_base64().to_string())),
        text(device.public_key.map(|key| key.to_string())),
        device.listen_port,
        if device.fwmark == 0 { "off".to_owned() } else { format!("{:#x}", device.fwmark) },
    );
    for peer in &device.peers {
        let allowed_ips: Vec<_> = peer.allowed_ips.iter().map(AllowedIp::to_string).collect();
        let _ = writeln!(
            dump,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            peer.public_key,
            text(peer.preshared_key.as_ref().map(|key| key.to_base64().to_string())),
            text(peer.endpoint.map(|endpoint| endpoint.to_string())),
            text(Some(allowed_ips.join(",")).filter(|list| !list.is_empty())),
            peer.last_handshake.unwrap_or_default().as_secs(),
            peer.rx_bytes,
            peer.tx_bytes,
            match peer.persistent_keepalive {
                0 => "off".to_owned(),
                seconds => seconds.to_string(),
            },
        );
    }
    dump
}

fn private_key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

/// Keys whose text is in the order of their numbers.
fn public_key(number: u32) -> PublicKey {
    let mut key = [1; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    PublicKey::from(key)
}

/// A peer by its number, with IPv4 and IPv6 allowed IPs that no other peer has.
fn many_allowed_ips(count: u32) -> impl Fn(u32) -> PeerUpdate {
    move |number| PeerUpdate {
        preshared_key: Some(PresharedKey::from(*public_key(number + 1).as_bytes())),
        persistent_keepalive: Some(number as u16),
        allowed_ips: (0..count)
            .map(|position| number * count + position)
            .map(|unique| match unique % 2 {
                0 => (IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + unique)), 32),
                _ => (IpAddr::from(Ipv6Addr::from_bits(0xfd << 120 | u128::from(unique))), 128),
            })
            .map(|(address, cidr)| AllowedIp::new(address, cidr).expect("it is the longest").into())
            .collect(),
        ..PeerUpdate::new(public_key(number))
    }
}

fn give(text: &str) -> Result<AllowedIpChange> {
    let (address, cidr) = text.split_once('/').context("no prefix length")?;
    Ok(AllowedIp::new(address.parse()?, cidr.parse()?)?.into())
}

fn take(text: &str) -> Result<AllowedIpChange> {
    Ok(AllowedIpChange { remove: true, ..give(text)? })
}
