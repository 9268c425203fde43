//! Our daemon and the kernel's module as each other's peer, each as the initiator: the kernel's part
//! of the matrix.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::interop_matrix::{cross_a_rekey, latest_handshake, talk, tell};
use culvert_tests::{Daemon, OUTER_V4, OUTER_V6, Pair, original_wg};
use testbed::{Host, vm};

const MINUTES: Duration = Duration::from_secs(300);

#[test]
fn ours_initiates() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Ours, Daemon::Kernel))
}

#[test]
fn the_module_initiates() -> Result<()> {
    vm::test_within(MINUTES, || talk(Daemon::Kernel, Daemon::Ours))
}

#[test]
#[ignore = "takes minutes"]
fn keys_are_renewed() -> Result<()> {
    vm::test_within(MINUTES, || {
        cross_a_rekey(&[[Daemon::Ours, Daemon::Kernel], [Daemon::Kernel, Daemon::Ours]])
    })
}

#[test]
fn either_end_roams_from_ours() -> Result<()> {
    vm::test_within(MINUTES, || roaming(Daemon::Ours, Daemon::Kernel))
}

#[test]
fn either_end_roams_from_the_module() -> Result<()> {
    vm::test_within(MINUTES, || roaming(Daemon::Kernel, Daemon::Ours))
}

fn roaming(initiator: Daemon, responder: Daemon) -> Result<()> {
    tell(initiator, responder, "roaming", roam(initiator, responder))
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
    Ok(())
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

fn original(host: &Host, arguments: &str) -> Result<String> {
    Ok(host.run(&format!("{} {arguments}", original_wg()?))?.success()?.stdout)
}
