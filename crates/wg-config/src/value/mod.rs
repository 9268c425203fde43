//! The parsers of single values, shared by configuration files and the arguments of `wg set`.
//!
//! The sentences of the errors are those of the original `wg`, byte for byte where scripts may
//! look at them. What is quoted is made printable, cut when it is long, and left out when it may
//! be a secret key.

mod allowed_ips;
mod quick;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;

pub use allowed_ips::parse_allowed_ips;
pub use quick::{DnsEntry, parse_address, parse_bool, parse_dns, parse_mtu, parse_table};

use crate::quote::{HIDDEN, quote};
use crate::{Endpoint, KEY_TEXT_LEN, KeyTextError, PresharedKey, PrivateKey, PublicKey};

/// A value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{original}")]
pub struct ValueError {
    original: String,
    expected: Cow<'static, str>,
    span: Range<usize>,
}

impl ValueError {
    pub(crate) fn new(
        original: String,
        expected: impl Into<Cow<'static, str>>,
        span: Range<usize>,
    ) -> Self {
        Self { original, expected: expected.into(), span }
    }

    /// The sentence that the original prints, without a newline.
    pub fn original(&self) -> &str {
        &self.original
    }

    /// What would have been right.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// The bytes of the value that are wrong.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// Reads a public key.
///
/// # Errors
/// When the text is not 44 characters of base64 that encode 32 bytes.
pub fn parse_public_key(text: &str) -> Result<PublicKey, ValueError> {
    PublicKey::from_base64(text.as_bytes()).map_err(|_| key_error(text, &quote(text)))
}

/// Reads a private key.
///
/// # Errors
/// When the text is not 44 characters of base64 that encode 32 bytes. The error does not quote a
/// text that may be most of a key.
pub fn parse_private_key(text: &str) -> Result<PrivateKey, ValueError> {
    PrivateKey::from_base64(text.as_bytes()).map_err(|KeyTextError| secret_key_error(text))
}

/// Reads a preshared key.
///
/// # Errors
/// When the text is not 44 characters of base64 that encode 32 bytes. The error does not quote a
/// text that may be most of a key.
pub fn parse_preshared_key(text: &str) -> Result<PresharedKey, ValueError> {
    PresharedKey::from_base64(text.as_bytes()).map_err(|KeyTextError| secret_key_error(text))
}

/// Reads a UDP port, 0 to 65535, or the name of a service, whose port `service_port` finds.
///
/// # Errors
/// When it is something else. The original wraps round above 65535, which is refused here.
pub fn parse_port(
    text: &str,
    service_port: impl FnOnce(&str) -> Option<u16>,
) -> Result<u16, ValueError> {
    const EXPECTED: &str = "a port number, 0 to 65535, or the name of a UDP service";
    if text.is_empty() {
        return Err(ValueError::new("Unable to parse empty port".into(), EXPECTED, 0..0));
    }
    let port = if is_number(text) { port_number(text) } else { service_port(text) };
    port.ok_or_else(|| {
        let original = format!("Servname not supported for ai_socktype: `{}'", quote(text));
        ValueError::new(original, EXPECTED, 0..text.len())
    })
}

/// Reads a firewall mark: `off`, or a decimal number, or a hexadecimal one behind `0x`.
///
/// # Errors
/// When it is something else or does not fit 32 bits.
pub fn parse_fwmark(text: &str) -> Result<u32, ValueError> {
    let mark = if text.eq_ignore_ascii_case("off") {
        Some(0)
    } else if let Some(digits) = text.strip_prefix("0x") {
        number(digits, 16)
    } else {
        decimal(text)
    };
    mark.ok_or_else(|| {
        ValueError::new(
            format!("Fwmark is neither 0/off nor 0-0xffffffff: `{}'", quote(text)),
            "`off' or a number from 0 to 4294967295, decimal or hexadecimal with 0x",
            0..text.len(),
        )
    })
}

/// Reads a persistent keepalive interval in seconds, 0 to 65535; `off` is 0.
///
/// # Errors
/// When it is something else.
pub fn parse_persistent_keepalive(text: &str) -> Result<u16, ValueError> {
    let seconds = if text.eq_ignore_ascii_case("off") {
        Some(0)
    } else {
        decimal(text).and_then(|seconds| u16::try_from(seconds).ok())
    };
    seconds.ok_or_else(|| {
        ValueError::new(
            format!(
                "Persistent keepalive interval is neither 0/off nor 1-65535: `{}'",
                quote(text)
            ),
            "`off' or a number of seconds from 0 to 65535",
            0..text.len(),
        )
    })
}

/// Reads `host:port` or `[host]:port` without resolving either.
///
/// # Errors
/// When the port is missing or a number above 65535, or the host is empty or half an IPv6
/// address. Whether a name exists is for the resolver to say.
pub fn parse_endpoint(text: &str) -> Result<Endpoint, ValueError> {
    const EXPECTED: &str = "`address:port', `[IPv6 address]:port' or `name:port'";
    let error = |what: &str, expected: &'static str, span| {
        Err(ValueError::new(format!("{what}: `{}'", quote(text)), expected, span))
    };
    if text.is_empty() {
        return Err(ValueError::new("Unable to parse empty endpoint".into(), EXPECTED, 0..0));
    }
    // Most are numbers already. What a zone is, is for the resolver to say.
    if let Ok(address) = text.parse::<SocketAddr>()
        && (address.is_ipv4() || !text.contains('%'))
    {
        return Ok(Endpoint::Address(address));
    }
    let whole = 0..text.len();
    let (host, service) = if let Some(bracketed) = text.strip_prefix('[') {
        let Some((host, rest)) = bracketed.split_once(']') else {
            return error("Unable to find matching brace of endpoint", EXPECTED, whole);
        };
        (host, rest.strip_prefix(':'))
    } else {
        text.rsplit_once(':').map_or((text, None), |(host, service)| (host, Some(service)))
    };
    let Some(service) = service.filter(|service| !service.is_empty()) else {
        return error("Unable to find port of endpoint", EXPECTED, whole);
    };
    if is_number(service) && port_number(service).is_none() {
        let span = text.len() - service.len()..text.len();
        return error("Servname not supported for ai_socktype", "a port number, 0 to 65535", span);
    }
    let address = host.split_once('%').map_or(host, |(address, _zone)| address);
    if address.contains(':') && address.parse::<std::net::Ipv6Addr>().is_err() {
        return error("Name or service not known", EXPECTED, whole);
    }
    if host.is_empty() {
        return error("Name or service not known", EXPECTED, whole);
    }
    let service = if is_number(service) { unsigned(service) } else { service };
    Ok(Endpoint::new(host, service))
}

