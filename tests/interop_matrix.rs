//! What two implementations of the protocol are tried with: the cells of the matrix that
//! `cargo xtask test` prints.

use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use testbed::report::{self, Entry, Interop};
use testbed::{Amount, Host, Ping, tcp_transfer};

use crate::daemon::{Daemon, original_wg};
use crate::pair::{OUTER_V4, OUTER_V6, Pair};

/// A transfer may pause no longer than this.
const STALL: Duration = Duration::from_secs(20);

/// Both families in the tunnel, both ways, small packets and full ones, over both families
/// outside, with a preshared key and without.
///
/// # Errors
/// When any of it fails; the rest is tried nevertheless.
pub fn talk(initiator: Daemon, responder: Daemon) -> Result<()> {
    let mut outcome = Ok(());
    for (outer, version) in [(OUTER_V4, 4), (OUTER_V6, 6)] {
        for preshared_key in [true, false] {
            let pair = match preshared_key {
                true => Pair::start(initiator, responder, outer),
                false => Pair::without_preshared_key(initiator, responder, outer),
            };
            let key = if preshared_key { " psk" } else { "" };
            for (family, inner) in [4, 6].into_iter().enumerate() {
                let result = match &pair {
                    Ok(pair) => packets_flow(pair, family),
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                };
                let what = format!("{inner}in{version}{key}");
                outcome = outcome.and(tell(initiator, responder, &what, result));
            }
        }
    }
    outcome
}

/// Echo requests run both ways, and none is lost, while the keys are renewed: for all pairs at
/// once, since it takes more than two minutes.
///
/// # Errors
/// When any pair fails; the others go on.
pub fn cross_a_rekey(pairs: &[[Daemon; 2]]) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = pairs
            .iter()
            .map(|&[initiator, responder]| {
                let test = move || {
                    tell(initiator, responder, "rekey", across_a_rekey(initiator, responder))
                };
                scope.spawn(test)
            })
            .collect();
        let mut outcome = Ok(());
        for pair in running {
            outcome =
                outcome.and(pair.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        outcome
    })
}

/// Adds a cell to the matrix; passes `result` on, with the cell's name.
///
/// # Errors
/// That of `result`, or when the cell cannot be written.
pub fn tell(initiator: Daemon, responder: Daemon, what: &str, result: Result<()>) -> Result<()> {
    report::add(&Entry::Interop(Interop {
        initiator: initiator.to_string(),
        responder: responder.to_string(),
        what: what.to_owned(),
        passed: result.is_ok(),
    }))?;
    result.map_err(|error| error.context(format!("{initiator} to {responder}, {what}")))
}

/// When a host's only session began, in seconds since 1970; 0 is never.
///
/// # Errors
/// When the original `wg` cannot tell.
pub fn latest_handshake(host: &Host) -> Result<u64> {
    let output = host.run(&format!("{} show wg0 latest-handshakes", original_wg()?))?.success()?;
    Ok(output.stdout.split_whitespace().nth(1).unwrap_or("0").parse()?)
}

/// Echo requests and a transfer, each way, in one family: the first or the second of the pair's
/// addresses.
fn packets_flow(pair: &Pair, family: usize) -> Result<()> {
    let (one, two) = (&pair.initiator, &pair.responder);
    let amount = Amount::Bytes(1 << 18);
    let ways = [(one, two, pair.responder_addresses()), (two, one, pair.initiator_addresses())];
    for (from, to, addresses) in ways {
        let report = from.ping(addresses[family])?;
        ensure!(report.loss() == 0, "from the {}: {report}", from.name());
        tcp_transfer(from, to, addresses[family], amount, STALL)?;
    }
    Ok(())
}

fn across_a_rekey(initiator: Daemon, responder: Daemon) -> Result<()> {
    let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let pair = Pair::start(initiator, responder, OUTER_V4)?;
    let (one, two) = (&pair.initiator, &pair.responder);
    let (there, back) = (pair.responder_addresses()[0], pair.initiator_addresses()[0]);
    one.ping(there)?;
    // Longer than REKEY_AFTER_TIME, 120 s, by what a handshake takes.
    let pause = Duration::from_millis(100);
    let requests = Ping { count: 1350, pause, ..Ping::default() };
    let reports = thread::scope(|scope| {
        let from_two = scope.spawn(|| two.ping_with(back, requests));
        let from_one = one.ping_with(there, requests);
        [from_one, from_two.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    });
    for report in reports {
        let report = report?;
        let (sent, received) = (usize::from(report.sent), report.received());
        ensure!(received == sent, "{received} of {sent} echo requests were answered");
    }
    for (host, daemon) in [(one, initiator), (two, responder)] {
        // boringtun and what descends from it tell the handshake's age instead of its time.
        if !matches!(daemon, Daemon::Boringtun | Daemon::Gotatun) {
            let last = latest_handshake(host)?;
            ensure!(last >= first + 119, "{}: no rekey between {first} and {last}", host.name());
        }
    }
    Ok(())
}
