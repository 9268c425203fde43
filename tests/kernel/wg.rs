//! `wg` on the kernel's module, beside the original and beside our daemon.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::{
    Daemon, Keys, OUTER_V6, Pair, changes_lead_to_the_same_device, configured, original_wg,
    rich_config, shown_alike,
};
use testbed::originals::COLUMNS;
use testbed::{Host, vm};

const MINUTES: Duration = Duration::from_secs(300);

/// What colours and hidden keys change is the same on any backend, and tried on daemons.
#[test]
fn everything_is_shown_alike_on_the_module() -> Result<()> {
    vm::test_within(MINUTES, || {
        let host = configured(Daemon::Kernel, "wg")?;
        shown_alike(&host, Daemon::Kernel, &["wg0", "empty"], &[])
    })
}

#[test]
fn changes_lead_to_the_same_device_on_the_module() -> Result<()> {
    vm::test_within(MINUTES, || changes_lead_to_the_same_device(Daemon::Kernel))
}

#[test]
fn a_session_with_the_module_is_shown_alike() -> Result<()> {
    vm::test_within(MINUTES, || {
        let pair = Pair::start(Daemon::Ours, Daemon::Kernel, OUTER_V6)?;
        pair.initiator.ping(pair.responder_addresses()[0])?;
        shown_alike(&pair.responder, Daemon::Kernel, &["wg0"], &[])
    })
}

/// The same configuration reads the same from the module and from our daemon.
#[test]
fn the_module_and_our_daemon_are_shown_alike() -> Result<()> {
    vm::test_within(MINUTES, || {
        let hosts = [Host::new("module")?, Host::new("daemon")?];
        let config = rich_config(&hosts[0])?;
        for (host, daemon) in hosts.iter().zip([Daemon::Kernel, Daemon::Ours]) {
            daemon.start(host, "wg0")?;
            host.run_with_input("wg setconf wg0 /dev/stdin", &config)?.success()?;
        }
        let columns = COLUMNS.map(|column| format!("show wg0 {column}"));
        let forms = ["show", "showconf wg0", "show all endpoints"].map(str::to_owned);
        for form in forms.iter().chain(&columns) {
            let [module, daemon] = hosts.each_ref().map(|host| host.run(&format!("wg {form}")));
            let (module, daemon) = (module?.success()?.stdout, daemon?.success()?.stdout);
            ensure!(module == daemon, "`wg {form}`\nmodule:\n{module}\ndaemon:\n{daemon}");
        }
        Ok(())
    })
}

#[test]
fn both_kinds_of_interfaces_are_listed_once() -> Result<()> {
    vm::test(|| {
        let host = Host::new("both")?;
        Daemon::Kernel.start(&host, "wg0")?;
        Daemon::Ours.start(&host, "wg1")?;
        for form in ["show interfaces", "show all dump", "show"] {
            let original = host.run(&format!("{} {form}", original_wg()?))?.success()?.stdout;
            let ours = host.run(&format!("wg {form}"))?.success()?.stdout;
            ensure!(ours == original, "`wg {form}`\nours:\n{ours}\noriginal:\n{original}");
        }
        // What another network namespace's daemon left in a shared folder is not ours to see.
        host.run("mv /run/wireguard/wg1.sock /run/wireguard/wg0.sock")?.success()?;
        host.run("wg set wg0 fwmark 7")?.success()?;
        ensure!(host.run("wg show interfaces")?.success()?.stdout == "wg0\n");
        ensure!(host.run("wg show wg0 fwmark")?.success()?.stdout == "0x7\n");
        host.run("ip link del wg0")?.success()?;
        ensure!(host.run("wg show interfaces")?.success()?.stdout.trim().is_empty());
        Ok(())
    })
}

#[test]
fn errors_on_what_is_no_interface_are_alike() -> Result<()> {
    vm::test(|| {
        let host = Host::new("errors")?;
        host.run("ip link add dummy0 type dummy")?.success()?;
        Daemon::Kernel.start(&host, "wg0")?;
        for form in [
            "show missing",
            "show dummy0",
            "showconf missing",
            "set missing fwmark 1",
            "set dummy0 fwmark 1",
            "show wg0 nonsense",
        ] {
            let original = host.run(&format!("{} {form}", original_wg()?))?;
            let ours = host.run(&format!("wg {form}"))?;
            ensure!(ours.status == original.status, "{ours}\n{original}");
            let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
            ensure!(first(&ours.stderr) == first(&original.stderr), "{ours}\n{original}");
        }
        Ok(())
    })
}

#[test]
fn large_configurations_go_in_and_come_back() -> Result<()> {
    vm::test_within(MINUTES, || {
        let host = Host::new("large")?;
        let original = original_wg()?;
        for (peers, allowed_ips) in [(5_000, 20), (1, 20_000)] {
            Daemon::Kernel.start(&host, "wg0")?;
            let config = large_config(&host, peers, allowed_ips)?;
            host.write_file("/etc/wireguard/large.conf", &config, 0o600)?;
            host.run("wg setconf wg0 /etc/wireguard/large.conf")?.success()?;
            let ours = host.run("wg showconf wg0")?.success()?.stdout;
            ensure!(ours == config, "{peers} peers with {allowed_ips} allowed IPs are not whole");
            let original = host.run(&format!("{original} showconf wg0"))?.success()?.stdout;
            ensure!(ours == original, "{peers} peers with {allowed_ips} allowed IPs");
            host.run("ip link del wg0")?.success()?;
        }
        Ok(())
    })
}

/// As `showconf` prints it.
fn large_config(host: &Host, peers: u32, allowed_ips: u32) -> Result<String> {
    let mut config = format!(
        "[Interface]\nListenPort = 51820\nPrivateKey = {}\n",
        Keys::generate(host)?.private
    );
    for peer in 0..peers {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&peer.to_be_bytes());
        let addresses: Vec<_> = (0..allowed_ips)
            .map(|position| peer * allowed_ips + position)
            .map(|unique| match unique % 2 {
                0 => format!("{}/32", Ipv4Addr::from_bits(0x0a00_0000 + unique)),
                _ => format!("{}/128", Ipv6Addr::from_bits(0xfd << 120 | u128::from(unique))),
            })
            .collect();
        let key = wg_config::PublicKey::from(key);
        write!(config, "\n[Peer]\nPublicKey = {key}\nAllowedIPs = {}\n", addresses.join(", "))?;
    }
    Ok(config)
}
