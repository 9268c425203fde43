//! The addresses and the length of an inner IP packet (RFC 791, section 3.1; RFC 8200, section 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// Where a packet from TUN wants to go; `None` when it has no whole IP header.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER_LEN => Some(ipv4(packet, 16)),
        6 if packet.len() >= IPV6_HEADER_LEN => Some(ipv6(packet, 24)),
        _ => None,
    }
}

/// The source of a decrypted packet and its length without padding; `None` when it has no whole
/// IP header or says to be longer than it is (kernel: `wg_packet_consume_data_done`).
pub(crate) fn source_and_length(packet: &[u8]) -> Option<(IpAddr, usize)> {
    let (source, length) = match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER_LEN => {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            if length < IPV4_HEADER_LEN {
                return None;
            }
            (ipv4(packet, 12), length)
        }
        6 if packet.len() >= IPV6_HEADER_LEN => {
            let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            (ipv6(packet, 8), payload + IPV6_HEADER_LEN)
        }
        _ => return None,
    };
    (length <= packet.len()).then_some((source, length))
}

fn ipv4(packet: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&packet[at..at + 4]);
    IpAddr::V4(Ipv4Addr::from(octets))
}

fn ipv6(packet: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    IpAddr::V6(Ipv6Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ipv4_packet(length: u16, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet
    }

    fn ipv6_packet(payload: u16, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet[8..24].copy_from_slice(&Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        packet[24..40].copy_from_slice(&Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
        packet
    }

    #[test]
    fn addresses_and_length_of_both_versions() {
        let v4 = ipv4_packet(28, 32);
        assert_eq!(source_and_length(&v4), Some(("10.0.0.1".parse().unwrap(), 28)));
        assert_eq!(destination(&v4), Some("10.0.0.2".parse().unwrap()));
        let v6 = ipv6_packet(8, 64);
        assert_eq!(source_and_length(&v6), Some(("fd00::1".parse().unwrap(), 48)));
        assert_eq!(destination(&v6), Some("fd00::2".parse().unwrap()));
    }

    #[test]
    fn a_packet_that_is_shorter_than_it_says_is_refused() {
        assert_eq!(source_and_length(&ipv4_packet(33, 32)), None);
        assert_eq!(source_and_length(&ipv4_packet(19, 32)), None);
        assert_eq!(source_and_length(&ipv6_packet(25, 64)), None);
        assert_eq!(source_and_length(&ipv4_packet(20, 20)[..19]), None);
        assert_eq!(source_and_length(&ipv6_packet(0, 40)[..39]), None);
        assert_eq!(destination(&ipv4_packet(20, 20)[..19]), None);
        assert_eq!(destination(&[0x50; 64]), None);
        assert_eq!(destination(&[]), None);
    }

    proptest! {
        #[test]
        fn the_length_never_passes_the_packet(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some((_, length)) = source_and_length(&packet) {
                prop_assert!(length <= packet.len() && length >= IPV4_HEADER_LEN);
            }
        }
    }
}
