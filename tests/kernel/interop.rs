//! Our daemon and the kernel's module as each other's peer, each as the initiator, over IPv4 and
//! IPv6, with and without a preshared key.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::{Daemon, OUTER_V4, OUTER_V6, Pair, original_wg};
use testbed::report::{self, Entry};
use testbed::{Amount, Host, tcp_transfer, vm};

const MINUTES: Duration = Duration::from_secs(300);
/// A transfer may pause no longer than this.
const STALL: Duration = Duration::from_secs(20);

#[test]
fn ours_initiates_over_ipv4() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Ours, Daemon::Kernel, "IPv4"))
}

#[test]
fn ours_initiates_over_ipv6() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Ours, Daemon::Kernel, "IPv6"))
}

#[test]
fn the_module_initiates_over_ipv4() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Kernel, Daemon::Ours, "IPv4"))
}

#[test]
fn the_module_initiates_over_ipv6() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Kernel, Daemon::Ours, "IPv6"))
}

#[test]
fn no_preshared_key_is_needed() -> Result<()> {
    vm::test_within(MINUTES, || {
        for (initiator, responder) in
            [(Daemon::Ours, Daemon::Kernel), (Daemon::Kernel, Daemon::Ours)]
        {
            let pair = Pair::without_preshared_key(initiator, responder, OUTER_V4)?;
            both_ways(&pair)?;
            told(initiator, responder, "over IPv4, no preshared key: ping")?;
        }
        Ok(())
    })
}

#[test]
fn either_end_roams_from_ours() -> Result<()> {
    vm::test_within(MINUTES, || roam(Daemon::Ours, Daemon::Kernel))
}

#[test]
fn either_end_roams_from_the_module() -> Result<()> {
    vm::test_within(MINUTES, || roam(Daemon::Kernel, Daemon::Ours))
}

#[test]
#[ignore = "takes minutes"]
fn traffic_runs_across_a_rekey() -> Result<()> {
    vm::test_within(2 * MINUTES, || {
        // Each session has to outlive REKEY_AFTER_TIME, 120 s.
        let time = Amount::Time(Duration::from_secs(135));
        for (initiator, responder) in
            [(Daemon::Ours, Daemon::Kernel), (Daemon::Kernel, Daemon::Ours)]
        {
            let pair = Pair::start(initiator, responder, OUTER_V4)?;
            pair.initiator.ping(pair.responder_addresses()[0])?;
            let first = latest_handshake(&pair.initiator)?;
            let [address, _] = pair.responder_addresses();
            tcp_transfer(&pair.initiator, &pair.responder, address, time, STALL)?;
            for host in [&pair.initiator, &pair.responder] {
                let last = latest_handshake(host)?;
                ensure!(last >= first + 120, "{}: no rekey, {first} to {last}", host.name());
            }
            told(initiator, responder, "over IPv4, preshared key: TCP across a rekey")?;
        }
        Ok(())
    })
}

/// Both families inside, both ways: small packets, then full ones.
fn talk(initiator: Daemon, responder: Daemon, outer: &str) -> Result<()> {
    let addresses = if outer == "IPv4" { OUTER_V4 } else { OUTER_V6 };
    let pair = Pair::start(initiator, responder, addresses)?;
    let (one, two) = (&pair.initiator, &pair.responder);
    both_ways(&pair)?;
    let amount = Amount::Bytes(1 << 18);
    for (there, back) in pair.responder_addresses().into_iter().zip(pair.initiator_addresses()) {
        tcp_transfer(one, two, there, amount, STALL)?;
        tcp_transfer(two, one, back, amount, STALL)?;
    }
    for host in [one, two] {
        ensure!(latest_handshake(host)? > 0, "no handshake on {}", host.name());
    }
    told(initiator, responder, &format!("over {outer}, preshared key: ping, TCP"))
}

/// Each end pings the other in both families.
fn both_ways(pair: &Pair) -> Result<()> {
    let (one, two) = (&pair.initiator, &pair.responder);
    for (from, to) in [(one, pair.responder_addresses()), (two, pair.initiator_addresses())] {
        for address in to {
            let report = from.ping(address)?;
            ensure!(report.loss() == 0, "from the {}: {report}", from.name());
        }
    }
    Ok(())
}

/// Adds to the matrix that `cargo xtask test` prints.
fn told(initiator: Daemon, responder: Daemon, what: &str) -> Result<()> {
    report::add(&Entry::Interop(format!("{initiator} to {responder}, {what}")))
}

/// First the initiator gets another address, then the responder, in both families; each time the
/// other learns it from the next packet, without a handshake.
fn roam(initiator: Daemon, responder: Daemon) -> Result<()> {
    let pair = Pair::start(initiator, responder, OUTER_V4)?;
    let (one, two) = (&pair.initiator, &pair.responder);
    let (one_inside, two_inside) = (pair.initiator_addresses()[0], pair.responder_addresses()[0]);
    answered(one, two_inside)?;
    let handshake = latest_handshake(one)?;

    move_to(one, OUTER_V4[0], "192.0.2.71")?;
    answered(one, two_inside)?;
    points_to(two, "192.0.2.71:51820")?;
    answered(two, one_inside)?;

    move_to(two, OUTER_V4[1], "192.0.2.72")?;
    answered(two, one_inside)?;
    points_to(one, "192.0.2.72:51820")?;
    answered(one, two_inside)?;

    // From one family to the other: the responder is told where the initiator is now.
    let key = original(two, "show wg0 peers")?;
    let endpoint = format!("set wg0 peer {} endpoint [{}]:51820", key.trim(), OUTER_V6[0]);
    original(two, &endpoint)?;
    answered(two, one_inside)?;
    points_to(one, &format!("[{}]:51820", OUTER_V6[1]))?;
    answered(one, two_inside)?;
    ensure!(latest_handshake(one)? == handshake, "roaming took a handshake");
    told(initiator, responder, "either end roams, IPv4 and IPv6")
}

fn move_to(host: &Host, old: &str, new: &str) -> Result<()> {
    host.run(&format!("ip address del {old}/24 dev eth0"))?.success()?;
    host.add_address("eth0", &format!("{new}/24"))
}

fn answered(from: &Host, to: IpAddr) -> Result<()> {
    let report = from.ping(to)?;
    ensure!(report.received() > 0, "{}: {report}", from.name());
    Ok(())
}

/// Checks where a host sends to now.
fn points_to(host: &Host, endpoint: &str) -> Result<()> {
    let endpoints = original(host, "show wg0 endpoints")?;
    let has = endpoints.split_whitespace().nth(1);
    ensure!(has == Some(endpoint), "{} sends to {has:?}, not to {endpoint}", host.name());
    Ok(())
}

/// In seconds since 1970; 0 is never.
fn latest_handshake(host: &Host) -> Result<u64> {
    let output = original(host, "show wg0 latest-handshakes")?;
    Ok(output.split_whitespace().nth(1).unwrap_or("0").parse()?)
}

fn original(host: &Host, arguments: &str) -> Result<String> {
    Ok(host.run(&format!("{} {arguments}", original_wg()?))?.success()?.stdout)
}
