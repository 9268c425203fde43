//! The same file, the original on one host and ours on another: the same lines and the same state.

use std::path::Path;

use anyhow::Result;
use testbed::{originals, packages};

use crate::machine::{INTERFACE, Machine, PEER};

const PEERS_THAT_OVERLAP: &str = "
[Peer]
PublicKey = 1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.0.0.0/8, 10.66.0.0/16, 172.16.0.0/12, fd66::/32

[Peer]
PublicKey = DFFE1V5xI1dosQXKpKtvybPHJKoGdkOChb7gGb12NnY=
Endpoint = 192.0.2.2:51820
AllowedIPs = 10.66.0.0/24, 10.66.0.5/32, 172.16.0.0/16, fd66:0:0:1::/64, fd66::5/128

[Peer]
PublicKey = idqFec1TEe0p9t6ZHLtRBK/TEuyTU+7lGtEbIxyDz3U=
Endpoint = [2001:db8:1::3]:51820
AllowedIPs = 10.66.0.128/25, 172.16.0.0/12, 192.168.77.99/24, fd66::/48, 10.66.0.5/32
";

/// What a command printed and did: exit code, output, addresses and routes and rules.
pub(crate) struct Trace {
    machine: Machine,
    program: std::path::PathBuf,
}

impl Trace {
    pub(crate) fn new(program: &Path, config: &str, prepare: &[&str]) -> Result<Self> {
        packages::ensure(&["nftables", "procps"])?;
        let machine = Machine::new()?;
        for line in prepare {
            machine.host.run(line)?.success()?;
        }
        machine.config(config)?;
        Ok(Self { machine, program: program.to_path_buf() })
    }

    pub(crate) fn run(&self, arguments: &str) -> Result<(Option<i32>, String, String)> {
        let output = self.machine.run(&self.program, arguments)?;
        Ok((output.status.code(), output.stdout, comparable(&output.stderr)))
    }

    /// Addresses, routes of all tables and rules, without what differs from run to run.
    pub(crate) fn state(&self) -> Result<String> {
        self.machine.wait_for_ipv6()?;
        let mut state = String::new();
        for question in [
            "ip -o addr show dev wg0",
            "ip -d link show dev wg0",
            "ip -d -4 route show table all",
            "ip -d -6 route show table all",
            "ip -4 rule",
            "ip -6 rule",
            "nft list ruleset",
            "sysctl net.ipv4.conf.all.src_valid_mark",
        ] {
            // Without the interface the answer is nothing.
            let answer = self.machine.host.run(question)?.stdout;
            let settled = answer.lines().filter(|line| !line.contains("fe80:"));
            state.extend(settled.map(|line| format!("{line}\n")));
        }
        Ok(state)
    }
}

/// What both say where the kernel has no WireGuard, each in its words.
const NO_WIREGUARD: [&str; 2] = [
    "[!] This kernel has no WireGuard. Falling back to a userspace implementation.",
    "[!] Missing WireGuard kernel module. Falling back to slow userspace implementation.",
];

/// Drops what the programs say in words of their own: that the kernel has no WireGuard, what `ip`
/// and bash complain of, and the daemon's greeting.
fn comparable(stderr: &str) -> String {
    let starts = ["Error: Unknown device type.", "RTNETLINK answers:", "┌", "│", "└"];
    let parts = [": create a link of type wireguard: ", "wg-quick: line "];
    let own = |line: &&str| {
        !NO_WIREGUARD.contains(line)
            && !starts.iter().any(|start| line.starts_with(start))
            && !parts.iter().any(|part| line.contains(part))
    };
    stderr.lines().filter(own).map(|line| format!("{line}\n")).collect()
}

/// Brings the tunnel up and down with both.
pub(crate) fn assert_same(config: &str, prepare: &[&str]) -> Result<()> {
    let original = Trace::new(&originals::wg_quick()?, config, prepare)?;
    let ours = Trace::new(Path::new("wg-quick"), config, prepare)?;
    for verb in ["up", "down"] {
        let arguments = format!("{verb} wg0");
        assert_eq!(ours.run(&arguments)?, original.run(&arguments)?, "{verb}\n{config}");
        assert_eq!(ours.state()?, original.state()?, "after {verb}\n{config}");
    }
    Ok(())
}

#[test]
fn one_peer() -> Result<()> {
    assert_same(&format!("{INTERFACE}{PEER}"), &[])
}

#[test]
fn peers_whose_allowed_ips_overlap() -> Result<()> {
    assert_same(&format!("{INTERFACE}{PEERS_THAT_OVERLAP}"), &[])
}

#[test]
fn no_address_and_no_endpoint() -> Result<()> {
    let config = "\
[Interface]
PrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=
[Peer]
PublicKey = 1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=
AllowedIPs = 10.66.0.7, fd66::7
";
    assert_same(config, &[])
}

#[test]
fn tables_off_and_given() -> Result<()> {
    let default = PEER.replace("AllowedIPs =", "AllowedIPs = 0.0.0.0/0, ::/0,");
    for table in ["off", "1234", "200"] {
        assert_same(&format!("{INTERFACE}Table = {table}\n{default}"), &[])?;
    }
    assert_same(&format!("{INTERFACE}Table = auto\n{PEER}"), &[])
}

