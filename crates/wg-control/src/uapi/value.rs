//! The values of the protocol: hexadecimal keys, decimal numbers, endpoints and prefixes.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use nix::net::if_::if_nametoindex;
use wg_config::{
    AddressText, AllowedIp, AllowedIpChange, KEY_LEN, PresharedKey, PrivateKey, PublicKey,
};
use zeroize::Zeroizing;

use crate::scope_name;

/// Writes a line with a key in hexadecimal.
pub(super) fn write_key(w: &mut impl Write, name: &str, key: &[u8; KEY_LEN]) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new([0; 2 * KEY_LEN]);
    for (byte, digits) in key.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    w.write_all(name.as_bytes())?;
    w.write_all(b"=")?;
    w.write_all(&*text)?;
    w.write_all(b"\n")
}

/// Writes a line with an endpoint; the scope of a link-local address as the interface's name
/// where it has one, as the original does.
pub(super) fn write_endpoint(w: &mut impl Write, endpoint: SocketAddr) -> io::Result<()> {
    let address = AddressText::from(endpoint.ip());
    w.write_all(b"endpoint=")?;
    match endpoint {
        SocketAddr::V4(_) => w.write_all(address.as_bytes())?,
        SocketAddr::V6(v6) if v6.scope_id() == 0 => write!(w, "[{address}]")?,
        SocketAddr::V6(v6) => write!(w, "[{address}%{}]", scope_name(v6.scope_id()))?,
    }
    writeln!(w, ":{}", endpoint.port())
}

/// Writes a line with an allowed IP, behind a `-` when it is to be taken away.
pub(super) fn write_allowed_ip(w: &mut impl Write, ip: &AllowedIp, remove: bool) -> io::Result<()> {
    let mut tail = [b'/', 0, 0, 0, b'\n'];
    let cidr = ip.cidr();
    tail[1..4].copy_from_slice(&[b'0' + cidr / 100, b'0' + cidr / 10 % 10, b'0' + cidr % 10]);
    let digits = if cidr >= 100 {
        3
    } else if cidr >= 10 {
        2
    } else {
        1
    };
    tail[3 - digits] = b'/';
    w.write_all(if remove { b"allowed_ip=-" } else { b"allowed_ip=" })?;
    w.write_all(AddressText::from(ip.address()).as_bytes())?;
    w.write_all(&tail[3 - digits..])
}

pub(super) fn private_key(text: &[u8]) -> Option<PrivateKey> {
    key(text).map(|key| (*key).into())
}

pub(super) fn preshared_key(text: &[u8]) -> Option<PresharedKey> {
    key(text).map(|key| (*key).into())
}

pub(super) fn public_key(text: &[u8]) -> Option<PublicKey> {
    key(text).map(|key| (*key).into())
}

/// A number in decimal digits and nothing else.
pub(super) fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// `true`, the only value of a flag.
pub(super) fn flag(text: &[u8]) -> Option<bool> {
    (text == b"true").then_some(true)
}

/// `1.2.3.4:5`, `[::1]:5`, `[fe80::1%eth0]:5` or `[fe80::1%2]:5`.
pub(super) fn endpoint(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    if !text.contains('%') {
        return text.parse().ok();
    }
    let (host, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
    let (address, zone) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let port = number(port.as_bytes())?;
    let scope = number(zone.as_bytes()).or_else(|| if_nametoindex(zone).ok())?;
    Some(SocketAddrV6::new(address, port, 0, scope).into())
}

/// `10.0.0.0/8`, or `-10.0.0.0/8` to take it away.
pub(super) fn allowed_ip_change(text: &[u8]) -> Option<AllowedIpChange> {
    match text.strip_prefix(b"-") {
        Some(text) => Some(AllowedIpChange { ip: allowed_ip(text)?, remove: true }),
        None => allowed_ip(text).map(AllowedIpChange::from),
    }
}

/// `10.0.0.0/8`.
pub(super) fn allowed_ip(text: &[u8]) -> Option<AllowedIp> {
    let (address, cidr) = str::from_utf8(text).ok()?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    AllowedIp::new(address, number(cidr.as_bytes())?).ok()
}

fn key(text: &[u8]) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    if text.len() != 2 * KEY_LEN {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(key)
}

fn digit(text: u8) -> Option<u8> {
    char::from(text).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_by_name_or_number_and_written_by_name() {
        let loopback = if_nametoindex("lo").unwrap();
        for text in ["[fe80::1%lo]:5".to_owned(), format!("[fe80::1%{loopback}]:5")] {
            let endpoint = endpoint(text.as_bytes()).unwrap();
            assert_eq!(
                endpoint,
                SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, loopback).into()
            );
            let mut written = Vec::new();
            write_endpoint(&mut written, endpoint).unwrap();
            assert_eq!(written, b"endpoint=[fe80::1%lo]:5\n");
        }
        assert_eq!(endpoint(b"[fe80::1%no-such-link]:5"), None);
    }

    #[test]
    fn a_scope_without_a_name_is_written_as_a_number() {
        let endpoint = SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, u32::MAX).into();
        let mut written = Vec::new();
        write_endpoint(&mut written, endpoint).unwrap();
        assert_eq!(written, b"endpoint=[fe80::1%4294967295]:5\n");
    }

    #[test]
    fn numbers_are_digits_within_range() {
        assert_eq!(number::<u16>(b"65535"), Some(65535));
        assert_eq!(number::<u16>(b"005"), Some(5));
        for text in [&b""[..], b"65536", b"+5", b"-1", b" 5", b"0x5", b"5 "] {
            assert_eq!(number::<u16>(text), None);
        }
    }
}
