//! `wg-quick save`, and `SaveConfig`: the file says what the interface is like.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wg_config::{AllowedIp, AllowedIpChange, Config, Endpoint, Peer};
use wg_control::{Device, scope_name};

use crate::config_file::{ConfigFile, show_errors};
use crate::hook::Failed;
use crate::host::Host;
use crate::journal::Journal;
use crate::say;
use crate::step::Step;

/// Writes the interface's state to its file.
///
/// # Errors
/// When there is no such tunnel, only a part of it, or the file cannot be read or written; it is as
/// before then.
pub(crate) fn save(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let text = file.text()?;
    let host = Host::new(file.interface, file.path)?;
    if !wg_control::interfaces().contains(&host.interface) {
        bail!("`{}' is not a WireGuard interface", host.interface);
    }
    let mut journal = Journal::lock(&host.interface)?;
    let record = journal.read()?;
    if record.as_ref().is_some_and(|record| !record.is_whole()) {
        bail!("an `up' or `reload' of `{}' was interrupted: nothing is saved", host.interface);
    }
    let undo = record.map(|record| record.undo).unwrap_or_default();
    write_state(&host, &text, &undo)
}

/// Writes the interface's state to its file, which now holds `text`.
///
/// A mark that `up` chose (`undo` knows) is left out: the next `up` chooses one that is free then.
///
/// # Errors
/// When the file is not valid, or cannot be written; it is as before then.
pub(crate) fn write_state(host: &Host, text: &[u8], undo: &[Step]) -> anyhow::Result<()> {
    say(format_args!("[#] wg showconf {}", host.interface));
    let name = host.config_file.to_string_lossy();
    let before =
        wg_config::read(&name, text, wg_config::Dialect::WgQuick, wg_control::service_port);
    let old = before.map_err(|errors| {
        show_errors(&errors);
        Failed(1)
    })?;
    let mut now = state(host, &old.config)?;
    let is_chosen = |step: &Step| match step {
        Step::DeleteRule(rule) => rule.fwmark.is_some() && rule.fwmark == now.interface.fwmark,
        _ => false,
    };
    if old.config.interface.fwmark.is_none() && undo.iter().any(is_chosen) {
        now.interface.fwmark = None;
    }
    let text = wg_config::rewrite(&name, text, &now, wg_control::service_port)?;
    replace(&host.config_file, &text)
}

/// What the interface is like, in the words of a file.
fn state(host: &Host, old: &Config) -> anyhow::Result<Config> {
    let device = host.device()?;
    let link = host.link()?;
    let mut now = Config::default();
    for address in host.net.addresses(Some(&link))? {
        let address = AllowedIp::new(address.prefix.address, address.prefix.len)?;
        // The kernel gives a TUN device one by itself.
        let is_the_kernels = match address.address() {
            std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
            std::net::IpAddr::V4(_) => false,
        };
        if !is_the_kernels || old.interface.addresses.contains(&address) {
            now.interface.addresses.push(address);
        }
    }
    now.interface.mtu = Some(link.mtu);
    now.interface.listen_port = Some(device.listen_port);
    now.interface.fwmark = Some(device.fwmark).filter(|mark| *mark != 0);
    now.interface.private_key.clone_from(&device.private_key);
    now.peers = peers(&device);
    Ok(now)
}

fn peers(device: &Device) -> Vec<Peer> {
    let peer = |peer: &wg_control::Peer| Peer {
        name: None,
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.clone(),
        endpoint: peer.endpoint.map(endpoint),
        persistent_keepalive: Some(peer.persistent_keepalive),
        replace_allowed_ips: true,
        allowed_ips: peer.allowed_ips.iter().copied().map(AllowedIpChange::from).collect(),
    };
    device.peers.iter().map(peer).collect()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Endpoint::Name {
            host: format!("{}%{}", v6.ip(), scope_name(v6.scope_id())),
            service: v6.port().to_string(),
        },
        _ => Endpoint::Address(address),
    }
}

/// Puts a new file in the place of an old one, whole, and readable by root alone.
fn replace(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        // One that an earlier run left may belong to anybody.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write()
        .inspect_err(|_| {
            // Nothing to do about it if that fails as well.
            let _ = fs::remove_file(&temporary);
        })
        .with_context(|| format!("`{}' cannot be written", path.display()))
}
