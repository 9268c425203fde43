//! Addresses as inet_ntop(3) writes them, on which scripts rely, and fast: there may be hundreds of
//! thousands.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the longest text: `INET6_ADDRSTRLEN` of `netinet/in.h`, less the final zero.
const LONGEST: usize = 45;

/// The text of an address, in a buffer of its own.
///
/// It differs from the standard library's in the IPv4-compatible addresses: `::1.2.3.4` for
/// `::102:304`.
#[derive(Clone, Copy)]
pub struct AddressText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl AddressText {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ASCII is written")
    }

    /// The bytes of the text, which are ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn ipv4(&mut self, address: Ipv4Addr) {
        for (index, octet) in address.octets().into_iter().enumerate() {
            if index > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn ipv6(&mut self, address: Ipv6Addr) {
        let segments = address.segments();
        match segments {
            [0, 0, 0, 0, 0, 0, 1..=u16::MAX, _] => {
                self.push(b':');
                self.push(b':');
                return self.ipv4(Ipv4Addr::from_bits(address.to_bits() as u32));
            }
            [0, 0, 0, 0, 0, 0xffff, ..] => {
                b"::ffff:".iter().for_each(|byte| self.push(*byte));
                return self.ipv4(Ipv4Addr::from_bits(address.to_bits() as u32));
            }
            _ => {}
        }
        let (zeros, count) = longest_zeros(&segments);
        let mut index = 0;
        while index < segments.len() {
            if count > 1 && index == zeros {
                self.push(b':');
                self.push(b':');
                index += count;
                continue;
            }
            if index > 0 && !(count > 1 && index == zeros + count) {
                self.push(b':');
            }
            self.hexadecimal(segments[index]);
            index += 1;
        }
    }

    fn hexadecimal(&mut self, segment: u16) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let skipped = (segment | 1).leading_zeros() / 4;
        for shift in (0..4 - skipped).rev() {
            self.push(DIGITS[usize::from(segment >> (4 * shift) & 15)]);
        }
    }
}

impl From<IpAddr> for AddressText {
    fn from(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        match address {
            IpAddr::V4(v4) => text.ipv4(v4),
            IpAddr::V6(v6) => text.ipv6(v6),
        }
        text
    }
}

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the first of the longest runs of zeros begins, and how long it is.
fn longest_zeros(segments: &[u16; 8]) -> (usize, usize) {
    let mut longest = (0, 0);
    let mut index = 0;
    while index < segments.len() {
        let count = segments[index..].iter().take_while(|segment| **segment == 0).count();
        if count > longest.1 {
            longest = (index, count);
        }
        index += count.max(1);
    }
    longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(address: IpAddr) -> String {
        AddressText::from(address).to_string()
    }

    /// As recorded from the original.
    #[test]
    fn ipv6_is_written_as_the_c_library_writes_it() {
        for (text, expected) in [
            ("::", "::"),
            ("::1", "::1"),
            ("::ffff", "::ffff"),
            ("::1:0", "::0.1.0.0"),
            ("::102:304", "::1.2.3.4"),
            ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("::ffff:0:1.2.3.4", "::ffff:0:102:304"),
            ("::1:0:0", "::1:0:0"),
            ("1:0:2:0:0:3:0:0", "1:0:2::3:0:0"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
            ("fd00::", "fd00::"),
        ] {
            assert_eq!(written(text.parse().unwrap()), expected);
        }
    }

    proptest! {
        #[test]
        fn other_addresses_are_written_as_the_standard_library_writes_them(
            v4: Ipv4Addr,
            segments in proptest::array::uniform8(prop_oneof![Just(0_u16), any::<u16>(), 0..20_u16]),
        ) {
            prop_assert_eq!(written(v4.into()), v4.to_string());
            let v6 = Ipv6Addr::from(segments);
            if v6.to_bits() >> 32 != 0 {
                prop_assert_eq!(written(v6.into()), v6.to_string());
            }
        }
    }
}
