//! What the original left behind on the kernel's own WireGuard, captured, and what we leave with
//! either dataplane.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Output, packages, vm};

use crate::machine::Machine;

/// One captured configuration: a text of parts, each behind a line `== NAME`.
pub(crate) struct Capture {
    pub(crate) name: String,
    text: String,
}

impl Capture {
    /// All of them.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
            all.push(Self { name, text: fs::read_to_string(&path)? });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The capture of this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::all()?.into_iter().find(|capture| capture.name == name).context("no such capture")
    }

    /// A part, if it has it.
    pub(crate) fn part(&self, name: &str) -> Option<String> {
        let head = format!("== {name}\n");
        let start = self.text.find(&head)? + head.len();
        let rest = &self.text[start..];
        let end = rest.find("\n== ").map_or(rest.len(), |end| end + 1);
        Some(if rest.starts_with("== ") { String::new() } else { rest[..end].to_owned() })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> String {
        self.part("wg0.conf").unwrap_or_default()
    }

    /// A host as it was when this was captured.
    pub(crate) fn machine(&self) -> Result<Machine> {
        let machine = Machine::new()?;
        let prepare: &[&str] = match self.name.as_str() {
            "full-tunnel-table-51820-busy" => &["ip route add 203.0.113.0/24 dev eth0 table 51820"],
            "mtu-auto-eth0-1400" => &["ip link set mtu 1400 dev eth0"],
            "mtu-auto-no-default-route" => &["ip route del default", "ip -6 route del default"],
            "mtu-auto-route-mtu-1300" => {
                &["ip route add 198.51.100.0/24 via 192.0.2.1 dev eth0 mtu 1300"]
            }
            _ => &[],
        };
        for line in prepare {
            machine.host.run(line)?.success()?;
        }
        machine.host.run("mkdir /run/bin")?.success()?;
        if self.name == "dns-search" {
            let stub = "#!/bin/sh\necho \"$@\" >>/run/resolvconf.log\ncat >>/run/resolvconf.log\n";
            machine.host.write_file("/run/bin/resolvconf", stub, 0o755)?;
        }
        machine.config(self.config())?;
        Ok(machine)
    }
}

/// Runs our `wg-quick` with our daemon.
pub(crate) fn ours(machine: &Machine, arguments: &str) -> Result<Output> {
    machine.host.run_command(our_command(machine)?.args(arguments.split_whitespace()), "")
}

/// Our `wg-quick` with our daemon.
pub(crate) fn our_command(machine: &Machine) -> Result<Command> {
    let mut command = machine.host.command("wg-quick");
    let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
    let path = path.context("a PATH")?.to_string_lossy().into_owned();
    let (own, system) = path.split_once(':').context("two folders")?;
    // What a test puts there comes before what the machine may have.
    command.env("PATH", format!("{own}:/run/bin:{system}"));
    Ok(command)
}

/// The captures' form of the host's state.
pub(crate) fn state(machine: &Machine) -> Result<String> {
    machine.wait_for_ipv6()?;
    let ask = |line: &str| -> Result<String> { Ok(machine.host.run(line)?.stdout) };
    let mut state = String::new();
    let mut line = |line: &str| state.push_str(&format!("{line}\n"));
    for text in ask("ip addr show dev wg0")?.lines() {
        let words: Vec<_> = text.split_whitespace().collect();
        match words.as_slice() {
            ["inet" | "inet6", address, ..] if !address.starts_with("fe80:") => {
                line(&words[..2].join(" "));
            }
            [.., "mtu", _, "qdisc", _, "state", _, "group", _, "qlen", _] => {
                let mtu = text.split(" mtu ").nth(1).and_then(|rest| rest.split(' ').next());
                line(&format!("mtu {}", mtu.unwrap_or_default()));
            }
            _ => {}
        }
    }
    for question in ["ip -4 route show table all", "ip -6 route show table all"] {
        let own = |text: &&str| {
            text.contains("dev wg0") && !text.contains("fe80:") && !text.contains("ff00:")
        };
        ask(question)?.lines().filter(own).for_each(|text| line(text.trim()));
    }
    for question in ["ip -4 rule", "ip -6 rule"] {
        ask(question)?.lines().for_each(&mut line);
    }
    ask("sysctl net.ipv4.conf.all.src_valid_mark")?.lines().for_each(&mut line);
    // The daemon's device has a link-local address, which the kernel's has not.
    let ruleset = ask("nft list ruleset")?;
    ruleset.lines().filter(|text| !text.contains("daddr fe80:")).for_each(&mut line);
    Ok(state)
}

/// The lines of commands, the daemon's aside.
fn commands(stderr: &str) -> String {
    let is_command = |line: &&str| line.starts_with("[#]") && *line != "[#] wg-userspace wg0";
    stderr.lines().filter(is_command).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_same_lines_and_the_same_state_as_captured() -> Result<()> {
    as_captured()
}

#[test]
fn the_same_on_the_kernels_wireguard() -> Result<()> {
    vm::test_within(Duration::from_secs(300), || as_captured().context("on the kernel"))
}

fn as_captured() -> Result<()> {
    packages::ensure(&["nftables", "procps"])?;
    let mut compared = 0;
    for capture in Capture::all()? {
        // A file of its own tests these.
        if ["hook-failures", "dns-without-resolvconf"].contains(&capture.name.as_str()) {
            continue;
        }
        let name = &capture.name;
        // The captures of a host without nft: we need none, so they are as the one with it.
        let without_nft = name.starts_with("full-tunnel-iptables") || name.contains("no-firewall");
        let expected = if without_nft {
            Capture::named("full-tunnel")?
        } else {
            Capture { name: name.clone(), text: capture.text.clone() }
        };
        let machine = capture.machine()?;
        for (verb, after) in [("up", "1-up"), ("down", "2-down")] {
            let Some(code) = expected.part(&format!("{verb}.rc")) else { continue };
            let output = ours(&machine, &format!("{verb} wg0"))?;
            ensure!(
                output.status.code().map(|c| c.to_string()).as_deref() == Some(code.trim()),
                "{name}: {output}"
            );
            let lines = expected.part(&format!("{verb}.stderr")).unwrap_or_default();
            assert_eq!(commands(&output.stderr), commands(&lines), "{name} {verb}");
            let state_then = expected.part(after).context("a state")?;
            assert_eq!(state(&machine)?, state_then, "{name} after {verb}");
            compared += 1;
        }
    }
    ensure!(compared >= 40, "only {compared} captures compared");
    Ok(())
}
