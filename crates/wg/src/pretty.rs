//! `wg show` for people.

use std::env;
use std::io::{self, Write};
use std::time::Duration;

use wg_config::AddressText;
use wg_control::{Device, Peer};
use zeroize::Zeroizing;

use crate::endpoint::Shown;
use crate::quantity;
use crate::terminal::Style;

/// Writes an interface and its peers, those with the latest handshakes first.
pub(crate) fn write(
    w: &mut impl Write,
    device: &Device,
    now: Duration,
    style: Style,
) -> io::Result<()> {
    let label = |text: &'static str| style.label(text);
    let Device { name, .. } = device;
    let reset = style.reset();
    writeln!(w, "{reset}{}: {}", style.interface_label("interface"), style.interface(name))?;
    if let Some(key) = &device.public_key {
        writeln!(w, "  {}: {key}", label("public key"))?;
    }
    if let Some(key) = &device.private_key {
        writeln!(w, "  {}: {}", label("private key"), *secret(|| key.to_base64()))?;
    }
    if device.listen_port != 0 {
        writeln!(w, "  {}: {}", label("listening port"), device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(w, "  {}: {:#x}", label("fwmark"), device.fwmark)?;
    }
    let mut peers: Vec<&Peer> = device.peers.iter().collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(peer.last_handshake));
    peers.into_iter().try_for_each(|peer| write_peer(w, peer, now, style))
}

fn write_peer(w: &mut impl Write, peer: &Peer, now: Duration, style: Style) -> io::Result<()> {
    let label = |text: &'static str| style.label(text);
    writeln!(w, "\n{}: {}", style.peer_label("peer"), style.peer(peer.public_key))?;
    if let Some(key) = &peer.preshared_key {
        writeln!(w, "  {}: {}", label("preshared key"), *secret(|| key.to_base64()))?;
    }
    if let Some(endpoint) = peer.endpoint {
        writeln!(w, "  {}: {}", label("endpoint"), Shown(endpoint))?;
    }
    write!(w, "  {}: ", label("allowed ips"))?;
    for (index, ip) in peer.allowed_ips.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(
            w,
            "{separator}{}{}{}",
            AddressText::from(ip.address()),
            style.unit("/"),
            ip.cidr()
        )?;
    }
    writeln!(w, "{}", if peer.allowed_ips.is_empty() { "(none)" } else { "" })?;
    let handshake = peer.last_handshake.map_or(0, |time| time.as_secs());
    if handshake != 0 {
        let ago = quantity::ago(handshake, now, style);
        writeln!(w, "  {}: {ago}", label("latest handshake"))?;
    }
    if peer.rx_bytes != 0 || peer.tx_bytes != 0 {
        let received = quantity::bytes(peer.rx_bytes, style);
        let sent = quantity::bytes(peer.tx_bytes, style);
        writeln!(w, "  {}: {received} received, {sent} sent", label("transfer"))?;
    }
    if peer.persistent_keepalive != 0 {
        let interval = quantity::time(peer.persistent_keepalive.into(), style);
        writeln!(w, "  {}: every {interval}", label("persistent keepalive"))?;
    }
    Ok(())
}

fn secret(key: impl FnOnce() -> Zeroizing<String>) -> Zeroizing<String> {
    match env::var_os("WG_HIDE_KEYS") {
        Some(mode) if mode == "never" => key(),
        _ => Zeroizing::new("(hidden)".to_owned()),
    }
}
