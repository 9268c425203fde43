//! ICMP errors for the host's packets that cannot go through the tunnel, so that their senders
//! learn of it instead of waiting (RFC 792; RFC 4443; kernel: `wg_xmit`).

use std::io::IoSlice;
use std::net::Ipv4Addr;

use wg_noise::Instant;

use crate::checksum::Sum;
use crate::engine::{Engine, FIRST_LANE};
use crate::per_second::PerSecond;
use crate::virtio::VirtioHeader;

/// Errors in a second at most (kernel: `icmp_msgs_per_sec`).
const ERRORS_PER_SECOND: u64 = 1000;
/// An error and what it quotes are no longer than this (RFC 1812, section 4.3.2.3; RFC 4443,
/// section 2.4 (c)).
const MAX_LEN_V4: usize = 576;
const MAX_LEN_V6: usize = 1280;

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
const ICMP_HEADER_LEN: usize = 8;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const HOPS: u8 = 64;

/// Why a packet does not go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No peer has its destination among its allowed IPs, or the peer has no endpoint.
    Unreachable,
    /// It is longer than this many bytes.
    TooBig(u16),
}

/// How many errors were sent in the running second.
#[derive(Debug, Default)]
pub(crate) struct Errors(PerSecond);

impl Engine {
    /// Tells the sender of `packet`, which came from the host, that it went nowhere.
    pub(crate) fn refuse(&self, packet: &[u8], reason: Reason, now: Instant) {
        if !may_answer(packet, reason) || !self.icmp.0.allow(ERRORS_PER_SECOND, now) {
            return;
        }
        let error = error_about(packet, reason);
        let virtio = VirtioHeader::default().write();
        let header = if self.tun.has_virtio() { &virtio[..] } else { &[] };
        let message = [header, &error].concat();
        if let Err(errno) = self.tun.write(FIRST_LANE, &[IoSlice::new(&message)], None) {
            self.tun_write_failed(errno);
        }
    }
}

/// Whether a packet is a whole one that an error may be sent about.
fn may_answer(packet: &[u8], reason: Reason) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.len() >= IPV4_HEADER_LEN && may_answer_v4(packet),
        Some(6) => packet.len() >= IPV6_HEADER_LEN && may_answer_v6(packet, reason),
        _ => false,
    }
}

/// The error about a packet that may be answered, from its destination.
fn error_about(packet: &[u8], reason: Reason) -> Vec<u8> {
    if packet[0] >> 4 == 4 { error_v4(packet, reason) } else { error_v6(packet, reason) }
}

/// RFC 1122, section 3.2.2: no error about an error, about a fragment other than the first, to or
/// about anything but a single host.
fn may_answer_v4(packet: &[u8]) -> bool {
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let is_host = |address: Ipv4Addr| {
        !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
    };
    let is_later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    let is_error = packet[9] == PROTOCOL_ICMP
        // Unreachable, quench, redirect, time exceeded, parameter problem.
        && packet.get(header_len).is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12));
    let source = address(12);
    is_host(source)
        && !source.is_loopback()
        && is_host(address(16))
        && !is_later_fragment
        && !is_error
}

/// RFC 4443, section 2.4 (e). That a packet is too big is told of multicast packets, too.
fn may_answer_v6(packet: &[u8], reason: Reason) -> bool {
    let is_multicast = |at: usize| packet[at] == 0xff;
    let source_is_none = packet[8..24].iter().all(|byte| *byte == 0);
    if source_is_none || is_multicast(8) || (is_multicast(24) && reason == Reason::Unreachable) {
        return false;
    }
    let (mut kind, mut at) = (packet[6], IPV6_HEADER_LEN);
    loop {
        let Some(header) = packet.get(at..at + 8) else { return kind != PROTOCOL_ICMPV6 };
        let length = match kind {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => 8 + usize::from(header[1]) * 8,
            44 if u16::from_be_bytes([header[2], header[3]]) >> 3 != 0 => return false,
            44 => 8,
            // Errors are the types below 128; 137 is a redirect.
            PROTOCOL_ICMPV6 => return header[0] >= 128 && header[0] != 137,
            _ => return true,
        };
        (kind, at) = (header[0], at + length);
    }
}

fn error_v4(packet: &[u8], reason: Reason) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(MAX_LEN_V4 - IPV4_HEADER_LEN - ICMP_HEADER_LEN)];
    let length = IPV4_HEADER_LEN + ICMP_HEADER_LEN + quoted.len();
    let mut error = vec![0; length];
    error[0] = 0x45;
    // Internetwork control, as the kernel's own errors.
    error[1] = 0xc0;
    error[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    error[8] = HOPS;
    error[9] = PROTOCOL_ICMP;
    error[12..16].copy_from_slice(&packet[16..20]);
    error[16..20].copy_from_slice(&packet[12..16]);
    let checksum = Sum::of(&error[..IPV4_HEADER_LEN]).checksum();
    error[10..12].copy_from_slice(&checksum);
    let icmp = &mut error[IPV4_HEADER_LEN..];
    // Destination unreachable: host unreachable, or fragmentation needed (RFC 1191, section 4).
    icmp[0] = 3;
    match reason {
        Reason::Unreachable => icmp[1] = 1,
        Reason::TooBig(mtu) => {
            icmp[1] = 4;
            icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
        }
    }
    icmp[ICMP_HEADER_LEN..].copy_from_slice(quoted);
    let checksum = Sum::of(icmp).checksum();
    icmp[2..4].copy_from_slice(&checksum);
    error
}

