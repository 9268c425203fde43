//! `wg-quick up`.

use std::ffi::OsStr;

use anyhow::bail;
use wg_config::Config;
use wg_hostnet::Hostnet;

use crate::config_file::{ConfigFile, show_errors};
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::Journal;
use crate::observed::{Coverage, Paths};
use crate::transaction::{Transaction, undo_all};
use crate::tunnel::Tunnel;
use crate::{plan, report, say};

/// Brings a tunnel up, or leaves the host as it was.
///
/// # Errors
/// Why it is not up. Nothing was changed, or all is undone.
pub(crate) fn up(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let text = file.text()?;
    let parsed = file.parse(&text).map_err(|errors| {
        show_errors(&errors);
        Failed(1)
    })?;
    refuse_existing(&Hostnet::open()?, &file.interface)?;
    let tunnel = Tunnel::new(&file, &parsed)?;
    warn_of_missing(&parsed.config);

    let host = Host::new(file.interface, file.path)?;
    let mut journal = Journal::lock(&host.interface)?;
    // Another wg-quick may have been faster.
    refuse_existing(&host.net, &host.interface)?;
    if let Some(stale) = journal.read()?
        && !undo_all(&host, stale.undo)
    {
        bail!("what an earlier run left cannot be removed");
    }
    journal.start(&tunnel)?;
    let mut transaction = Transaction::new(&host, &mut journal);
    if let Err(error) = bring_up(&host, &tunnel, &mut transaction) {
        let code = report(&error);
        transaction.roll_back();
        return Err(Failed(code).into());
    }
    Ok(())
}

fn bring_up(host: &Host, tunnel: &Tunnel, transaction: &mut Transaction<'_>) -> anyhow::Result<()> {
    transaction.run(plan::device(tunnel))?;
    let device = wg_control::get(&host.interface)?;
    let paths = match tunnel.mtu {
        Some(_) => Paths::default(),
        None => Paths::observe(&host.net, &device)?,
    };
    transaction.run(plan::network(tunnel, &paths))?;
    let coverage = Coverage::observe(&host.net, &host.link()?, &device)?;
    transaction.run(plan::routes(tunnel, &coverage)?)?;
    transaction.commit()
}

fn refuse_existing(net: &Hostnet, interface: &str) -> anyhow::Result<()> {
    match net.link(interface)? {
        Some(_) => bail!("`{interface}' already exists"),
        None => Ok(()),
    }
}

fn warn_of_missing(config: &Config) {
    let file = &config.interface;
    if !file.dns.is_empty() || !file.dns_search.is_empty() {
        say(format_args!("[!] DNS is not set: this version does not do that yet."));
    }
    if file.save_config {
        say(format_args!("[!] SaveConfig is ignored: this version does not do that yet."));
    }
}
