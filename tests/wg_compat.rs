//! Our `wg` and the original, on our daemon and on wireguard-go: what either configures, both show
//! alike, to the byte. What they show on the kernel's module is among the tests on that.

use anyhow::Result;
use culvert_tests::{
    Daemon, OUTER_V6, Pair, changes_lead_to_the_same_device, everything_is_shown_alike, shown_alike,
};

#[test]
fn everything_is_shown_alike_by_daemons() -> Result<()> {
    Daemon::SHOWN_ALIKE.into_iter().try_for_each(everything_is_shown_alike)
}

#[test]
fn a_session_is_shown_alike() -> Result<()> {
    let pair = Pair::start(Daemon::Ours, Daemon::WireguardGo, OUTER_V6)?;
    pair.initiator.ping(pair.responder_addresses()[0])?;
    shown_alike(&pair.initiator, Daemon::Ours, &["wg0"], &[])?;
    shown_alike(&pair.responder, Daemon::WireguardGo, &["wg0"], &[])
}

#[test]
fn changes_lead_to_the_same_device_on_daemons() -> Result<()> {
    Daemon::SHOWN_ALIKE.into_iter().try_for_each(changes_lead_to_the_same_device)
}
