//! An address with a prefix length.

use std::fmt;
use std::net::IpAddr;

use crate::Family;

/// An address and the number of its leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address; bits behind the prefix are kept.
    pub address: IpAddr,
    /// 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub len: u8,
}

impl Prefix {
    /// Pairs an address with a prefix length in bits.
    pub fn new(address: IpAddr, len: u8) -> Self {
        Self { address, len }
    }

    /// The address family.
    pub fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    /// Whether every address of `other` lies in this prefix.
    pub fn contains(&self, other: &Self) -> bool {
        let leading = |a: u128, b: u128, width: u32| {
            (a ^ b).leading_zeros() >= 128 - width + u32::from(self.len)
        };
        self.len <= other.len
            && match (self.address, other.address) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    leading(a.to_bits().into(), b.to_bits().into(), 32)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => leading(a.to_bits(), b.to_bits(), 128),
                _ => false,
            }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, len) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), len.parse().unwrap())
    }

    #[test]
    fn a_prefix_contains_what_lies_in_it_and_nothing_else() {
        for (outer, inner, expected) in [
            ("10.0.0.0/8", "10.1.2.0/24", true),
            ("10.1.2.3/8", "10.9.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/7", false),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("0.0.0.0/0", "255.0.0.1/32", true),
            ("0.0.0.0/0", "::/0", false),
            ("::/0", "fd00::1/128", true),
            ("fd66::/64", "fd66:0:0:1::/64", false),
            ("fd66::/48", "fd66:0:0:1::/64", true),
            ("fd66::1/128", "fd66::1/128", true),
            ("fd66::1/128", "fd66::2/128", false),
        ] {
            assert_eq!(prefix(outer).contains(&prefix(inner)), expected, "{outer} and {inner}");
        }
    }
}
