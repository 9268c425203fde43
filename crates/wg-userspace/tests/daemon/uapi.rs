//! A client of the UAPI socket of a host's daemon.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result};
use testbed::{Host, eventually};
use wg_config::PublicKey;
use wg_control::uapi::{read_device, read_errno, write_get, write_set};
use wg_control::{Device, DeviceUpdate, Peer};

use crate::PATIENCE;

/// Where the socket of `interface` is for this process.
pub(crate) fn path(host: &Host, interface: &str) -> PathBuf {
    host.path(&format!("/run/wireguard/{interface}.sock"))
}

pub(crate) fn connect(host: &Host, interface: &str) -> Result<UnixStream> {
    let path = path(host, interface);
    UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))
}

pub(crate) fn get(host: &Host, interface: &str) -> Result<Device> {
    let mut stream = connect(host, interface)?;
    write_get(&mut stream)?;
    Ok(read_device(&stream, interface)?)
}

pub(crate) fn set(host: &Host, interface: &str, update: &DeviceUpdate) -> Result<()> {
    let mut stream = connect(host, interface)?;
    write_set(&mut stream, update)?;
    Ok(read_errno(&stream)?)
}

/// The peer as it is now.
pub(crate) fn peer(host: &Host, interface: &str, key: &PublicKey) -> Result<Peer> {
    let device = get(host, interface)?;
    device.peers.into_iter().find(|peer| peer.public_key == *key).context("no such peer")
}

/// Waits until the daemon has ended, its socket and its interface with it.
pub(crate) fn wait_for_end(host: &Host, interface: &str) -> Result<()> {
    eventually("the daemon's end", PATIENCE, || {
        let no_process = host.processes().ok()?.is_empty();
        let no_socket = !path(host, interface).exists();
        let no_interface = !host.interfaces().ok()?.iter().any(|name| name == interface);
        (no_process && no_socket && no_interface).then_some(())
    })
}
