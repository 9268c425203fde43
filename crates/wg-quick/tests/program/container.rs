//! A container: NET_ADMIN and no other capability, a root file system with nothing but our programs,
//! `/proc/sys` read-only.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::libc;
use testbed::{Output, packages, programs};

use crate::captures::{Capture, state};
use crate::machine::Machine;

/// `CAP_NET_ADMIN` of `linux/capability.h`.
const NET_ADMIN: libc::c_ulong = 12;

const ROOT: &str = "/run/root";

/// Makes the root file system on the host.
fn root(machine: &Machine, config: &str) -> Result<()> {
    let run = |line: &str| machine.host.run(line)?.success();
    for folder in ["bin", "proc", "run", "dev/net", "etc/wireguard", "var"] {
        run(&format!("mkdir -p {ROOT}/{folder}"))?;
    }
    run(&format!("ln -s /run {ROOT}/var/run"))?;
    let mut libraries = BTreeSet::new();
    for name in programs::NAMES {
        let program = programs::folder()?.join(name);
        run(&format!("cp {} {ROOT}/bin/", program.display()))?;
        let listed = run(&format!("ldd {}", program.display()))?.stdout;
        let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
        libraries.extend(paths.map(str::to_owned));
    }
    for library in libraries {
        run(&format!("cp -L --parents {library} {ROOT}"))?;
    }
    // Every container has the first; the second is what it is given for a tunnel.
    run(&format!("mknod -m 666 {ROOT}/dev/null c 1 3"))?;
    run(&format!("mknod {ROOT}/dev/net/tun c 10 200"))?;
    run(&format!("mount -t proc proc {ROOT}/proc"))?;
    run(&format!("mount --bind {ROOT}/proc/sys {ROOT}/proc/sys"))?;
    run(&format!("mount -o remount,bind,ro {ROOT}/proc/sys"))?;
    let file = machine.host.path(&format!("{ROOT}/etc/wireguard/wg0.conf"));
    std::fs::write(&file, config)?;
    run(&format!("chmod 600 {ROOT}/etc/wireguard/wg0.conf"))?;
    Ok(())
}

fn inside(machine: &Machine, program: &str, arguments: &str) -> Result<Output> {
    let mut command: Command = machine.host.command(format!("/bin/{program}"));
    command.env("PATH", "/bin").args(arguments.split_whitespace());
    let enter = || -> std::io::Result<()> {
        nix::unistd::chroot(ROOT)?;
        nix::unistd::chdir("/")?;
        for capability in (0..64).filter(|capability| *capability != NET_ADMIN) {
            // SAFETY: it takes numbers only. One that the kernel does not have is refused.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe { command.pre_exec(enter) };
    machine.host.run_command(&mut command, "")
}

#[test]
fn a_full_tunnel_comes_up_with_nothing_but_our_programs() -> Result<()> {
    packages::ensure(&["nftables", "procps"])?;
    let capture = Capture::named("full-tunnel")?;
    let machine = capture.machine()?;
    let config = capture.config().replacen("\n\n", "\nDNS = 10.66.0.1\n\n", 1);
    root(&machine, &config)?;
    let before = machine.settled()?;

    let output = inside(&machine, "wg-quick", "up wg0")?.success()?;
    let capabilities = machine.host.run("pgrep -f wg-userspace")?.stdout;
    for pid in capabilities.lines() {
        let status = machine.host.read_file(&format!("/proc/{pid}/status"))?;
        ensure!(status.contains("CapBnd:\t0000000000001000"), "not a container: {status}");
    }
    let warnings = output.stderr.lines().filter(|line| line.starts_with("[!]")).count();
    // No WireGuard in the kernel, or there is; and the sysctl.
    ensure!(warnings <= 2 && output.stderr.contains("src_valid_mark cannot be set"), "{output}");
    let expected = capture.part("1-up").context("a state")?;
    let expected = expected.replace("src_valid_mark = 1", "src_valid_mark = 0");
    assert_eq!(state(&machine)?, expected, "{output}");
    let resolver = machine.host.read_file(&format!("{ROOT}/etc/resolv.conf"))?;
    ensure!(resolver.contains("\nnameserver 10.66.0.1\n"), "{resolver}");
    let shown = inside(&machine, "wg", "show wg0 endpoints")?.success()?.stdout;
    ensure!(shown.contains("192.0.2.1:51820"), "{shown}");

    inside(&machine, "wg-quick", "down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_hook_without_a_shell_fails_and_is_undone() -> Result<()> {
    let capture = Capture::named("full-tunnel")?;
    let machine = capture.machine()?;
    let config = capture.config().replacen("\n\n", "\nPostUp = true\n\n", 1);
    root(&machine, &config)?;
    let before = machine.settled()?;
    let output = inside(&machine, "wg-quick", "up wg0")?.code(1)?;
    ensure!(output.stderr.contains("there is no bash and no sh in PATH"), "{output}");
    machine.assert_as(&before)
}
