//! `wg-quick up`.

use std::ffi::OsStr;

use anyhow::bail;
use wg_config::Config;
use wg_hostnet::Hostnet;

use crate::config_file::{ConfigFile, show_errors};
use crate::down::run_hooks;
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::{self, Journal};
use crate::observed::{Coverage, Paths};
use crate::policy::Policy;
use crate::resolve::{Resolve, resolve_what_can_be};
use crate::signals::Signals;
use crate::transaction::Transaction;
use crate::tunnel::{RouteTable, Tunnel};
use crate::undo::{Occasion, undo_all};
use crate::{plan, report, resolve, say};

/// Brings a tunnel up, or leaves the host as it was.
///
/// # Errors
/// Why it is not up. Nothing was changed, or all is undone.
pub(crate) fn up(argument: &OsStr, resolve: Resolve) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let text = file.text()?;
    let mut parsed = file.parse(&text).map_err(|errors| {
        show_errors(&errors);
        Failed(1)
    })?;
    if !journal::is_of_interrupted(&file.interface) {
        refuse_existing(&Hostnet::open()?, &file.interface)?;
    }
    let mut tunnel = Tunnel::new(&file, &parsed)?;
    // PreUp commands may be what makes a name resolve. Without them all is known before it begins.
    let resolves_late = !tunnel.hooks.pre_up.is_empty();
    let mut unresolved = false;
    if !resolves_late {
        unresolved = look_up(resolve, &mut tunnel, &mut parsed.config, None)?;
    }

    let host = Host::new(file.interface, file.path)?;
    let mut journal = Journal::lock(&host.interface)?;
    clean_up(&host, &mut journal)?;
    // Another wg-quick may have been faster.
    refuse_existing(&host.net, &host.interface)?;
    journal.start(&tunnel)?;
    let mut transaction = Transaction::new(&host, &mut journal);
    let brought_up = transaction.run(&plan::link(&tunnel)).and_then(|()| {
        if resolves_late {
            let signals = Some(&host.signals);
            unresolved = look_up(resolve, &mut tunnel, &mut parsed.config, signals)?;
        }
        bring_up(&host, &tunnel, &mut transaction)
    });
    if let Err(error) = brought_up {
        let code = report(&error);
        transaction.roll_back();
        return Err(Failed(code).into());
    }
    if unresolved { resolve::start(&host) } else { Ok(()) }
}

/// Removes what is left of an `up` that was killed, or of a tunnel whose interface is gone.
fn clean_up(host: &Host, journal: &mut Journal) -> anyhow::Result<()> {
    let Some(stale) = journal.read()? else { return Ok(()) };
    let interface = &host.interface;
    if !stale.complete {
        host.made.set(stale.link);
        say(format_args!("[!] An `up' of `{interface}' was interrupted. Removing what it left."));
    } else if host.net.link(interface)?.is_none() {
        say(format_args!("[!] `{interface}' went without a `down'. Removing what it left."));
    } else {
        return Ok(());
    }
    if !undo_all(host, stale.undo, Occasion::Down) {
        bail!("what an earlier run left cannot be removed");
    }
    host.made.set(None);
    journal.clear()?;
    run_hooks(host, &stale.owed)
}

/// Looks up the endpoints; whether some are left for later.
fn look_up(
    resolve: Resolve,
    tunnel: &mut Tunnel,
    config: &mut Config,
    signals: Option<&Signals>,
) -> anyhow::Result<bool> {
    let unresolved = resolve == Resolve::Background && resolve_what_can_be(config);
    tunnel.resolve(config, signals)?;
    Ok(unresolved)
}

/// All that comes after the link and the PreUp commands.
fn bring_up(host: &Host, tunnel: &Tunnel, transaction: &mut Transaction<'_>) -> anyhow::Result<()> {
    transaction.run(&vec![plan::configuration(tunnel)])?;
    let device = host.device()?;
    let paths = match tunnel.mtu {
        Some(_) => Paths::default(),
        None => Paths::observe(&host.net, &device)?,
    };
    transaction.run(&plan::network(tunnel, &paths, tunnel.dns(host)))?;
    let link = host.link()?;
    let coverage = Coverage::observe(&host.net, &link, &device)?;
    let defaults = coverage.defaults();
    if tunnel.table == RouteTable::Auto && !defaults.is_empty() {
        // Until its routes are there, another tunnel would take the same table.
        let _tables = journal::lock_tables(&host.signals)?;
        let policy =
            Policy::observe(host, Some(&link), device.fwmark, &tunnel.addresses, &defaults)?;
        transaction.run(&plan::routes(tunnel, &coverage, Some(policy)))?;
    } else {
        transaction.run(&plan::routes(tunnel, &coverage, None))?;
    }
    transaction.run(&plan::hooks(tunnel))?;
    transaction.commit()
}

/// Fails when there is an interface of this name.
///
/// # Errors
/// As the original words it.
pub(crate) fn refuse_existing(net: &Hostnet, interface: &str) -> anyhow::Result<()> {
    match net.link(interface)? {
        Some(_) => bail!("`{interface}' already exists"),
        None => Ok(()),
    }
}
