//! `AllowedIPs`: prefixes separated by commas, each perhaps with a sign.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use super::ValueError;
use crate::blanks::{may_have_blanks, without_blanks};
use crate::quote::quote;
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
    let has_blanks = may_have_blanks(text);
    let commas = memchr::memchr_iter(b',', text.as_bytes());
    let mut changes = Vec::with_capacity(1 + text.bytes().filter(|byte| *byte == b',').count());
    let mut start = 0;
    for end in commas.chain([text.len()]) {
        let raw = &text[start..end];
        let span = || trimmed_span(text, start, end);
        let entry = if has_blanks { Cow::Owned(without_blanks(raw)) } else { Cow::Borrowed(raw) };
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
        start = end + 1;
    }
    Ok((replace, changes))
}

fn parse_entry(entry: &str, span: impl Fn() -> Range<usize>) -> Result<AllowedIp, ValueError> {
    let (ip, cidr) = match entry.bytes().position(|byte| byte == b'/') {
        Some(slash) => (&entry[..slash], Some(&entry[slash + 1..])),
        None => (entry, None),
    };
    let Ok(address) = ip.parse::<IpAddr>() else {
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
