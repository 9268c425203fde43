//! `wg-quick` on a kernel that has the module: it takes it, and leaves what the original leaves.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::{Keys, original_wg};
use testbed::{Host, originals, vm};

const MINUTES: Duration = Duration::from_secs(300);

/// What the original leaves behind and ours must too; its files and sockets are its own.
const TOPICS: [&str; 5] = ["ip addr", "ip -4 route", "ip -6 route", "ip -4 rule", "ip -6 rule"];

#[test]
fn up_and_down_do_what_the_original_does() -> Result<()> {
    vm::test_within(MINUTES, || {
        for settings in ["", "Table = 1234\nMTU = 1380\n", "Table = off\nListenPort = 7\n"] {
            let hosts = [host("ours")?, host("original")?];
            let config = config(&hosts[0], settings)?;
            let original = originals::wg_quick()?.display().to_string();
            let before = hosts[0].snapshot()?;
            for (host, program) in hosts.iter().zip(["wg-quick", &original]) {
                host.write_file("/etc/wireguard/wg0.conf", &config, 0o600)?;
                let up = host.run(&format!("{program} up wg0"))?.success()?;
                ensure!(up.stderr.contains("[#] ip link add"), "{up}");
            }
            let [ours, originals] = [hosts[0].snapshot()?, hosts[1].snapshot()?];
            ensure!(ours.topic("ip addr").contains("wireguard"), "{settings}: {ours}");
            for topic in TOPICS {
                let (ours, originals) = (ours.topic(topic), originals.topic(topic));
                ensure!(ours == originals, "{settings}{topic}\nours:\n{ours}\n{originals}");
            }
            let [ours, originals] = [device(&hosts[0])?, device(&hosts[1])?];
            ensure!(ours == originals, "{settings}\nours:\n{ours}\n{originals}");

            hosts[0].run("wg-quick down wg0")?.success()?;
            hosts[0].run("rm /etc/wireguard/wg0.conf")?.success()?;
            let difference = before.difference(&hosts[0].snapshot()?);
            ensure!(difference.is_empty(), "{settings}: left behind\n{difference}");
        }
        Ok(())
    })
}

/// The interface's configuration; where none is given, the port is a random one.
fn device(host: &Host) -> Result<String> {
    let text = host.run(&format!("{} showconf wg0", original_wg()?))?.success()?.stdout;
    let lines =
        text.lines().filter(|line| *line == "ListenPort = 7" || !line.starts_with("ListenPort"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// A host with a default route; every such host has the same addresses.
fn host(name: &str) -> Result<Host> {
    let host = Host::new(name)?;
    host.run("ip link add eth0 address 02:00:00:00:00:01 type dummy")?.success()?;
    host.set_up("eth0")?;
    host.add_address("eth0", "198.51.100.2/24")?;
    host.add_default_route("198.51.100.1".parse()?)?;
    Ok(host)
}

fn config(host: &Host, settings: &str) -> Result<String> {
    let peer = |number: u8, allowed_ips: &str| -> Result<String> {
        Ok(format!(
            "[Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = 192.0.2.{number}:51820\n\
             AllowedIPs = {allowed_ips}\nPersistentKeepalive = 25\n",
            Keys::generate(host)?.public,
            Keys::preshared(host)?
        ))
    };
    Ok(format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.1/24, fd07::1/64\n{settings}{}{}",
        Keys::generate(host)?.private,
        peer(1, "10.8.0.0/16, 10.8.1.0/24, 10.7.0.3/32, fd08::/64")?,
        peer(2, "172.16.0.0/12, fd09::/64")?
    ))
}