fn error_v6(packet: &[u8], reason: Reason) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(MAX_LEN_V6 - IPV6_HEADER_LEN - ICMP_HEADER_LEN)];
    let payload = ICMP_HEADER_LEN + quoted.len();
    let mut error = vec![0; IPV6_HEADER_LEN + payload];
    error[0] = 0x60;
    error[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
    error[6] = PROTOCOL_ICMPV6;
    error[7] = HOPS;
    let is_multicast = packet[24] == 0xff;
    // A group can be no source: the sender's own address stands for it.
    let from = if is_multicast { &packet[8..24] } else { &packet[24..40] };
    error[8..24].copy_from_slice(from);
    error[24..40].copy_from_slice(&packet[8..24]);
    let icmp = &mut error[IPV6_HEADER_LEN..];
    match reason {
        // Destination unreachable: address unreachable (RFC 4443, section 3.1).
        Reason::Unreachable => (icmp[0], icmp[1]) = (1, 3),
        // Packet too big (section 3.2).
        Reason::TooBig(mtu) => {
            icmp[0] = 2;
            icmp[4..8].copy_from_slice(&u32::from(mtu).to_be_bytes());
        }
    }
    icmp[ICMP_HEADER_LEN..].copy_from_slice(quoted);
    let sum = Sum::of_pseudo_header(&error[8..40], PROTOCOL_ICMPV6, payload)
        + Sum::of(&error[IPV6_HEADER_LEN..]);
    error[IPV6_HEADER_LEN + 2..][..2].copy_from_slice(&sum.checksum());
    error
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV4_HEADER_LEN];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV6_HEADER_LEN];
        packet[0] = 0x60;
        packet[6] = next;
        (packet[8], packet[23], packet[24], packet[39]) = (0xfd, 1, 0xfd, 2);
        packet.extend(payload);
        packet
    }

    fn is_answered(packet: &[u8]) -> bool {
        may_answer(packet, Reason::Unreachable)
    }

    /// RFC 1122, section 3.2.2.
    #[test]
    fn what_must_not_be_answered_over_ipv4_is_not() {
        let packet = v4(17, &[0; 8]);
        assert!(is_answered(&packet));
        for kind in [3, 4, 5, 11, 12] {
            assert!(!is_answered(&v4(PROTOCOL_ICMP, &[kind; 8])), "{kind}");
        }
        assert!(is_answered(&v4(PROTOCOL_ICMP, &[8; 8])), "an echo request");
        let changed = |at: usize, bytes: &[u8]| {
            let mut packet = packet.clone();
            packet[at..at + bytes.len()].copy_from_slice(bytes);
            packet
        };
        assert!(is_answered(&changed(6, &[0x20, 0])), "the first fragment");
        assert!(!is_answered(&changed(6, &[0x20, 1])), "a later one");
        for group in [[224, 0, 0, 1], [255; 4], [0; 4]] {
            assert!(!is_answered(&changed(16, &group)) && !is_answered(&changed(12, &group)));
        }
        assert!(!is_answered(&changed(12, &[127, 0, 0, 1])));
    }

    /// RFC 4443, section 2.4 (e).
    #[test]
    fn what_must_not_be_answered_over_ipv6_is_not() {
        let packet = v6(17, &[0; 8]);
        assert!(is_answered(&packet));
        assert!(!is_answered(&v6(58, &[1; 8])) && !is_answered(&v6(58, &[137; 8])));
        assert!(is_answered(&v6(58, &[128; 8])), "an echo request");
        assert!(!is_answered(&v6(0, &[58, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])));
        assert!(is_answered(&v6(44, &[17, 0, 0, 1, 0, 0, 0, 0])), "the first fragment");
        assert!(!is_answered(&v6(44, &[17, 0, 0, 9, 0, 0, 0, 0])), "a later one");
        let mut group = packet.clone();
        group[24] = 0xff;
        assert!(!is_answered(&group));
        assert!(may_answer(&group, Reason::TooBig(1280)));
        let mut nobody = packet;
        nobody[8..24].fill(0);
        assert!(!is_answered(&nobody));
    }

    proptest! {
        #[test]
        fn any_packet_gives_a_sound_error_or_none(
            mut packet in proptest::collection::vec(any::<u8>(), 0..3000),
            is_v4 in any::<bool>(),
            mtu in proptest::option::of(any::<u16>()),
        ) {
            if let Some(first) = packet.first_mut() {
                *first = if is_v4 { 0x45 } else { 0x60 };
            }
            let reason = mtu.map_or(Reason::Unreachable, Reason::TooBig);
            if may_answer(&packet, reason) {
                let error = error_about(&packet, reason);
                let (header, limit) =
                    if is_v4 { (20, MAX_LEN_V4) } else { (40, MAX_LEN_V6) };
                prop_assert!(error.len() <= limit);
                prop_assert!(packet.starts_with(&error[header + ICMP_HEADER_LEN..]));
                if is_v4 {
                    prop_assert!(Sum::of(&error[..header]).is_valid());
                    prop_assert!(Sum::of(&error[header..]).is_valid());
                } else {
                    let length = error.len() - header;
                    let pseudo = Sum::of_pseudo_header(&error[8..40], PROTOCOL_ICMPV6, length);
                    prop_assert!((pseudo + Sum::of(&error[header..])).is_valid());
                }
            }
        }
    }
}
