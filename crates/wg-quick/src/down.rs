//! `wg-quick down`.

use std::ffi::OsStr;

use anyhow::bail;
use wg_config::{Parsed, Table};
use wg_hostnet::Family;
use zeroize::Zeroizing;

use crate::config_file::{ConfigFile, show_errors};
use crate::dns::Manager;
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::{self, Journal, Record};
use crate::step::Step;
use crate::tunnel::Hooks;
use crate::undo::{Occasion, undo_all};
use crate::{policy, save, say};

/// Takes a tunnel down.
///
/// What is removed is what the journal says, else what the original removes. The commands are the
/// file's, as it is now; where it is gone or broken, those of the journal.
///
/// # Errors
/// When there is no such tunnel, a hook fails, or something cannot be removed.
pub(crate) fn down(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, journal::exists)?;
    let mut host = Host::new(file.interface.clone(), file.path.clone())?;
    let mut journal = Journal::lock(&host.interface)?;
    let record = journal.read()?;
    host.made.set(record.as_ref().and_then(|record| record.link));
    let current = Current::read(&file, record.is_some())?;
    let parsed = current.as_ref().map(|current| &current.parsed);
    let hooks = parsed.map(|parsed| Hooks::new(&file.interface, &parsed.config));
    if let (None, Some(record)) = (&hooks, &record) {
        // The commands are the journal's, and so is the file that they ask for.
        host.config_file.clone_from(&record.config_file);
    }
    if !wg_control::interfaces().contains(&host.interface) {
        return clean_up(&host, journal, record);
    }
    // What an interrupted `up' or `reload' left is not what anybody wants to keep.
    let is_whole = record.as_ref().is_none_or(Record::is_whole);
    let (hooks, undo) = match (hooks, record) {
        (hooks, Some(record)) if !record.undo.is_empty() => {
            (hooks.unwrap_or_else(|| record.hooks.clone()), undo_of(record))
        }
        (hooks, _) => (hooks.unwrap_or_default(), without_journal(&host, parsed)?),
    };
    run_hooks(&host, &hooks.pre_down)?;
    if let Some(current) = &current
        && current.parsed.config.interface.save_config
    {
        if current.is_valid && is_whole {
            save::write_state(&host, &current.text, &undo)?;
        } else {
            say(format_args!("[!] {}: not saved.", host.config_file.display()));
        }
    }
    host.signals.check()?;
    if let Err(error) = journal.owe(&host.config_file, &hooks.post_down) {
        say(format_args!("[!] {error:#}"));
    }
    finish(&host, journal, undo, &hooks.post_down)
}

/// Removes the tunnel and runs the commands for the time after. A signal meanwhile leaves these to
/// the next `down` or `up`.
fn finish(
    host: &Host,
    mut journal: Journal,
    undo: Vec<Step>,
    post_down: &[String],
) -> anyhow::Result<()> {
    if !undo_all(host, undo, Occasion::Down) {
        return Err(Failed(1).into());
    }
    host.signals.check()?;
    journal.clear()?;
    drop(journal);
    run_hooks(host, post_down)
}

/// What a journal says is to be undone. A tunnel that was up leaves `src_valid_mark` set, as the
/// original does: somebody else may rely on it by now.
fn undo_of(record: Record) -> Vec<Step> {
    let stays = |step: &Step| record.complete && matches!(step, Step::RestoreSrcValidMark { .. });
    record.undo.into_iter().filter(|step| !stays(step)).collect()
}

/// What the original would remove of a tunnel that it brought up.
fn without_journal(host: &Host, parsed: Option<&Parsed>) -> anyhow::Result<Vec<Step>> {
    let mut undo = vec![Step::DeleteLink, Step::DeleteNftables];
    let Some(parsed) = parsed else { return Ok(undo) };
    if !parsed.config.interface.dns.is_empty() {
        undo.push(Step::DeleteDns(Manager::find(host)));
    }
    let device = host.device()?;
    let mut allowed_ips = device.peers.iter().flat_map(|peer| &peer.allowed_ips);
    if parsed.config.interface.table == Table::Auto
        && device.fwmark != 0
        && allowed_ips.any(|ip| ip.is_default_route())
    {
        undo.extend(policy::rules_of(host, device.fwmark)?.into_iter().map(Step::DeleteRule));
        if wg_hostnet::firewalls(&host.interface)?.is_empty() {
            undo.extend([Family::Ipv4, Family::Ipv6].map(Step::DeleteIptables));
        }
    }
    Ok(undo)
}

/// Removes what is left of a tunnel whose interface is gone.
fn clean_up(host: &Host, journal: Journal, record: Option<Record>) -> anyhow::Result<()> {
    if let Some(record) = record {
        let interrupted = !record.complete || !record.owed.is_empty();
        let owed = record.owed.clone();
        finish(host, journal, undo_of(record), &owed)?;
        if interrupted {
            return Ok(());
        }
    }
    bail!("`{}' is not a WireGuard interface", host.interface)
}

/// Runs commands in order.
///
/// # Errors
/// The first one's that fails, or an interrupt.
pub(crate) fn run_hooks(host: &Host, hooks: &[String]) -> anyhow::Result<()> {
    for hook in hooks {
        say(format_args!("[#] {hook}"));
        host.run_hook(hook)?;
    }
    Ok(())
}

/// The file as it is now.
struct Current {
    text: Zeroizing<Vec<u8>>,
    parsed: Parsed,
    /// Where not, only the settings of wg-quick(8) count.
    is_valid: bool,
}

impl Current {
    /// `None` where the file is gone, or is not valid and there is a journal to go by.
    fn read(file: &ConfigFile, has_journal: bool) -> anyhow::Result<Option<Self>> {
        if !file.exists() {
            return Ok(None);
        }
        let text = file.text()?;
        let errors = match file.parse(&text) {
            Ok(parsed) => return Ok(Some(Self { text, parsed, is_valid: true })),
            Err(errors) => errors,
        };
        show_errors(&errors);
        if has_journal {
            say(format_args!("[!] Going by the journal of `up'."));
            return Ok(None);
        }
        say(format_args!("[!] Going by the settings of wg-quick in it."));
        let parsed = file.parse_quick_settings(&text).map_err(|_| Failed(1))?;
        Ok(Some(Self { text, parsed, is_valid: false }))
    }
}
