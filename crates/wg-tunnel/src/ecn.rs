//! Congestion marks between the inner and the outer IP header (RFC 6040; kernel:
//! `ip_tunnel_ecn_encap`, `wg_packet_consume_data_done`). Nothing else of the inner traffic class
//! is seen outside.

/// The two bits.
const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// What the outer header says for a packet: its own marks, and no traffic class.
pub(crate) fn outer(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second & MASK,
        [first, second, ..] if first >> 4 == 6 => (second >> 4) & MASK,
        _ => NOT_ECT,
    }
}

/// Gives the inner packet, which has a whole IP header, the marks that its outer header got on
/// the way. One that knows no congestion marks is left as it is: RFC 6040 would have it dropped
/// where a router marked it all the same, the kernel's WireGuard delivers it.
pub(crate) fn combine(packet: &mut [u8], outer: u8) {
    let inner = self::outer(packet);
    let combined = match (inner, outer & MASK) {
        (NOT_ECT, _) => return,
        (_, CE) => CE,
        // Of the two, the stronger signal.
        (inner, ECT_1) if inner != CE => ECT_1,
        _ => return,
    };
    if combined == inner {
        return;
    }
    if packet[0] >> 4 == 6 {
        packet[1] = packet[1] & !(MASK << 4) | combined << 4;
        return;
    }
    let word = |packet: &[u8]| u16::from_be_bytes([packet[0], packet[1]]);
    let before = word(packet);
    packet[1] = packet[1] & !MASK | combined;
    // RFC 1624, equation 3.
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(word(packet));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    fn v4(class: u8) -> Vec<u8> {
        let mut packet =
            vec![0x45, class, 0, 20, 1, 2, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let checksum = Sum::of(&packet).checksum();
        packet[10..12].copy_from_slice(&checksum);
        packet
    }

    fn v6(class: u8) -> Vec<u8> {
        let mut packet = vec![0x6a; 40];
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | 0x0a;
        packet
    }

    fn class(packet: &[u8]) -> u8 {
        if packet[0] >> 4 == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 }
    }

    /// RFC 6040, figure 4, but for the packet that it drops.
    #[test]
    fn marks_are_combined_and_the_checksum_stays_right() {
        let table = [
            [0b00, 0b00, 0b00, 0b00],
            [0b01, 0b01, 0b01, 0b11],
            [0b10, 0b01, 0b10, 0b11],
            [0b11, 0b11, 0b11, 0b11],
        ];
        for make in [v4, v6] {
            for (inner, row) in (0..).zip(table) {
                for (outer, expected) in (0..).zip(row) {
                    for rest in [0, 0xb8, 0xfc] {
                        let mut packet = make(rest | inner);
                        combine(&mut packet, 0x88 | outer);
                        assert_eq!(packet, make(rest | expected), "{inner} in {outer}");
                        assert_eq!(class(&packet), rest | expected);
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_marks_go_outside() {
        for mark in 0..4 {
            assert_eq!(outer(&v4(0xb8 | mark)), mark);
            assert_eq!(outer(&v6(0xb8 | mark)), mark);
        }
        assert_eq!(outer(&[]), 0);
        assert_eq!(outer(&[0x45]), 0);
    }
}
