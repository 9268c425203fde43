//! Hosts without nf_tables, or without what its rules need.

use std::io;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result, ensure};
use nix::libc;
use testbed::report::{self, Entry};
use testbed::{Output, packages, programs};

use crate::captures::Capture;
use crate::machine::Machine;

/// Runs our `wg-quick` where sockets of `NETLINK_NETFILTER` are refused, with only these folders
/// behind our own in PATH.
fn without_nf_tables(machine: &Machine, arguments: &str, folders: &str) -> Result<Output> {
    let mut command = machine.host.command("wg-quick");
    command.env("PATH", format!("{}:{folders}", programs::folder()?.display()));
    command.args(arguments.split_whitespace());
    // SAFETY: between fork and exec only prctl is called.
    unsafe { command.pre_exec(refuse_netfilter) };
    machine.host.run_command(&mut command, "")
}

/// `socket(_, _, NETLINK_NETFILTER)` fails with EPROTONOSUPPORT, as without nfnetlink.
fn refuse_netfilter() -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // struct seccomp_data: the call's number at 0, the low halves of its arguments at 16, 24, 32.
    let mut filter = [
        op(LOAD, 0, 0, 0),
        op(EQUAL, 0, 5, libc::SYS_socket as u32),
        op(LOAD, 0, 0, 16),
        op(EQUAL, 0, 3, libc::AF_NETLINK as u32),
        op(LOAD, 0, 0, 32),
        op(EQUAL, 0, 1, libc::NETLINK_NETFILTER as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: it takes numbers only.
    let first = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its filter live until the call is over; the kernel copies them.
    let second =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if first == 0 && second == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A host whose `iptables` is the one of the kernel's old tables.
fn machine_with_iptables(capture: &Capture) -> Result<Machine> {
    packages::ensure(&["nftables", "procps", "iptables"])?;
    let machine = capture.machine()?;
    for name in ["iptables", "ip6tables"] {
        for verb in ["save", "restore"] {
            let program = format!("/usr/sbin/{name}-legacy-{verb}");
            machine.host.run(&format!("ln -s {program} /run/bin/{name}-{verb}"))?.success()?;
        }
    }
    Ok(machine)
}

fn rules(machine: &Machine) -> Result<String> {
    let mut rules = String::new();
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        let saved = machine.host.run(program)?.success()?.stdout;
        rules.extend(saved.lines().filter(|l| l.starts_with("-A")).map(|l| format!("{l}\n")));
    }
    Ok(rules)
}

#[test]
fn iptables_makes_the_rules_where_the_kernel_has_no_nf_tables() -> Result<()> {
    let capture = Capture::named("full-tunnel-iptables-legacy-only")?;
    let machine = machine_with_iptables(&capture)?;
    for program in ["iptables-legacy", "ip6tables-legacy"] {
        let raw = machine.host.run(&format!("{program} -t raw -S"))?;
        if !raw.status.success() {
            return report::add(&Entry::Skipped {
                test: "iptables_makes_the_rules_where_the_kernel_has_no_nf_tables".to_owned(),
                reason: format!("the kernel has no old tables: {raw}"),
            });
        }
    }
    let before = machine.settled()?;
    let output = without_nf_tables(&machine, "up wg0", "/run/bin")?.success()?;
    let commands = |text: &str| -> Vec<String> {
        let is_command = |line: &&str| line.starts_with("[#]") && *line != "[#] wg-userspace wg0";
        text.lines().filter(is_command).map(str::to_owned).collect()
    };
    let expected = capture.part("up.stderr").context("lines")?;
    assert_eq!(commands(&output.stderr), commands(&expected));
    let made = rules(&machine)?;
    for rule in [
        "-A PREROUTING -d 10.66.0.2/32 ! -i wg0 -m addrtype ! --src-type LOCAL",
        "-A PREROUTING -d fd66::2/128 ! -i wg0 -m addrtype ! --src-type LOCAL",
        "-A POSTROUTING -p udp -m mark --mark 0xca6c",
        "-A PREROUTING -p udp -m comment",
    ] {
        ensure!(made.contains(rule), "{rule} in {made}");
    }
    let output = without_nf_tables(&machine, "down wg0", "/run/bin")?.success()?;
    let expected = capture.part("down.stderr").context("lines")?;
    assert_eq!(commands(&output.stderr), commands(&expected));
    assert_eq!(rules(&machine)?, "");
    machine.assert_as(&before)
}

#[test]
fn with_neither_the_tunnel_comes_up_and_says_what_is_missing() -> Result<()> {
    let capture = Capture::named("full-tunnel")?;
    let machine = capture.machine()?;
    let before = machine.settled()?;
    let output = without_nf_tables(&machine, "up wg0", "/run/bin")?.success()?;
    for warning in [
        "[!] IPv4 has no firewall rules for `wg0'",
        "[!] IPv6 has no firewall rules for `wg0'",
        "[!] Not dropped: packets to the addresses of `wg0' that come by other interfaces.",
    ] {
        ensure!(output.stderr.contains(warning), "{warning} in {output}");
    }
    let rules = machine.host.run("ip -4 rule")?.stdout;
    ensure!(rules.contains("lookup 51820"), "{rules}");
    without_nf_tables(&machine, "down wg0", "/run/bin")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn an_iptables_that_fails_is_a_warning() -> Result<()> {
    let capture = Capture::named("full-tunnel-v4-only")?;
    let machine = capture.machine()?;
    let script = "#!/bin/sh\necho broken >&2\nexit 3\n";
    machine.host.write_file("/run/bin/iptables-restore", script, 0o755)?;
    let before = machine.settled()?;
    let output = without_nf_tables(&machine, "up wg0", "/run/bin")?.success()?;
    ensure!(output.stderr.contains("[!] IPv4 has no firewall rules for `wg0'"), "{output}");
    without_nf_tables(&machine, "down wg0", "/run/bin")?.success()?;
    machine.assert_as(&before)
}
