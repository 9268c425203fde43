//! `wg show … COLUMN`: one property, for scripts.

use std::fmt::Display;
use std::io::{self, Write};

use wg_config::{PresharedKey, PrivateKey};
use wg_control::Device;
use zeroize::Zeroizing;

use crate::columns::COLUMNS;
use crate::dump;
use crate::endpoint::Shown;

/// Writes a column of an interface, each line beginning with `prefix`; `None` when there is no
/// such column.
pub(crate) fn write(
    w: &mut impl Write,
    device: &Device,
    column: &str,
    prefix: &str,
) -> Option<io::Result<()>> {
    Some(match column {
        "public-key" => writeln!(w, "{prefix}{}", or_none(device.public_key)),
        "private-key" => {
            let key = base64(device.private_key.as_ref().map(PrivateKey::to_base64));
            writeln!(w, "{prefix}{}", &*key)
        }
        "listen-port" => writeln!(w, "{prefix}{}", device.listen_port),
        "fwmark" => writeln!(w, "{prefix}{}", mark_or_off(device.fwmark)),
        "dump" => dump::write(w, device, prefix),
        _ => return write_of_peers(w, device, column, prefix),
    })
}

/// The text of a key, `(none)` without one.
pub(crate) fn base64(key: Option<Zeroizing<String>>) -> Zeroizing<String> {
    key.unwrap_or_else(|| Zeroizing::new("(none)".to_owned()))
}

pub(crate) fn or_none<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "(none)".to_owned(), |value| value.to_string())
}

/// A firewall mark.
pub(crate) fn mark_or_off(mark: u32) -> String {
    if mark == 0 { "off".to_owned() } else { format!("{mark:#x}") }
}

/// Seconds.
pub(crate) fn interval_or_off(seconds: u16) -> String {
    if seconds == 0 { "off".to_owned() } else { seconds.to_string() }
}

fn write_of_peers(
    w: &mut impl Write,
    device: &Device,
    column: &str,
    prefix: &str,
) -> Option<io::Result<()>> {
    COLUMNS.contains(&column).then(|| {
        device.peers.iter().try_for_each(|peer| {
            write!(w, "{prefix}{}", peer.public_key)?;
            match column {
                "preshared-keys" => {
                    let key = base64(peer.preshared_key.as_ref().map(PresharedKey::to_base64));
                    write!(w, "\t{}", &*key)?;
                }
                "endpoints" => write!(w, "\t{}", or_none(peer.endpoint.map(Shown)))?,
                "allowed-ips" if peer.allowed_ips.is_empty() => write!(w, "\t(none)")?,
                "allowed-ips" => {
                    for (index, ip) in peer.allowed_ips.iter().enumerate() {
                        write!(w, "{}{}", if index == 0 { '\t' } else { ' ' }, ip)?;
                    }
                }
                "latest-handshakes" => {
                    write!(w, "\t{}", peer.last_handshake.map_or(0, |time| time.as_secs()))?;
                }
                "transfer" => write!(w, "\t{}\t{}", peer.rx_bytes, peer.tx_bytes)?,
                "persistent-keepalive" => {
                    write!(w, "\t{}", interval_or_off(peer.persistent_keepalive))?;
                }
                _ => {}
            }
            writeln!(w)
        })
    })
}
