//! `save` and `SaveConfig`.

use anyhow::{Context, Result};
use wg_config::{Config, Dialect};

use crate::captures::{Capture, ours};
use crate::machine::{INTERFACE, Machine, PEER};

/// What the test of the original did to the interface between `up` and `save`.
const CHANGES: [&str; 3] = [
    "ip address add 10.99.0.1/32 dev wg0",
    "ip link set mtu 1410 dev wg0",
    "wg set wg0 peer DFFE1V5xI1dosQXKpKtvybPHJKoGdkOChb7gGb12NnY= preshared-key /run/psk \
     allowed-ips 10.67.0.0/24,fd67::/64 persistent-keepalive 15",
];

fn changed(machine: &Machine) -> Result<()> {
    machine.host.write_file("/run/psk", "UVi1FLGM3g6j1DH8ZpZmLuq5ywSkdQcExwV6nfUe/Ck=\n", 0o600)?;
    CHANGES.iter().try_for_each(|line| machine.host.run(line)?.success().map(|_| ()))
}

/// What a file says, whatever the order of its addresses.
fn meaning(text: &str) -> Result<Config> {
    let parsed = wg_config::read("x", text.as_bytes(), Dialect::WgQuick, |_| None);
    let mut config = parsed.map_err(|errors| anyhow::anyhow!("{errors}"))?.config;
    config.interface.addresses.sort_by_key(ToString::to_string);
    // One without keepalives has no line for them.
    for peer in &mut config.peers {
        peer.persistent_keepalive = peer.persistent_keepalive.filter(|seconds| *seconds > 0);
    }
    Ok(config)
}

#[test]
fn the_file_says_what_the_originals_says_and_keeps_its_comments() -> Result<()> {
    let capture = Capture::named("saveconfig")?;
    for verb in ["save", "down"] {
        let machine = capture.machine()?;
        ours(&machine, "up wg0")?.success()?;
        changed(&machine)?;
        machine.host.run("chmod 644 /etc/wireguard/wg0.conf")?.success()?;
        let output = ours(&machine, &format!("{verb} wg0"))?.success()?;
        assert!(output.stderr.contains("[#] wg showconf wg0\n"), "{output}");
        let saved = machine.host.read_file("/etc/wireguard/wg0.conf")?;
        let expected = capture.part("wg0.conf.after-save").context("what the original saved")?;
        assert_eq!(meaning(&saved)?, meaning(&expected)?, "{saved}");
        for line in capture.config().lines().filter(|line| line.contains('#')) {
            assert!(saved.contains(line), "{line} in {saved}");
        }
        let files = machine.host.run("stat -c %a%n /etc/wireguard/wg0.conf")?.success()?;
        assert_eq!(files.stdout, "600/etc/wireguard/wg0.conf\n");
        machine.host.run("test ! -e /etc/wireguard/wg0.conf.tmp")?.success()?;
    }
    Ok(())
}

#[test]
fn a_mark_that_up_chose_is_not_saved() -> Result<()> {
    let machine = Machine::new()?;
    let peer = PEER.replace("AllowedIPs =", "AllowedIPs = 0.0.0.0/0,");
    let text = format!("{INTERFACE}ListenPort = 4711\nDNS = 10.66.0.1, corp.example\n{peer}");
    machine.config(&text)?;
    ours(&machine, "up wg0")?.success()?;
    ours(&machine, "save wg0")?.success()?;
    assert_eq!(machine.host.read_file("/etc/wireguard/wg0.conf")?, text);
    machine.host.run("wg set wg0 fwmark 77")?.success()?;
    ours(&machine, "save wg0")?.success()?;
    let saved = machine.host.read_file("/etc/wireguard/wg0.conf")?;
    assert!(saved.contains("FwMark = 0x4d\n"), "{saved}");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_stays_and_so_does_the_tunnel() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}SaveConfig = true\n{PEER}"))?;
    ours(&machine, "up wg0")?.success()?;
    let before = machine.host.read_file("/etc/wireguard/wg0.conf")?;
    machine.host.run("mount --bind /etc/wireguard /etc/wireguard")?.success()?;
    machine.host.run("mount -o remount,bind,ro /etc/wireguard")?.success()?;
    let output = ours(&machine, "down wg0")?.code(1)?;
    assert!(output.stderr.contains("`/etc/wireguard/wg0.conf' cannot be written"), "{output}");
    machine.host.run("ip link show dev wg0")?.success()?;
    assert_eq!(machine.host.read_file("/etc/wireguard/wg0.conf")?, before);
    Ok(())
}
