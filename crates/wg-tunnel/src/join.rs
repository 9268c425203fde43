//! Joins consecutive packets of one flow into a long one that TUN takes at once: the reverse of
//! [`crate::cut`]. No payload is copied; the long packet is a list of the pieces in place.
//!
//! Packets are joined only where cutting gives them back bit for bit, as the kernel's own receive
//! offload does it (kernel: `net/ipv4/tcp_offload.c`, `udp_offload.c`, `net/core/gro.c`). Their
//! checksums are verified, because those of a long packet are not.

use std::io::IoSlice;

use crate::checksum::Sum;
use crate::virtio::{SegmentKind, Segments, VirtioHeader};

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Where the flags are in a TCP header.
const TCP_FLAGS: usize = 13;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
/// The longest that an IPv4 packet, or what follows an IPv6 header, can say to be.
const MAX_LENGTH: usize = 65535;
/// Pieces of one long packet (kernel: `UDP_GRO_CNT_MAX`).
pub(crate) const MAX_PIECES: usize = 64;
/// How many flows back a packet looks for its own.
const LOOK_BACK: usize = 64;

/// What may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Joinable {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
}

/// Packets on their way to TUN, joined as far as they can be; made once and used again.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    items: Vec<Item>,
    pieces: Vec<Piece>,
    /// Items before this one take no more packets.
    barrier: usize,
}

/// One packet for TUN.
#[derive(Debug)]
struct Item {
    flow: u64,
    headers: Headers,
    first: usize,
    last: usize,
    count: usize,
    /// Bytes of payload of all pieces.
    payload: usize,
    open: bool,
}

/// Bytes to be written, at their place in memory; of all but the first piece of an item the
/// payload alone.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: usize,
    length: usize,
    next: usize,
}

/// What there is before the payload of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Headers {
    is_ipv4: bool,
    is_tcp: bool,
    /// Bytes of the IP header.
    ip: usize,
    /// Bytes of both headers.
    all: usize,
    /// Bytes of payload.
    payload: usize,
}

impl Joiner {
    /// Takes the packet at `memory[start..][..length]`, without padding.
    pub(crate) fn add(&mut self, memory: &[u8], start: usize, length: usize, joinable: Joinable) {
        let packet = &memory[start..][..length];
        let headers = Headers::parse(packet);
        let Some(headers) = headers else {
            // It may belong to any flow, whose packets must not overtake it.
            let none = Headers { is_ipv4: false, is_tcp: false, ip: 0, all: length, payload: 0 };
            self.push(0, none, start, length, false);
            self.barrier = self.items.len();
            return;
        };
        let flow = headers.flow(packet);
        let joins = headers.may_join(packet, joinable) && headers.is_intact(packet);
        let before = self.items[self.barrier..]
            .iter()
            .rev()
            .take(LOOK_BACK)
            .position(|item| item.flow == flow)
            .map(|back| self.items.len() - 1 - back);
        if let Some(before) = before {
            let item = &mut self.items[before];
            let first = self.pieces[item.first];
            if joins && item.open && item.takes(&memory[first.start..], &headers, packet) {
                item.open = headers.payload == item.headers.payload
                    && !headers.is_pushed(packet)
                    && item.count + 1 < MAX_PIECES;
                item.count += 1;
                item.payload += headers.payload;
                let piece = self.pieces.len();
                self.pieces[item.last].next = piece;
                item.last = piece;
                let start = start + headers.all;
                self.pieces.push(Piece { start, length: headers.payload, next: usize::MAX });
                return;
            }
        }
        let open = joins && !headers.is_pushed(packet);
        self.push(flow, headers, start, length, open);
    }

