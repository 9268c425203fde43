//! Name servers where there is no `resolvconf`.

use anyhow::Result;
use testbed::{Output, programs};

use crate::machine::{INTERFACE, Machine, PEER};

const BEFORE: &str = "# by hand\nnameserver 192.0.2.53\nsearch example";

fn machine() -> Result<Machine> {
    let machine = Machine::new()?;
    machine.host.write_file("/etc/resolv.conf", BEFORE, 0o644)?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1, corp.example, fd66::53\n{PEER}"))?;
    Ok(machine)
}

/// Runs our `wg-quick` with a PATH that has no manager of the resolver but what a test puts there.
fn ours(machine: &Machine, arguments: &str) -> Result<Output> {
    machine.host.run("mkdir -p /run/bin")?.success()?;
    machine.host.run("ln -sf /bin/sh /run/bin/sh")?.success()?;
    let mut command = machine.host.command("wg-quick");
    command.env("PATH", format!("{}:/run/bin", programs::folder()?.display()));
    machine.host.run_command(command.args(arguments.split_whitespace()), "")
}

/// The lines that a resolver reads.
fn settings(machine: &Machine) -> Result<Vec<String>> {
    let text = machine.host.read_file("/etc/resolv.conf")?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

#[test]
fn resolv_conf_is_written_in_place_and_put_back() -> Result<()> {
    // The test host's file is a mount of its own, which nothing can be renamed over.
    let machine = machine()?;
    let before = machine.settled()?;
    ours(&machine, "up wg0")?.success()?;
    let expected = ["nameserver 10.66.0.1", "nameserver fd66::53", "search corp.example"];
    assert_eq!(settings(&machine)?, expected);
    machine.host.run("rm /etc/wireguard/wg0.conf")?.success()?;
    ours(&machine, "down wg0")?.success()?;
    assert_eq!(machine.host.read_file("/etc/resolv.conf")?, BEFORE);
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1, corp.example, fd66::53\n{PEER}"))?;
    machine.assert_as(&before)
}

#[test]
fn two_tunnels_and_the_first_goes_first() -> Result<()> {
    let machine = machine()?;
    let second = "[Interface]\nPrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=\n\
                  Address = 10.67.0.2/24\nDNS = 10.67.0.1\n";
    machine.host.write_file("/etc/wireguard/wg1.conf", second, 0o600)?;
    ours(&machine, "up wg0")?.success()?;
    ours(&machine, "up wg1")?.success()?;
    assert_eq!(settings(&machine)?, ["nameserver 10.67.0.1"]);
    ours(&machine, "down wg0")?.success()?;
    assert_eq!(settings(&machine)?, ["nameserver 10.67.0.1"]);
    ours(&machine, "down wg1")?.success()?;
    assert_eq!(machine.host.read_file("/etc/resolv.conf")?, BEFORE);
    Ok(())
}

#[test]
fn a_failing_hook_puts_the_name_servers_back() -> Result<()> {
    let machine = machine()?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = exit 3\n{PEER}"))?;
    let before = machine.settled()?;
    ours(&machine, "up wg0")?.code(3)?;
    machine.assert_as(&before)
}

#[test]
fn systemd_resolved_is_asked_where_it_runs() -> Result<()> {
    let machine = machine()?;
    let stub = "#!/bin/sh\necho \"$@\" >>/run/resolvectl.log\n";
    machine.host.run("mkdir -p /run/bin /run/systemd/resolve")?.success()?;
    machine.host.write_file("/run/bin/resolvectl", stub, 0o755)?;
    ours(&machine, "up wg0")?.success()?;
    let log = machine.host.read_file("/run/resolvectl.log")?;
    assert_eq!(log, "dns wg0 10.66.0.1 fd66::53\ndomain wg0 ~. corp.example\n");
    assert_eq!(machine.host.read_file("/etc/resolv.conf")?, BEFORE);
    ours(&machine, "down wg0")?.success()?;
    assert_eq!(machine.host.read_file("/run/resolvectl.log")?, log);
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = exit 3\n{PEER}"))?;
    ours(&machine, "up wg0")?.code(3)?;
    assert!(machine.host.read_file("/run/resolvectl.log")?.ends_with("\nrevert wg0\n"));
    Ok(())
}
