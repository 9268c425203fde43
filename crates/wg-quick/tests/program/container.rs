//! A container: NET_ADMIN and no other capability, a root file system with nothing but our programs,
//! `/proc/sys` read-only.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::libc;
use testbed::{Host, NameServer, Output, connect, packages, programs};

use crate::captures::{Capture, state};

/// `CAP_NET_ADMIN` of `linux/capability.h`.
const NET_ADMIN: libc::c_ulong = 12;

const ROOT: &str = "/run/root";

/// Makes the root file system on the host.
fn root(host: &Host, config: &str) -> Result<()> {
    let run = |line: &str| host.run(line)?.success();
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
    let file = host.path(&format!("{ROOT}/etc/wireguard/wg0.conf"));
    std::fs::write(&file, config)?;
    run(&format!("chmod 600 {ROOT}/etc/wireguard/wg0.conf"))?;
    Ok(())
}

fn inside(host: &Host, program: &str, arguments: &str) -> Result<Output> {
    let mut command: Command = host.command(format!("/bin/{program}"));
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
    host.run_command(&mut command, "")
}

#[test]
fn a_full_tunnel_comes_up_with_nothing_but_our_programs() -> Result<()> {
    packages::ensure(&["nftables", "procps"])?;
    let capture = Capture::named("full-tunnel")?;
    let machine = capture.machine()?;
    let config = capture.config().replacen("\n\n", "\nDNS = 10.66.0.1\n\n", 1);
    root(&machine.host, &config)?;
    let before = machine.settled()?;

    let output = inside(&machine.host, "wg-quick", "up wg0")?.success()?;
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
    let shown = inside(&machine.host, "wg", "show wg0 endpoints")?.success()?.stdout;
    ensure!(shown.contains("192.0.2.1:51820"), "{shown}");

    inside(&machine.host, "wg-quick", "down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_hook_without_a_shell_fails_and_is_undone() -> Result<()> {
    let capture = Capture::named("full-tunnel")?;
    let machine = capture.machine()?;
    let config = capture.config().replacen("\n\n", "\nPostUp = true\n\n", 1);
    root(&machine.host, &config)?;
    let before = machine.settled()?;
    let output = inside(&machine.host, "wg-quick", "up wg0")?.code(1)?;
    ensure!(output.stderr.contains("there is no bash and no sh in PATH"), "{output}");
    machine.assert_as(&before)
}

#[test]
fn a_tunnel_to_a_name_carries_packets_with_nothing_but_our_programs() -> Result<()> {
    let (container, server) = (Host::new("container")?, Host::new("server")?);
    connect(&container, "eth0", &server, "eth0")?;
    container.add_address("eth0", "192.0.2.1/24")?;
    server.add_address("eth0", "192.0.2.2/24")?;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let private = server.run("wg genkey")?.success()?.stdout;
        let public = server.run_with_input("wg pubkey", &private)?.success()?.stdout;
        keys.push((private, public));
    }
    let config = |own: usize, lines: &str| {
        format!(
            "[Interface]\nPrivateKey = {}Address = 10.9.0.{}/24\n{lines}[Peer]\nPublicKey = {}\
             AllowedIPs = 10.9.0.0/24\n",
            keys[own].0,
            own + 1,
            keys[1 - own].1
        )
    };
    let own = config(0, "") + "Endpoint = server.example:51820\n";
    root(&container, &own)?;
    let resolver = container.path(&format!("{ROOT}/etc/resolv.conf"));
    std::fs::write(resolver, "nameserver 192.0.2.2\n")?;
    let names = NameServer::start(&server, "192.0.2.2".parse()?, "192.0.2.2".parse()?)?;
    let served = config(1, "ListenPort = 51820\n");
    server.write_file("/etc/wireguard/wg0.conf", served, 0o600)?;
    server.run("wg-quick up wg0")?.success()?;

    inside(&container, "wg-quick", "up wg0")?.success()?;
    let asking: std::net::IpAddr = "192.0.2.1".parse()?;
    ensure!(names.question("server.example")? == asking, "the name is looked up");
    let reply = container.ping("10.9.0.2".parse()?)?;
    ensure!(reply.received() > 0, "{reply}");
    inside(&container, "wg-quick", "down wg0")?.success()?;
    ensure!(!container.interfaces()?.contains(&"wg0".to_owned()), "the tunnel is down");
    Ok(())
}
