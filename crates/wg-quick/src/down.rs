//! `wg-quick down`.

use std::ffi::OsStr;

use anyhow::bail;

use crate::config_file::{ConfigFile, show_errors};
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::{self, Journal, Record};
use crate::say;
use crate::step::Step;
use crate::transaction::undo_all;
use crate::tunnel::Hooks;

/// Takes a tunnel down.
///
/// What is removed is what the journal says, else what the original removes. The commands are the
/// file's, as it is now; where it is gone or broken, those of the journal.
///
/// # Errors
/// When there is no such tunnel, a hook fails, or something cannot be removed.
pub(crate) fn down(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, journal::exists)?;
    let hooks = current_hooks(&file)?;
    let host = Host::new(file.interface, file.path)?;
    let mut journal = Journal::lock(&host.interface)?;
    let record = journal.read()?;
    if !wg_control::interfaces().contains(&host.interface) {
        return clean_up(&host, journal, record);
    }
    let (hooks, undo) = match (hooks, record) {
        (hooks, Some(record)) if !record.undo.is_empty() => {
            (hooks.unwrap_or(record.hooks), record.undo)
        }
        (hooks, _) => (hooks.unwrap_or_default(), vec![Step::DeleteLink]),
    };
    run_hooks(&host, &hooks.pre_down)?;
    host.signals.check()?;
    if !undo_all(&host, undo) {
        return Err(Failed(1).into());
    }
    journal.clear()?;
    drop(journal);
    run_hooks(&host, &hooks.post_down)
}

/// The hooks of the file; `None` where it cannot say and the journal can.
fn current_hooks(file: &ConfigFile) -> anyhow::Result<Option<Hooks>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = file.text()?;
    match file.parse(&text) {
        Ok(parsed) => Ok(Some(Hooks::new(&file.interface, &parsed.config))),
        Err(errors) => {
            show_errors(&errors);
            if !journal::exists(&file.interface) {
                return Err(Failed(1).into());
            }
            say(format_args!("[!] Going by the journal of `up'."));
            Ok(None)
        }
    }
}

/// Removes what is left of a tunnel whose interface is gone.
fn clean_up(host: &Host, mut journal: Journal, record: Option<Record>) -> anyhow::Result<()> {
    let interrupted = record.as_ref().is_some_and(|record| !record.complete);
    if let Some(record) = record {
        if !undo_all(host, record.undo) {
            return Err(Failed(1).into());
        }
        journal.clear()?;
    }
    if interrupted {
        return Ok(());
    }
    bail!("`{}' is not a WireGuard interface", host.interface)
}

fn run_hooks(host: &Host, hooks: &[String]) -> anyhow::Result<()> {
    for hook in hooks {
        say(format_args!("[#] {hook}"));
        host.run_hook(hook)?;
    }
    Ok(())
}
