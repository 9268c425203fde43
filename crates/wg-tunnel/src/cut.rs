//! Cuts a long packet from TUN into the packets that it stands for, as the kernel would
//! (kernel: `net/ipv4/tcp_offload.c`, `udp_offload.c`, `af_inet.c`, `net/ipv6/ip6_offload.c`).

use crate::checksum::Sum;
use crate::virtio::{SegmentKind, VirtioHeader};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// A packet that does not fit the header before it, which the kernel never sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A long packet and where to cut it.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    packet: &'a [u8],
    transport: Transport,
    is_ipv4: bool,
    /// Bytes before the transport header.
    transport_at: usize,
    /// Bytes of all headers.
    header_len: usize,
    /// Bytes of payload in each piece but the last.
    size: usize,
    /// The checksum's share of what is the same in all pieces.
    addresses: Sum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

impl<'a> Cut<'a> {
    /// Looks at the headers of a packet that says to be one of segments.
    pub(crate) fn new(header: &VirtioHeader, packet: &'a [u8]) -> Result<Self, Malformed> {
        let segments = header.segments.ok_or(Malformed)?;
        let is_ipv4 = match packet.first().ok_or(Malformed)? >> 4 {
            4 => true,
            6 => false,
            _ => return Err(Malformed),
        };
        let transport = match segments.kind {
            SegmentKind::Tcp4 if is_ipv4 => Transport::Tcp,
            SegmentKind::Tcp6 if !is_ipv4 => Transport::Tcp,
            SegmentKind::Udp => Transport::Udp,
            _ => return Err(Malformed),
        };
        // The kernel's own `hdr_len` is but a hint; the start of the checksum is where the
        // transport header is, whatever IP options or extension headers there are.
        let transport_at = usize::from(header.checksum_start);
        let ip_header_len = if is_ipv4 { 20 } else { 40 };
        if !header.needs_checksum || transport_at < ip_header_len {
            return Err(Malformed);
        }
        let minimum = match transport {
            Transport::Tcp => TCP_HEADER_LEN,
            Transport::Udp => UDP_HEADER_LEN,
        };
        let rest = packet.get(transport_at..).ok_or(Malformed)?;
        if rest.len() < minimum {
            return Err(Malformed);
        }
        let transport_len = match transport {
            Transport::Tcp => usize::from(rest[12] >> 4) * 4,
            Transport::Udp => UDP_HEADER_LEN,
        };
        let size = usize::from(segments.size);
        if transport_len < minimum || rest.len() <= transport_len || size == 0 {
            return Err(Malformed);
        }
        let addresses = if is_ipv4 { &packet[12..20] } else { &packet[8..40] };
        Ok(Self {
            packet,
            transport,
            is_ipv4,
            transport_at,
            header_len: transport_at + transport_len,
            size,
            addresses: Sum::of(addresses),
        })
    }

    /// How many pieces there are, at least 1.
    pub(crate) fn count(&self) -> usize {
        (self.packet.len() - self.header_len).div_ceil(self.size)
    }

    /// Bytes of piece `index`.
    pub(crate) fn len(&self, index: usize) -> usize {
        let payload = self.packet.len() - self.header_len;
        self.header_len + (payload - index * self.size).min(self.size)
    }

    /// Writes piece `index`, a packet of its own; `piece` has its length.
    pub(crate) fn write(&self, index: usize, piece: &mut [u8]) {
        debug_assert_eq!(piece.len(), self.len(index));
        let from = self.header_len + index * self.size;
        let (header, payload) = piece.split_at_mut(self.header_len);
        payload.copy_from_slice(&self.packet[from..][..payload.len()]);
        header.copy_from_slice(&self.packet[..self.header_len]);
        self.write_ip(index, piece);
        let length = piece.len() - self.transport_at;
        let (protocol, checksum_at) = match self.transport {
            Transport::Tcp => {
                self.write_tcp(index, &mut piece[self.transport_at..]);
                (PROTOCOL_TCP, TCP_CHECKSUM)
            }
            Transport::Udp => {
                piece[self.transport_at + 4..][..2].copy_from_slice(&(length as u16).to_be_bytes());
                (PROTOCOL_UDP, UDP_CHECKSUM)
            }
        };
        let transport = &mut piece[self.transport_at..];
        transport[checksum_at..][..2].fill(0);
        let pseudo = self.addresses + Sum::of_pseudo_header(&[], protocol, length);
        let mut checksum = (pseudo + Sum::of(transport)).checksum();
        // For UDP zero means none (RFC 768).
        if self.transport == Transport::Udp && checksum == [0, 0] {
            checksum = [0xff, 0xff];
        }
        transport[checksum_at..][..2].copy_from_slice(&checksum);
    }

    fn write_ip(&self, index: usize, piece: &mut [u8]) {
        if self.is_ipv4 {
            let length = (piece.len() as u16).to_be_bytes();
            let id = u16::from_be_bytes([piece[4], piece[5]]).wrapping_add(index as u16);
            piece[2..4].copy_from_slice(&length);
            piece[4..6].copy_from_slice(&id.to_be_bytes());
            piece[10..12].fill(0);
            let header_len = (usize::from(piece[0] & 0xf) * 4).clamp(20, self.transport_at);
            let checksum = Sum::of(&piece[..header_len]).checksum();
            piece[10..12].copy_from_slice(&checksum);
        } else {
            let length = (piece.len() - 40) as u16;
            piece[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn write_tcp(&self, index: usize, tcp: &mut [u8]) {
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let sequence = sequence.wrapping_add((index * self.size) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index > 0 {
            tcp[TCP_FLAGS] &= !CWR;
        }
        if index + 1 < self.count() {
            tcp[TCP_FLAGS] &= !(FIN | PSH);
        }
    }
}

/// Finishes the checksum of one packet, if that is left to us (kernel: `skb_checksum_help`).
pub(crate) fn finish_checksum(header: &VirtioHeader, packet: &mut [u8]) -> Result<(), Malformed> {
    if !header.needs_checksum {
        return Ok(());
    }
    let covered = packet.get_mut(usize::from(header.checksum_start)..).ok_or(Malformed)?;
    let mut checksum = Sum::of(covered).checksum();
    if checksum == [0, 0] {
        checksum = [0xff, 0xff];
    }
    let at = usize::from(header.checksum_offset);
    covered.get_mut(at..at + 2).ok_or(Malformed)?.copy_from_slice(&checksum);
    Ok(())
}
