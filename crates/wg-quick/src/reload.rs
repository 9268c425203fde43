//! `wg-quick reload`: from what is to what the file says now.

use std::ffi::OsStr;

use anyhow::bail;
use wg_config::Parsed;
use wg_control::Device;

use crate::config_file::{ConfigFile, show_errors};
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::{self, Journal, Record};
use crate::plan::Plan;
use crate::signals::Signals;
use crate::state::State;
use crate::step::Step;
use crate::transaction::Transaction;
use crate::tunnel::{RouteTable, Tunnel};
use crate::{report, say};

/// Changes what differs and nothing else, or leaves all as it was. PreUp and PostUp commands are not
/// run; those for the way down are the file's from now on.
///
/// With `dry_run` the steps are only told.
///
/// # Errors
/// When there is no such tunnel, the file is not valid, or a step fails.
pub(crate) fn reload(argument: &OsStr, dry_run: bool) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let text = file.text()?;
    let parsed = file.parse(&text).map_err(|errors| {
        show_errors(&errors);
        Failed(1)
    })?;
    let host = Host::new(file.interface.clone(), file.path.clone())?;
    let mut journal = Journal::lock(&host.interface)?;
    if !wg_control::interfaces().contains(&host.interface) {
        bail!("`{}' is not a WireGuard interface", host.interface);
    }
    let record = journal.read()?;
    let has_journal = record.is_some();
    let was_whole = record.as_ref().is_none_or(Record::is_whole);
    if record.as_ref().is_some_and(|record| !record.complete) {
        bail!("an `up' of `{}' was interrupted: take it down first", host.interface);
    }
    let mut record = record.unwrap_or_default();
    let tunnel = changed_endpoints(&file, parsed, &record, &host.signals)?;
    let device = host.device()?;
    let before = State::observe(&host, &tunnel, &device, &record)?;
    let tables = (tunnel.table == RouteTable::Auto).then(|| journal::lock_tables(&host.signals));
    let _tables = tables.transpose()?;
    let wanted = State::wanted(&host, &tunnel, &device, &before)?;
    let plan = wanted.steps_from(&device, &before);
    if dry_run {
        return crate::dry_run::print(&host.interface, &plan);
    }
    if !plan.is_empty() {
        let undo = (!has_journal).then(|| before.undo(&[]));
        journal.begin_reload(&host.config_file, undo.as_deref())?;
    }
    // What the plan brings is looked for as well.
    record.undo.extend(plan.iter().filter_map(Step::undo));
    let applied = apply(&host, &mut journal, &tunnel, &record, &wanted, &plan);
    let noted =
        applied.and_then(|()| journal.replace(&tunnel, record.link, &wanted.undo(&record.undo)));
    if let Err(error) = noted {
        let code = report(&error);
        if restore(&host, &tunnel, &record, &wanted, &before) && was_whole {
            let told = if has_journal { journal.complete() } else { journal.clear() };
            told.unwrap_or_else(|error| {
                report(&error);
            });
        }
        return Err(Failed(code).into());
    }
    Ok(())
}

fn apply(
    host: &Host,
    journal: &mut Journal,
    tunnel: &Tunnel,
    record: &Record,
    wanted: &State,
    plan: &Plan,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::new(host, journal);
    transaction.run(plan)?;
    if !plan.iter().any(takes_more_along) {
        return Ok(host.signals.check()?);
    }
    let (device, now) = observe(host, tunnel, record)?;
    let again: Plan = wanted.steps_from(&device, &with_dns(now, wanted));
    transaction.run(&again)?;
    Ok(host.signals.check()?)
}

/// Whether a step removes more than it says: an address takes the others of its network along, and
/// their routes; an MTU that is too small for IPv6 takes all its addresses.
fn takes_more_along(step: &Step) -> bool {
    matches!(step, Step::DeleteAddress(_) | Step::SetMtuAndUp(_))
}

/// Back to what was before, and whether all of it is. What fails is told.
fn restore(host: &Host, tunnel: &Tunnel, record: &Record, wanted: &State, before: &State) -> bool {
    host.signals.begin_undoing();
    let mut is_restored = true;
    let steps = observe(host, tunnel, record)
        .map(|(device, now)| before.steps_from(&device, &with_dns(now, wanted)));
    let steps = steps.unwrap_or_else(|error| {
        report(&error);
        is_restored = false;
        Plan::new()
    });
    for step in steps {
        say(format_args!("[#] {}", step.describe(&host.interface)));
        if let Err(error) = step.apply(host) {
            report(&error);
            is_restored = false;
        }
    }
    is_restored
}

fn observe(host: &Host, tunnel: &Tunnel, record: &Record) -> anyhow::Result<(Device, State)> {
    let device = host.device()?;
    let state = State::observe(host, tunnel, &device, record)?;
    Ok((device, state))
}

/// The name servers as the plan has set them, or had begun to.
fn with_dns(now: State, wanted: &State) -> State {
    State { dns: wanted.dns.clone(), ..now }
}

/// The tunnel of the file; an endpoint that is written as it was before is left out, so that the
/// peer keeps the one that it has by now, and its name is not looked up.
fn changed_endpoints(
    file: &ConfigFile,
    mut parsed: Parsed,
    record: &Record,
    signals: &Signals,
) -> anyhow::Result<Tunnel> {
    let mut written = Vec::new();
    for peer in &mut parsed.config.peers {
        let Some(endpoint) = &peer.endpoint else { continue };
        let text = endpoint.to_string();
        if record.endpoints.get(&peer.public_key) == Some(&text) {
            peer.endpoint = None;
        }
        written.push((peer.public_key, text));
    }
    let mut tunnel = Tunnel::new(file, &parsed)?;
    tunnel.resolve(&parsed.config, Some(signals))?;
    tunnel.endpoints = written;
    Ok(tunnel)
}
