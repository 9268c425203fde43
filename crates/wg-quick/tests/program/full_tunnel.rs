//! Default routes in `Table = auto`.

use std::process::Stdio;

use anyhow::Result;
use testbed::packages;

use crate::captures::{ours, state};
use crate::machine::{INTERFACE, Machine};
use crate::original::assert_same;

const PEER: &str = "
[Peer]
PublicKey = 1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=
Endpoint = 192.0.2.1:51820
AllowedIPs = 0.0.0.0/0, ::/0
";

const SECOND: &str = "
[Interface]
PrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=
Address = 10.67.0.2/24, fd67::2/64
";

#[test]
fn as_the_original() -> Result<()> {
    assert_same(&format!("{INTERFACE}{PEER}"), &[])?;
    assert_same(&format!("{INTERFACE}FwMark = 0xabc\n{PEER}"), &[])?;
    assert_same(&format!("{INTERFACE}{PEER}"), &["ip rule add to 203.0.113.0/24 table 99"])?;
    assert_same(
        &format!("{INTERFACE}{PEER}"),
        &["ip -6 route add fd99::/64 dev eth0 table 51820", "ip route add 10.9.0.0/16 dev eth0"],
    )
}

#[test]
fn of_two_at_once_each_goes_alone() -> Result<()> {
    packages::ensure(&["nftables", "procps"])?;
    let machine = Machine::new()?;
    machine.host.write_file("/etc/wireguard/wg1.conf", format!("{SECOND}{PEER}"), 0o600)?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let none = machine.settled()?;
    ours(&machine, "up wg0")?.success()?;
    let first = state(&machine)?;
    ours(&machine, "up wg1")?.success()?;
    let routes = machine.host.run("ip -4 route show table 51821")?.success()?;
    assert_eq!(routes.stdout, "default dev wg1 scope link \n");
    ours(&machine, "down wg1")?.success()?;
    assert_eq!(state(&machine)?, first, "the second went");
    ours(&machine, "up wg1")?.success()?;
    ours(&machine, "down wg0")?.success()?;
    let rules = "0:\tfrom all lookup local\n32762:\tfrom all lookup main suppress_prefixlength 0\n\
                 32763:\tnot from all fwmark 0xca6d lookup 51821\n32766:\tfrom all lookup main\n";
    assert_eq!(machine.host.run("ip -6 rule")?.stdout, rules, "the first went");
    let ruleset = machine.host.run("nft list ruleset")?.stdout;
    assert!(ruleset.contains("wg-quick-wg1") && !ruleset.contains("wg-quick-wg0"), "{ruleset}");
    ours(&machine, "down wg1")?.success()?;
    machine.assert_as(&none)
}

#[test]
fn two_at_the_same_time_take_different_tables() -> Result<()> {
    let machine = Machine::new()?;
    let mut children = Vec::new();
    for number in 0..4 {
        let text = format!("{}{PEER}", SECOND.replace("67", &(70 + number).to_string()));
        machine.host.write_file(&format!("/etc/wireguard/wg{number}.conf"), text, 0o600)?;
    }
    for number in 0..4 {
        let mut command = machine.host.command("wg-quick");
        command.args(["up", &format!("wg{number}")]).stderr(Stdio::null());
        children.push(command.spawn()?);
    }
    for mut child in children {
        assert!(child.wait()?.success());
    }
    for family in ["-4", "-6"] {
        let mut tables = Vec::new();
        for line in machine.host.run(&format!("ip {family} rule"))?.stdout.lines() {
            tables.extend(line.split("lookup 518").nth(1).map(|rest| rest.trim().to_owned()));
        }
        tables.sort();
        assert_eq!(tables, ["20", "21", "22", "23"], "{family}");
    }
    Ok(())
}

#[test]
fn down_without_a_journal_finds_the_tunnels_own_rules() -> Result<()> {
    let machine = Machine::new()?;
    machine.host.write_file("/etc/wireguard/wg1.conf", format!("{SECOND}{PEER}"), 0o600)?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    ours(&machine, "up wg1")?.success()?;
    let second = machine.snapshot()?;
    ours(&machine, "up wg0")?.success()?;
    machine.host.run("rm /run/wg-quick/wg0")?.success()?;
    ours(&machine, "down wg0")?.success()?;
    assert_eq!(second.difference(&machine.snapshot()?), "");
    Ok(())
}

#[test]
fn a_sysctl_that_cannot_be_written_is_a_warning() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.host.run("mount --bind /proc/sys /proc/sys")?.success()?;
    machine.host.run("mount -o remount,bind,ro /proc/sys")?.success()?;
    let before = machine.settled()?;
    let output = ours(&machine, "up wg0")?.success()?;
    let warning = "[!] net.ipv4.conf.all.src_valid_mark cannot be set to 1: Read-only file system";
    assert!(output.stderr.contains(warning), "{output}");
    ours(&machine, "down wg0")?.success()?;
    machine.assert_as(&before)
}
