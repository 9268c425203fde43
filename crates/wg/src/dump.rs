//! `wg show … dump`: everything, separated by tabs.

use std::io::{self, Write};

use wg_control::{Device, Peer};

use crate::endpoint::Shown;
use crate::show_columns::{base64, interval_or_off, mark_or_off, or_none};

/// Writes a line for the interface and one for each peer, each beginning with `prefix`.
pub(crate) fn write(w: &mut impl Write, device: &Device, prefix: &str) -> io::Result<()> {
    let private_key = base64(device.private_key.as_ref().map(wg_config::PrivateKey::to_base64));
    write!(w, "{prefix}{}\t{}\t", &*private_key, or_none(device.public_key))?;
    writeln!(w, "{}\t{}", device.listen_port, mark_or_off(device.fwmark))?;
    device.peers.iter().try_for_each(|peer| write_peer(w, peer, prefix))
}

fn write_peer(w: &mut impl Write, peer: &Peer, prefix: &str) -> io::Result<()> {
    let preshared_key = base64(peer.preshared_key.as_ref().map(wg_config::PresharedKey::to_base64));
    let endpoint = or_none(peer.endpoint.map(Shown));
    write!(w, "{prefix}{}\t{}\t{endpoint}\t", peer.public_key, &*preshared_key)?;
    if peer.allowed_ips.is_empty() {
        write!(w, "(none)")?;
    }
    for (index, ip) in peer.allowed_ips.iter().enumerate() {
        write!(w, "{}{}", if index == 0 { "" } else { "," }, ip)?;
    }
    let handshake = peer.last_handshake.map_or(0, |time| time.as_secs());
    write!(w, "\t{handshake}\t{}\t{}\t", peer.rx_bytes, peer.tx_bytes)?;
    writeln!(w, "{}", interval_or_off(peer.persistent_keepalive))
}