/// Whether the C library takes it for a number: strtoul(3) lets leading blanks and a sign pass.
fn is_number(port: &str) -> bool {
    let digits = unsigned(port).strip_prefix('-').unwrap_or(unsigned(port));
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn port_number(port: &str) -> Option<u16> {
    decimal(unsigned(port)).and_then(|port| u16::try_from(port).ok())
}

/// Without the blanks and the plus sign that may come before a number.
fn unsigned(port: &str) -> &str {
    let number = port.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    number.strip_prefix('+').unwrap_or(number)
}

fn decimal(digits: &str) -> Option<u32> {
    number(digits, 10)
}

/// A number of digits only, without the sign that the standard library takes.
fn number(digits: &str, radix: u32) -> Option<u32> {
    let all_digits = digits.bytes().all(|digit| char::from(digit).is_digit(radix));
    all_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

fn secret_key_error(text: &str) -> ValueError {
    // Fifteen characters of a key leave 172 bits to guess.
    if text.len() < 16 { key_error(text, &quote(text)) } else { key_error(text, HIDDEN) }
}

fn key_error(text: &str, quoted: &str) -> ValueError {
    let length = text.chars().count();
    let expected = if length == KEY_TEXT_LEN {
        format!("{KEY_TEXT_LEN} characters of base64 that encode 32 bytes")
    } else {
        format!("{KEY_TEXT_LEN} characters of base64, but these are {length}")
    };
    ValueError::new(
        format!("Key is not the correct length or format: `{quoted}'"),
        expected,
        0..text.len(),
    )
}

#[cfg(test)]
mod tests;
