//! `wg showconf`.

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::{Result, bail};
use wg_control::{Device, Peer};

use crate::endpoint::Shown;
use crate::output::Output;
use crate::{failure, usage};

pub(crate) fn run(program: &str, arguments: &[OsString], output: &mut Output) -> Result<()> {
    let [name] = arguments else {
        bail!(usage::showconf(program));
    };
    let device =
        wg_control::get(&name.to_string_lossy()).map_err(|error| failure::access(&error))?;
    Ok(write(output, &device)?)
}

fn write(w: &mut impl Write, device: &Device) -> io::Result<()> {
    writeln!(w, "[Interface]")?;
    if device.listen_port != 0 {
        writeln!(w, "ListenPort = {}", device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(w, "FwMark = {:#x}", device.fwmark)?;
    }
    if let Some(key) = &device.private_key {
        writeln!(w, "PrivateKey = {}", *key.to_base64())?;
    }
    writeln!(w)?;
    for (index, peer) in device.peers.iter().enumerate() {
        if index > 0 {
            writeln!(w)?;
        }
        write_peer(w, peer)?;
    }
    Ok(())
}

fn write_peer(w: &mut impl Write, peer: &Peer) -> io::Result<()> {
    writeln!(w, "[Peer]\nPublicKey = {}", peer.public_key)?;
    if let Some(key) = &peer.preshared_key {
        writeln!(w, "PresharedKey = {}", *key.to_base64())?;
    }
    for (index, ip) in peer.allowed_ips.iter().enumerate() {
        write!(w, "{}{}", if index == 0 { "AllowedIPs = " } else { ", " }, ip)?;
    }
    if !peer.allowed_ips.is_empty() {
        writeln!(w)?;
    }
    if let Some(endpoint) = peer.endpoint {
        writeln!(w, "Endpoint = {}", Shown(endpoint))?;
    }
    if peer.persistent_keepalive != 0 {
        writeln!(w, "PersistentKeepalive = {}", peer.persistent_keepalive)?;
    }
    Ok(())
}