    /// Writes all packets in order and forgets them. `write` gets the parts of one packet, which
    /// begins with a virtio header if `virtio` is set; there must be room for that before each.
    pub(crate) fn write(
        &mut self,
        memory: &mut [u8],
        virtio: bool,
        mut write: impl FnMut(&[IoSlice<'_>], Option<Segments>),
    ) {
        for item in &self.items {
            let Piece { start, length, .. } = self.pieces[item.first];
            let header = if item.count > 1 {
                let last_flags = item.headers.is_tcp.then(|| {
                    // The header of the last piece stands before its payload.
                    let at = self.pieces[item.last].start - item.headers.all + item.headers.ip;
                    memory[at + TCP_FLAGS]
                });
                item.write_headers(&mut memory[start..][..item.headers.all], last_flags)
            } else {
                VirtioHeader::default()
            };
            let room = if virtio { VirtioHeader::LEN } else { 0 };
            if virtio {
                memory[start - room..start].copy_from_slice(&header.write());
            }
            let mut parts = [IoSlice::new(&[]); MAX_PIECES];
            parts[0] = IoSlice::new(&memory[start - room..start + length]);
            let mut next = self.pieces[item.first].next;
            for part in &mut parts[1..item.count] {
                let piece = self.pieces[next];
                *part = IoSlice::new(&memory[piece.start..][..piece.length]);
                next = piece.next;
            }
            write(&parts[..item.count], header.segments);
        }
        self.items.clear();
        self.pieces.clear();
        self.barrier = 0;
    }

    fn push(&mut self, flow: u64, headers: Headers, start: usize, length: usize, open: bool) {
        let piece = self.pieces.len();
        self.pieces.push(Piece { start, length, next: usize::MAX });
        let payload = headers.payload;
        self.items.push(Item { flow, headers, first: piece, last: piece, count: 1, payload, open });
    }
}

impl Item {
    /// Whether a packet continues this one, which begins with `first`.
    fn takes(&self, first: &[u8], headers: &Headers, packet: &[u8]) -> bool {
        let Headers { ip, all, .. } = self.headers;
        let same_shape =
            Headers { payload: 0, ..self.headers } == Headers { payload: 0, ..*headers };
        let ip_payload = all - ip + self.payload + headers.payload;
        let limit = if headers.is_ipv4 { MAX_LENGTH - ip } else { MAX_LENGTH };
        if !same_shape || headers.payload > self.headers.payload || ip_payload > limit {
            return false;
        }
        let same = |from: usize, to: usize| first[from..to] == packet[from..to];
        let same_ip = if headers.is_ipv4 {
            let id = u16_at(first, 4).wrapping_add(self.count as u16);
            // Version and length, class; fragments, hops, protocol; addresses.
            same(0, 2) && u16_at(packet, 4) == id && same(6, 10) && same(12, 20)
        } else {
            same(0, 4) && same(6, IPV6_HEADER_LEN)
        };
        if !headers.is_tcp {
            return same_ip && same(ip, ip + 4);
        }
        let sequence = u32_at(first, ip + 4).wrapping_add(self.payload as u32);
        same_ip
            && same(ip, ip + 4)
            && u32_at(packet, ip + 4) == sequence
            // Acknowledgement, length of the header.
            && same(ip + 8, ip + TCP_FLAGS)
            && (first[ip + TCP_FLAGS] ^ packet[ip + TCP_FLAGS]) & !PSH == 0
            // Window; urgent pointer and options.
            && same(ip + 14, ip + 16)
            && same(ip + 18, all)
    }

    /// Turns the headers of the first piece into those of the long packet.
    fn write_headers(&self, header: &mut [u8], last_flags: Option<u8>) -> VirtioHeader {
        let Headers { is_ipv4, is_tcp, ip, all, payload } = self.headers;
        let length = all - ip + self.payload;
        if is_ipv4 {
            header[2..4].copy_from_slice(&((ip + length) as u16).to_be_bytes());
            header[10..12].fill(0);
            let checksum = Sum::of(&header[..ip]).checksum();
            header[10..12].copy_from_slice(&checksum);
        } else {
            header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        }
        let protocol = if is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
        let addresses = if is_ipv4 { &header[12..20] } else { &header[8..40] };
        let pseudo = Sum::of_pseudo_header(addresses, protocol, length).folded();
        let transport = &mut header[ip..];
        let checksum_offset = if is_tcp { 16 } else { 6 };
        transport[checksum_offset..][..2].copy_from_slice(&pseudo);
        match last_flags {
            Some(flags) => transport[TCP_FLAGS] |= flags & PSH,
            None => transport[4..6].copy_from_slice(&(length as u16).to_be_bytes()),
        }
        let kind = match (is_tcp, is_ipv4) {
            (true, true) => SegmentKind::Tcp4,
            (true, false) => SegmentKind::Tcp6,
            (false, _) => SegmentKind::Udp,
        };
        VirtioHeader {
            needs_checksum: true,
            segments: Some(Segments { kind, header_len: all as u16, size: payload as u16 }),
            checksum_start: ip as u16,
            checksum_offset: checksum_offset as u16,
        }
    }
}

impl Headers {
    /// The headers of a whole TCP or UDP packet without IP options, extension headers or
    /// fragments; `None` for any other.
    fn parse(packet: &[u8]) -> Option<Self> {
        let (is_ipv4, ip, protocol) = match packet.first()? {
            0x45 if packet.len() >= IPV4_HEADER_LEN => {
                let is_fragment = u16_at(packet, 6) & 0x3fff != 0;
                if is_fragment || usize::from(u16_at(packet, 2)) != packet.len() {
                    return None;
                }
                (true, IPV4_HEADER_LEN, packet[9])
            }
            0x60..=0x6f if packet.len() >= IPV6_HEADER_LEN => {
                if usize::from(u16_at(packet, 4)) + IPV6_HEADER_LEN != packet.len() {
                    return None;
                }
                (false, IPV6_HEADER_LEN, packet[6])
            }
            _ => return None,
        };
        let transport = &packet[ip..];
        let (is_tcp, length) = match protocol {
            PROTOCOL_TCP if transport.len() >= TCP_HEADER_LEN => {
                (true, usize::from(transport[12] >> 4) * 4)
            }
            PROTOCOL_UDP if transport.len() >= UDP_HEADER_LEN => (false, UDP_HEADER_LEN),
            _ => return None,
        };
        let minimum = if is_tcp { TCP_HEADER_LEN } else { UDP_HEADER_LEN };
        let payload = transport.len().checked_sub(length)?;
        (length >= minimum).then_some(Self { is_ipv4, is_tcp, ip, all: ip + length, payload })
    }

    /// Names the flow: protocol, addresses and ports. Two flows with one name are joined less
    /// well, and nothing worse.
    fn flow(&self, packet: &[u8]) -> u64 {
        let addresses = if self.is_ipv4 { &packet[12..20] } else { &packet[8..40] };
        let ports = u64::from(u32_at(packet, self.ip)) << 1 | u64::from(self.is_tcp);
        let (words, _) = addresses.as_chunks::<8>();
        words.iter().fold(ports, |hash, word| {
            (hash.rotate_left(29) ^ u64::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }

    /// Whether nothing about the packet itself speaks against joining it.
    fn may_join(&self, packet: &[u8], joinable: Joinable) -> bool {
        if self.payload == 0 {
            return false;
        }
        if self.is_tcp {
            let flags = packet[self.ip + TCP_FLAGS];
            return joinable.tcp && flags & ACK != 0 && flags & !(ACK | PSH | ECE) == 0;
        }
        let transport = &packet[self.ip..];
        joinable.udp && usize::from(u16_at(transport, 4)) == transport.len()
    }

    /// Whether the checksums are those that cutting would compute.
    fn is_intact(&self, packet: &[u8]) -> bool {
        let (ip, transport) = packet.split_at(self.ip);
        // Of the two zeroes of one's complement, a sender writes the one that it computes, and a
        // UDP sender the other, because zero means that there is no checksum.
        if self.is_ipv4 && (!Sum::of(ip).is_valid() || ip[10..12] == [0xff, 0xff]) {
            return false;
        }
        let never = if self.is_tcp { [0xff, 0xff] } else { [0, 0] };
        let at = if self.is_tcp { 16 } else { 6 };
        if transport[at..at + 2] == never {
            return false;
        }
        let addresses = if self.is_ipv4 { &ip[12..20] } else { &ip[8..40] };
        let protocol = if self.is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
        let pseudo = Sum::of_pseudo_header(addresses, protocol, transport.len());
        (pseudo + Sum::of(transport)).is_valid()
    }

    /// Whether the sender wants the packet to be delivered at once (RFC 9293, section 3.9.1).
    fn is_pushed(&self, packet: &[u8]) -> bool {
        self.is_tcp && packet[self.ip + TCP_FLAGS] & PSH != 0
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
