//! The examples that tell the kernel's module to speak, in a guest whose kernel log is its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::{OUTER_V4, ip};
use testbed::documents::{self, Executor, Kind};
use testbed::{Host, connect, eventually, packages, programs, vm};

const LIMIT: Duration = Duration::from_secs(60);
/// What the module tells when it calls a peer.
const MESSAGE: &str = "wireguard: wg0: Sending handshake initiation to peer";

#[test]
fn examples_have_the_module_tell_of_handshakes() -> Result<()> {
    packages::ensure(&["kmod"])?;
    vm::test(|| {
        let machine = machine()?;
        handshake()?;
        let log = machine.run("dmesg")?.success()?.stdout;
        ensure!(!log.contains(MESSAGE), "the module tells of handshakes without being told to");
        for example in documents::examples(Executor::Kernel)? {
            let attempt = || {
                quieten(&machine)?;
                ensure!(example.kind == Kind::Console { fails: false }, "no list of commands");
                let (script, shown) = example.script()?;
                ensure!(shown.is_empty(), "what is shown is not compared");
                let mut shell = machine.command("bash");
                shell.args(["-c", &format!("set -e\n{script}")]);
                machine.run_command(&mut shell, "")?.success()?;
                handshake()?;
                eventually("the module to tell of a handshake", LIMIT, || {
                    let log = machine.run("dmesg").ok()?.stdout;
                    log.contains(MESSAGE).then_some(())
                })?;
                example.executed()
            };
            attempt().with_context(|| format!("{}\n{}", example.place, example.text))?;
        }
        // Other tests have the guest after this one.
        quieten(&machine)
    })
}

/// The module tells nothing any more, and what it has told is forgotten.
fn quieten(machine: &Host) -> Result<()> {
    let mut shell = machine.command("bash");
    let control = "/sys/kernel/debug/dynamic_debug/control";
    shell.args(["-c", &format!("echo module wireguard -p > {control} && dmesg --clear")]);
    machine.run_command(&mut shell, "")?.success().map(drop)
}

/// A host that sees the kernel's debugging files and its modules, as an installed system does.
fn machine() -> Result<Host> {
    let machine = Host::new("machine")?;
    let modules = programs::target_folder()?.join("vm/root/usr/lib/modules");
    // Of all modules modprobe(8) has to know WireGuard's and those that it needs.
    let script = format!(
        "set -e
        mount -t debugfs debug /sys/kernel/debug
        mkdir -p /usr/lib/modules
        mount --bind '{}' /usr/lib/modules
        cd /usr/lib/modules/$(uname -r)
        depmod $(uname -r) $(find \"$PWD\" -name 'wireguard.ko*' -o -name '*udp_tunnel.ko*' -o \
            -path '*/lib/crypto/*.ko*')",
        modules.display()
    );
    let mut shell = machine.command("bash");
    shell.args(["-c", &script]);
    machine.run_command(&mut shell, "")?.success()?;
    Ok(machine)
}

/// README's first tunnel between two hosts; one pings the other through it.
fn handshake() -> Result<()> {
    let hosts = [Host::new("server")?, Host::new("laptop")?];
    connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
    for (host, address) in hosts.iter().zip(OUTER_V4) {
        host.add_address("eth0", &format!("{address}/24"))?;
        host.add_host_name(ip(OUTER_V4[0]), "server.example")?;
        let config = documents::first_tunnel(host.name())?;
        host.write_file("/etc/wireguard/wg0.conf", config, 0o600)?;
        host.run("wg-quick up wg0")?.success()?;
    }
    let replies = hosts[1].ping(ip("10.201.0.1"))?;
    ensure!(replies.received() > 0, "nothing comes through the tunnel");
    Ok(())
}
