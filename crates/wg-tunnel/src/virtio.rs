//! The header that TUN puts before a packet with `IFF_VNET_HDR`: `struct virtio_net_hdr`
//! (kernel: `include/uapi/linux/virtio_net.h`), in the machine's byte order.

/// Says how a packet is to be cut and where its checksum is still to be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct VirtioHeader {
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum covers what follows `checksum_start`, and its
    /// place holds the sum of the pseudo header.
    pub(crate) needs_checksum: bool,
    /// What to cut it into; `None` when it is one packet.
    pub(crate) segments: Option<Segments>,
    /// Bytes before what the checksum covers: the IP header.
    pub(crate) checksum_start: u16,
    /// Bytes from there to the checksum.
    pub(crate) checksum_offset: u16,
}

/// How one long packet stands for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segments {
    pub(crate) kind: SegmentKind,
    /// Bytes of all headers.
    pub(crate) header_len: u16,
    /// Bytes of payload in each but the last.
    pub(crate) size: u16,
}

/// What a long packet consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either.
    Udp,
    /// One that was not asked for.
    Other(u8),
}

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

impl VirtioHeader {
    /// Bytes of the header.
    pub(crate) const LEN: usize = 10;

    pub(crate) fn read(bytes: &[u8; Self::LEN]) -> Self {
        let u16_at = |at| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let kind = match bytes[1] {
            GSO_NONE => None,
            GSO_TCPV4 => Some(SegmentKind::Tcp4),
            GSO_TCPV6 => Some(SegmentKind::Tcp6),
            GSO_UDP_L4 => Some(SegmentKind::Udp),
            other => Some(SegmentKind::Other(other)),
        };
        Self {
            needs_checksum: bytes[0] & NEEDS_CSUM != 0,
            segments: kind.map(|kind| Segments { kind, header_len: u16_at(2), size: u16_at(4) }),
            checksum_start: u16_at(6),
            checksum_offset: u16_at(8),
        }
    }

    pub(crate) fn write(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = if self.needs_checksum { NEEDS_CSUM } else { 0 };
        if let Some(segments) = &self.segments {
            bytes[1] = match segments.kind {
                SegmentKind::Tcp4 => GSO_TCPV4,
                SegmentKind::Tcp6 => GSO_TCPV6,
                SegmentKind::Udp => GSO_UDP_L4,
                SegmentKind::Other(kind) => kind,
            };
            bytes[2..4].copy_from_slice(&segments.header_len.to_ne_bytes());
            bytes[4..6].copy_from_slice(&segments.size.to_ne_bytes());
        }
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for kind in [SegmentKind::Tcp4, SegmentKind::Tcp6, SegmentKind::Udp, SegmentKind::Other(9)]
        {
            let header = VirtioHeader {
                needs_checksum: true,
                segments: Some(Segments { kind, header_len: 52, size: 1368 }),
                checksum_start: 20,
                checksum_offset: 16,
            };
            assert_eq!(VirtioHeader::read(&header.write()), header);
        }
        assert_eq!(VirtioHeader::default().write(), [0; VirtioHeader::LEN]);
    }
}
