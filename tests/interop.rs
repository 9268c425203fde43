//! What takes minutes: our daemon and the current wireguard-go as each other's peer, each as the
//! initiator, over IPv4 and IPv6, with a preshared key. A gigabyte goes each way in both families,
//! and traffic runs across a rekey. `cargo xtask test --long` runs these.

use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::{Daemon, OUTER_V4, OUTER_V6, Pair, original_wg};
use testbed::report::{self, Entry};
use testbed::{Amount, Host, tcp_transfer};

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_ours_initiates_over_ipv4() -> Result<()> {
    gigabytes(Daemon::Ours, Daemon::WireguardGo, "IPv4")
}

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_ours_initiates_over_ipv6() -> Result<()> {
    gigabytes(Daemon::Ours, Daemon::WireguardGo, "IPv6")
}

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_wireguard_go_initiates_over_ipv4() -> Result<()> {
    gigabytes(Daemon::WireguardGo, Daemon::Ours, "IPv4")
}

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_wireguard_go_initiates_over_ipv6() -> Result<()> {
    gigabytes(Daemon::WireguardGo, Daemon::Ours, "IPv6")
}

#[test]
#[ignore = "takes minutes"]
fn across_a_rekey_when_ours_initiates() -> Result<()> {
    across_a_rekey(Daemon::Ours, Daemon::WireguardGo)
}

#[test]
#[ignore = "takes minutes"]
fn across_a_rekey_when_wireguard_go_initiates() -> Result<()> {
    across_a_rekey(Daemon::WireguardGo, Daemon::Ours)
}

/// A transfer may pause no longer than this.
const STALL: Duration = Duration::from_secs(8);
/// More than REKEY_AFTER_TIME, 120 s, by what a handshake takes.
const ACROSS_A_REKEY: Amount = Amount::Time(Duration::from_secs(135));

fn gigabytes(initiator: Daemon, responder: Daemon, outer: &str) -> Result<()> {
    let addresses = if outer == "IPv4" { OUTER_V4 } else { OUTER_V6 };
    let pair = Pair::start(initiator, responder, addresses)?;
    let (one, two) = (&pair.initiator, &pair.responder);
    let amount = Amount::Bytes(1 << 30);
    for (there, back) in pair.responder_addresses().into_iter().zip(pair.initiator_addresses()) {
        tcp_transfer(one, two, there, amount, STALL)?;
        tcp_transfer(two, one, back, amount, STALL)?;
    }
    told(initiator, responder, &format!("over {outer}, preshared key: gigabytes of TCP"))
}

fn across_a_rekey(initiator: Daemon, responder: Daemon) -> Result<()> {
    let pair = Pair::start(initiator, responder, OUTER_V4)?;
    let [address, _] = pair.responder_addresses();
    pair.initiator.ping(address)?;
    let first = latest_handshake(&pair.initiator)?;
    tcp_transfer(&pair.initiator, &pair.responder, address, ACROSS_A_REKEY, STALL)?;
    for host in [&pair.initiator, &pair.responder] {
        let last = latest_handshake(host)?;
        ensure!(last >= first + 119, "{}: no rekey between {first} and {last}", host.name());
    }
    told(initiator, responder, "over IPv4, preshared key: TCP across a rekey")
}

/// Adds to the matrix that `cargo xtask test` prints.
fn told(initiator: Daemon, responder: Daemon, what: &str) -> Result<()> {
    report::add(&Entry::Interop(format!("{initiator} to {responder}, {what}")))
}

/// In seconds since 1970; 0 is never.
fn latest_handshake(host: &Host) -> Result<u64> {
    let output = host.run(&format!("{} show wg0 latest-handshakes", original_wg()?))?.success()?;
    Ok(output.stdout.split_whitespace().nth(1).unwrap_or("0").parse()?)
}
