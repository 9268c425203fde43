//! `AllowedIPs`: prefixes separated by commas, each perhaps with a sign.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::ValueError;
use crate::quote::quote;
use crate::setting::{may_have_blanks, without_blanks};
use crate::{AllowedIp, AllowedIpChange};

/// Reads allowed IPs: whether they replace those the peer has, and the changes in order.
///
/// `+` and `-` before an address add to and take from what is there, and then nothing is
/// replaced. Nothing at all replaces by nothing. White space does not count. `warn` gets each entry
/// that has bits behind its prefix, as the original reports it on standard error, also those before
/// an error.
///
/// # Errors
/// At the first entry that is no address, or whose prefix length is not one of its family.
pub fn parse_allowed_ips(
    text: &str,
    warn: &mut dyn FnMut(ValueError),
) -> Result<(bool, Vec<AllowedIpChange>), ValueError> {
    let mut replace = true;
    if text.trim().is_empty() {
        return Ok((replace, Vec::new()));
    }
    let mut changes = Vec::with_capacity(1 + memchr::memchr_iter(b',', text.as_bytes()).count());
    let mut start = 0;
    while start <= text.len() {
        let begin = start;
        let length = memchr::memchr(b',', &text.as_bytes()[begin..]);
        let raw = &text[begin..length.map_or(text.len(), |length| begin + length)];
        start += raw.len() + 1;
        let span = || trimmed_span(text, begin, begin + raw.len());
        let entry =
            if may_have_blanks(raw) { Cow::Owned(without_blanks(raw)) } else { Cow::Borrowed(raw) };
        let unsigned = entry.strip_prefix(['+', '-']);
        replace &= unsigned.is_none();
        let unsigned = unsigned.unwrap_or(&entry);
        let ip = parse_entry(unsigned, span)?;
        if ip != ip.masked() {
            warn(ValueError::new(
                format!("Warning: AllowedIP has nonzero host part: {}", quote(unsigned)),
                format!("{} is what counts", ip.masked()),
                span(),
            ));
        }
        changes.push(AllowedIpChange { ip, remove: entry.starts_with('-') });
    }
    Ok((replace, changes))
}

fn parse_entry(entry: &str, span: impl Fn() -> Range<usize>) -> Result<AllowedIp, ValueError> {
    let (ip, cidr) = match memchr::memchr(b'/', entry.as_bytes()) {
        Some(slash) => (&entry[..slash], Some(&entry[slash + 1..])),
        None => (entry, None),
    };
    let address = if memchr::memchr(b':', ip.as_bytes()).is_some() {
        ip.parse::<Ipv6Addr>().map(IpAddr::from).ok()
    } else {
        ip.parse::<Ipv4Addr>().map(IpAddr::from).ok()
    };
    let Some(address) = address else {
        return Err(ValueError::new(
            format!("Unable to parse IP address: `{}'", quote(ip)),
            "an IPv4 or IPv6 address, perhaps with /prefix-length, and commas between several",
            span(),
        ));
    };
    let full = if address.is_ipv4() { 32 } else { 128 };
    let cidr = match cidr {
        None => Some(full),
        Some(digits) => super::decimal(digits).and_then(|cidr| u8::try_from(cidr).ok()),
    };
    cidr.and_then(|cidr| AllowedIp::new(address, cidr).ok()).ok_or_else(|| {
        ValueError::new(
            format!("AllowedIP is not in the correct format: `{}'", quote(entry)),
            format!("a prefix length from 0 to {full} behind the `/'"),
            span(),
        )
    })
}

/// The part of `text[start..end]` inside its white space.
fn trimmed_span(text: &str, start: usize, end: usize) -> Range<usize> {
    let raw = &text[start..end];
    let start = start + raw.len() - raw.trim_start().len();
    start..start + raw.trim().len()
}
