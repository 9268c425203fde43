//! The values of wg-quick(8)'s own settings.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::ValueError;
use crate::quote::quote;
use crate::{AllowedIp, Table};

/// One entry of `DNS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsEntry {
    /// The address of a name server.
    Server(IpAddr),
    /// Anything else: a search domain.
    Search(String),
}

/// Reads `Address`: addresses with a prefix length or without, which means the whole address,
/// separated by commas or white space. Bits behind the prefix are the host's and stay. As for ip(8),
/// the length of an IPv4 prefix may be a mask such as 255.255.255.0.
///
/// # Errors
/// At the first entry that is no address with a prefix length of its family.
pub fn parse_address(text: &str) -> Result<Vec<AllowedIp>, ValueError> {
    entries(text)
        .map(|(entry, span)| {
            let (ip, cidr) =
                entry.split_once('/').map_or((entry, None), |(ip, cidr)| (ip, Some(cidr)));
            let parsed = ip.parse::<IpAddr>().ok().and_then(|address| {
                let full = if address.is_ipv4() { 32 } else { 128 };
                let cidr = match cidr {
                    None => full,
                    Some(mask) if address.is_ipv4() && mask.contains('.') => mask_length(mask)?,
                    Some(length) => super::decimal(length)?,
                };
                AllowedIp::new(address, u8::try_from(cidr).ok()?).ok()
            });
            parsed.ok_or_else(|| {
                ValueError::new(
                    format!("Unable to parse IP address: `{}'", quote(entry)),
                    "an IPv4 or IPv6 address, perhaps with /prefix-length (0 to 32 or 0 to 128)",
                    span,
                )
            })
        })
        .collect()
}

/// The ones of an IPv4 mask, which must all come first.
fn mask_length(mask: &str) -> Option<u32> {
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    (mask.count_ones() == mask.leading_ones()).then_some(mask.leading_ones())
}

/// Reads `DNS`: addresses of name servers and search domains, separated by commas or white space.
///
/// # Errors
/// At the first entry that has only digits and dots, or a colon, and yet is no address.
pub fn parse_dns(text: &str) -> Result<Vec<DnsEntry>, ValueError> {
    entries(text)
        .map(|(entry, span)| {
            let looks_like_an_address = entry.contains(':')
                || entry.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            match entry.parse() {
                Ok(address) => Ok(DnsEntry::Server(address)),
                Err(_) if !looks_like_an_address => Ok(DnsEntry::Search(entry.to_owned())),
                Err(_) => Err(ValueError::new(
                    format!("Unable to parse IP address: `{}'", quote(entry)),
                    "the IP address of a name server, or a search domain",
                    span,
                )),
            }
        })
        .collect()
}

/// Reads `MTU` in bytes; nothing means that it is worked out.
///
/// # Errors
/// When it is no number from 1 to 2147483647, the largest that the kernel takes.
pub fn parse_mtu(text: &str) -> Result<Option<u32>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    match super::decimal(text) {
        Some(mtu) if (1..=i32::MAX as u32).contains(&mtu) => Ok(Some(mtu)),
        _ => Err(ValueError::new(
            format!("MTU is not a number of bytes: `{}'", quote(text)),
            "a number of bytes, such as 1420",
            0..text.len(),
        )),
    }
}

/// Reads `Table`: `auto` or nothing, `off`, a number (decimal, hexadecimal with `0x`, octal with
/// `0`, as ip(8) reads it), or a name of `rt_tables`.
///
/// # Errors
/// When it is a number that does not fit 32 bits, or no name.
pub fn parse_table(text: &str) -> Result<Table, ValueError> {
    if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        return Ok(Table::Auto);
    }
    if text.eq_ignore_ascii_case("off") {
        return Ok(Table::Off);
    }
    let is_name = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let table = if !text.starts_with(|c: char| c.is_ascii_digit()) {
        is_name(text).then(|| Table::Name(text.to_owned()))
    } else if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        super::number(digits, 16).map(Table::Id)
    } else if text.starts_with('0') {
        super::number(text, 8).map(Table::Id)
    } else {
        super::decimal(text).map(Table::Id)
    };
    table.ok_or_else(|| {
        ValueError::new(
            format!("Table is neither auto, off, a number nor a name: `{}'", quote(text)),
            "`auto', `off', the number of a routing table or its name in rt_tables",
            0..text.len(),
        )
    })
}

/// Reads `SaveConfig`: `true` or `false`, without regard to case.
///
/// # Errors
/// When it is neither.
pub fn parse_bool(text: &str) -> Result<bool, ValueError> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(ValueError::new(
            format!("`{}' is neither true nor false", quote(text)),
            "`true' or `false'",
            0..text.len(),
        ))
    }
}

/// The entries between commas and white space, with where they lie; empty ones do not count.
fn entries(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut start = 0;
    text.split(|c: char| c == ',' || c.is_whitespace()).filter_map(move |entry| {
        // The separators differ in length, so the place is taken from the slices themselves.
        let offset = start + text[start..].find(entry).unwrap_or(0);
        start = offset + entry.len();
        (!entry.is_empty()).then_some((entry, offset..start))
    })
}