#[test]
fn the_mtu_of_the_path() -> Result<()> {
    let config = format!("{INTERFACE}{PEER}");
    assert_same(&format!("{INTERFACE}MTU = 1380\n{PEER}"), &[])?;
    assert_same(&config, &["ip link set mtu 1400 dev eth0"])?;
    assert_same(&config, &["ip route add 192.0.2.0/25 dev eth0 mtu 1400"])?;
    assert_same(&config, &["ip route add unreachable 192.0.2.1/32"])?;
    let without_endpoint = config.replace("Endpoint", "# Endpoint");
    assert_same(&without_endpoint, &["ip link set mtu 1400 dev eth0"])?;
    assert_same(&without_endpoint, &["ip route del default"])
}

#[test]
fn hooks_see_what_they_saw() -> Result<()> {
    let hooks = "\
PreUp = echo preup %i; echo \"to stderr\" >&2
PreUp = echo second-preup '%i' # a comment, not run
PostUp = echo postup %i $INTERFACE \"$CONFIG_FILE\"; env | grep -E '^(LC_ALL|INTERFACE|CONFIG)'
PostUp = ip link show dev %i | grep -o mtu; LEAK=1
PostUp = echo \"LEAK is [$LEAK] pwd $PWD umask $(umask)\"; [[ bash == b* ]] && echo is-bash
PostUp = shopt extglob; set -o | grep -E 'errexit|pipefail'
PostUp=echo no-space-before-value%i
postup = echo lower-case key
PostUp = read x || true; echo \"stdin gave [$x]\"
PostUp =
PreDown = echo predown %i%i %%i
PostDown = echo postdown %i; ip link show dev %i || true
";
    assert_same(&format!("{INTERFACE}{hooks}{PEER}"), &[])
}

#[test]
fn hooks_that_fail() -> Result<()> {
    for hook in [
        "PreUp = exit 3",
        "PostUp = echo before; false; echo not reached",
        "PostUp = false | true",
        "PostUp = kill -9 $BASHPID",
        "PostUp = no-such-command 2>/dev/null",
        "PostDown = exit 5",
    ] {
        assert_same(&format!("{INTERFACE}{hook}\n{PEER}"), &[])?;
    }
    let config = format!("{INTERFACE}PreDown = exit 4\n{PEER}");
    let ours = Trace::new(Path::new("wg-quick"), &config, &[])?;
    ours.run("up wg0")?;
    let up = ours.state()?;
    assert_eq!(ours.run("down wg0")?.0, Some(4));
    assert_eq!(ours.state()?, up, "a failing PreDown leaves the tunnel");
    Ok(())
}

#[test]
fn peers_that_a_hook_added_get_routes() -> Result<()> {
    let add =
        "wg set %i peer DFFE1V5xI1dosQXKpKtvybPHJKoGdkOChb7gGb12NnY= allowed-ips 10.99.0.0/16";
    let original =
        Trace::new(&originals::wg_quick()?, &format!("{INTERFACE}PreUp = {add}\n{PEER}"), &[])?;
    let wg = originals::wg()?;
    let add = format!("{}{}", wg.display(), add.trim_start_matches("wg"));
    let ours =
        Trace::new(Path::new("wg-quick"), &format!("{INTERFACE}PreUp = {add}\n{PEER}"), &[])?;
    assert_eq!(original.run("up wg0")?.0, Some(0));
    assert_eq!(ours.run("up wg0")?.0, Some(0));
    assert!(ours.state()?.contains("10.99.0.0/16"));
    assert_eq!(ours.state()?, original.state()?);
    Ok(())
}

#[test]
fn refusals_in_the_same_words() -> Result<()> {
    let original = Trace::new(&originals::wg_quick()?, &format!("{INTERFACE}{PEER}"), &[])?;
    let ours = Trace::new(Path::new("wg-quick"), &format!("{INTERFACE}{PEER}"), &[])?;
    for trace in [&original, &ours] {
        let files = [("/tmp/x.txt", 0o600), ("/run/wgx.conf", 0o644)];
        for (path, mode) in files {
            trace.machine.host.write_file(path, format!("{INTERFACE}{PEER}"), mode)?;
        }
    }
    for arguments in [
        "down wg0",
        "up wg9",
        "up /tmp/none.conf",
        "up this-name-is-too-long",
        "up /tmp/x.txt",
        "strip wg9",
        "strip wg0",
        "up /run/wgx.conf",
        "down /run/wgx.conf",
        "up wg0",
        "up wg0",
        "down wg0",
        "down wg0",
    ] {
        assert_eq!(ours.run(arguments)?, original.run(arguments)?, "{arguments}");
    }
    for arguments in ["", "up", "up a b", "frobnicate wg0", "-h", "--help", "help"] {
        let (ours, original) = (ours.run(arguments)?, original.run(arguments)?);
        assert_eq!((ours.0, &ours.1), (original.0, &original.1), "{arguments}");
        assert_eq!(ours.2.lines().next(), original.2.lines().next(), "{arguments}");
    }
    Ok(())
}
