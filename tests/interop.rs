//! Our daemon and those of others as each other's peer, each as the initiator: the matrix. What
//! takes minutes is run by `cargo xtask test --long`: a peer that takes long to build, traffic
//! across a rekey, gigabytes. The kernel's part is in `kernel/interop.rs`.

use std::time::Duration;

use anyhow::Result;
use culvert_tests::interop_matrix::{cross_a_rekey, talk, tell};
use culvert_tests::{Daemon, OUTER_V4, OUTER_V6, Pair};
use testbed::{Amount, tcp_transfer};

#[test]
fn ours_and_ours() -> Result<()> {
    talk(Daemon::Ours, Daemon::Ours)
}

#[test]
fn ours_and_wireguard_go() -> Result<()> {
    both_initiate(Daemon::WireguardGo)
}

#[test]
fn ours_and_boringtun() -> Result<()> {
    both_initiate(Daemon::Boringtun)
}

#[test]
#[ignore = "takes minutes to build"]
fn ours_and_gotatun() -> Result<()> {
    both_initiate(Daemon::Gotatun)
}

#[test]
#[ignore = "takes minutes"]
fn keys_are_renewed_by_all_pairs() -> Result<()> {
    let others = [Daemon::WireguardGo, Daemon::Boringtun, Daemon::Gotatun];
    // Nobody may wait for a build while the others are being timed out.
    others.iter().try_for_each(|daemon| daemon.program().map(drop))?;
    let pairs = others.iter().flat_map(|&other| [[Daemon::Ours, other], [other, Daemon::Ours]]);
    cross_a_rekey(&pairs.chain([[Daemon::Ours; 2]]).collect::<Vec<_>>())
}

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_ours_initiates() -> Result<()> {
    gigabytes(Daemon::Ours, Daemon::WireguardGo)
}

#[test]
#[ignore = "takes minutes"]
fn gigabytes_when_wireguard_go_initiates() -> Result<()> {
    gigabytes(Daemon::WireguardGo, Daemon::Ours)
}

/// A transfer may pause no longer than this.
const STALL: Duration = Duration::from_secs(8);

fn both_initiate(other: Daemon) -> Result<()> {
    talk(Daemon::Ours, other).and(talk(other, Daemon::Ours))
}

/// One each way in both families, over both families.
fn gigabytes(initiator: Daemon, responder: Daemon) -> Result<()> {
    let gigabytes_over = |outer| -> Result<()> {
        let pair = Pair::start(initiator, responder, outer)?;
        let (one, two) = (&pair.initiator, &pair.responder);
        let amount = Amount::Bytes(1 << 30);
        for (there, back) in pair.responder_addresses().into_iter().zip(pair.initiator_addresses())
        {
            tcp_transfer(one, two, there, amount, STALL)?;
            tcp_transfer(two, one, back, amount, STALL)?;
        }
        Ok(())
    };
    let result = gigabytes_over(OUTER_V4).and_then(|()| gigabytes_over(OUTER_V6));
    tell(initiator, responder, "GiB", result)
}
