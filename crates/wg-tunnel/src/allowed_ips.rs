//! Which peer an inner address belongs to: the longest matching prefix.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prefix_trie::{Prefix, PrefixMap};

use crate::keyed_hash::KeyedHash;

/// A range of inner addresses, with the bits behind the prefix clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedIp {
    address: IpAddr,
    cidr: u8,
}

impl AllowedIp {
    /// Pairs an address with a prefix length in bits and clears the bits behind it; `None` when
    /// the length is above 32 for IPv4 or 128 for IPv6.
    pub fn new(address: IpAddr, cidr: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if cidr <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(cidr)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if cidr <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(cidr)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, cidr })
    }

    /// The lowest address of the range.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    pub fn cidr(&self) -> u8 {
        self.cidr
    }
}

/// Prefixes of both families and what they belong to.
#[derive(Clone)]
pub struct AllowedIps<T> {
    v4: Family<u32, T, 32>,
    v6: Family<u128, T, 128>,
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { v4: Family::default(), v6: Family::default() }
    }
}

impl<T> AllowedIps<T> {
    /// The owner of the longest prefix that holds `address`.
    pub fn find(&self, address: IpAddr) -> Option<&T> {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }
    }

    /// The number of prefixes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner of exactly this prefix.
    pub fn get(&self, ip: &AllowedIp) -> Option<&T> {
        match ip.address {
            IpAddr::V4(v4) => self.v4.get(v4.to_bits(), ip.cidr),
            IpAddr::V6(v6) => self.v6.get(v6.to_bits(), ip.cidr),
        }
    }

    /// Gives a prefix to `owner`; returns who had it.
    pub fn insert(&mut self, ip: AllowedIp, owner: T) -> Option<T> {
        match ip.address {
            IpAddr::V4(v4) => self.v4.insert(v4.to_bits(), ip.cidr, owner),
            IpAddr::V6(v6) => self.v6.insert(v6.to_bits(), ip.cidr, owner),
        }
    }

    /// Takes a prefix from whoever has it.
    pub fn remove(&mut self, ip: &AllowedIp) -> Option<T> {
        match ip.address {
            IpAddr::V4(v4) => self.v4.remove(v4.to_bits(), ip.cidr),
            IpAddr::V6(v6) => self.v6.remove(v6.to_bits(), ip.cidr),
        }
    }
}

/// Prefixes of one family, whose addresses have `BITS` bits. Most of many are whole addresses:
/// where one of these matches, nothing is longer, and a hash finds it at once.
#[derive(Clone)]
struct Family<A, T, const BITS: u8> {
    addresses: HashMap<A, T, KeyedHash>,
    ranges: PrefixMap<(A, u8), T>,
}

impl<A, T, const BITS: u8> Default for Family<A, T, BITS> {
    fn default() -> Self {
        Self { addresses: HashMap::default(), ranges: PrefixMap::default() }
    }
}

impl<A: Copy + Eq + Hash, T, const BITS: u8> Family<A, T, BITS>
where
    (A, u8): Prefix,
{
    fn find(&self, address: A) -> Option<&T> {
        let whole = self.addresses.get(&address);
        whole.or_else(|| self.ranges.get_lpm(&(address, BITS)).map(|(_, owner)| owner))
    }

    fn len(&self) -> usize {
        self.addresses.len() + self.ranges.len()
    }

    fn get(&self, address: A, cidr: u8) -> Option<&T> {
        if cidr == BITS { self.addresses.get(&address) } else { self.ranges.get(&(address, cidr)) }
    }

    fn insert(&mut self, address: A, cidr: u8, owner: T) -> Option<T> {
        if cidr == BITS {
            self.addresses.insert(address, owner)
        } else {
            self.ranges.insert((address, cidr), owner)
        }
    }

    fn remove(&mut self, address: A, cidr: u8) -> Option<T> {
        if cidr != BITS {
            return self.ranges.remove(&(address, cidr));
        }
        let owner = self.addresses.remove(&address);
        // Of a table that was large once, only what is needed is kept.
        if self.addresses.len() < self.addresses.capacity() / 8 {
            self.addresses.shrink_to(self.addresses.len() * 2);
        }
        owner
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few distinct bits, so that prefixes overlap.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0..4u32, 0..4u32).prop_map(|(a, b)| IpAddr::V4(Ipv4Addr::from_bits(a << 30 | b))),
            (0..4u128, 0..4u128).prop_map(|(a, b)| IpAddr::V6(Ipv6Addr::from_bits(a << 126 | b))),
        ]
    }

    /// As many whole addresses, and almost whole ones, as others.
    fn allowed_ip() -> impl Strategy<Value = AllowedIp> {
        let missing = prop_oneof![2 => Just(0), 1 => 1..4u8, 3 => 0..=128u8];
        (address(), missing).prop_map(|(address, missing)| {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            AllowedIp::new(address, bits - missing % (bits + 1)).unwrap()
        })
    }

    fn covers(ip: &AllowedIp, address: IpAddr) -> bool {
        ip.address.is_ipv4() == address.is_ipv4()
            && AllowedIp::new(address, ip.cidr).unwrap() == *ip
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins_as_in_a_list(
            changes in proptest::collection::vec((allowed_ip(), proptest::option::of(0..5u8)), 0..60),
            probes in proptest::collection::vec(address(), 20),
        ) {
            let mut trie = AllowedIps::default();
            let mut list = BTreeMap::new();
            for (ip, owner) in changes {
                match owner {
                    Some(owner) => prop_assert_eq!(trie.insert(ip, owner), list.insert(ip, owner)),
                    None => prop_assert_eq!(trie.remove(&ip), list.remove(&ip)),
                }
                prop_assert_eq!(trie.get(&ip), list.get(&ip));
            }
            for address in probes {
                let expected = list
                    .iter()
                    .filter(|(ip, _)| covers(ip, address))
                    .max_by_key(|(ip, _)| ip.cidr)
                    .map(|(_, owner)| owner);
                prop_assert_eq!(trie.find(address), expected);
            }
        }
    }

    #[test]
    fn a_table_that_was_large_lets_its_memory_go() {
        let address = |number| AllowedIp::new(Ipv4Addr::from_bits(number).into(), 32).unwrap();
        let mut ips = AllowedIps::default();
        (0..10_000).for_each(|number| assert_eq!(ips.insert(address(number), number), None));
        (10..10_000).for_each(|number| assert_eq!(ips.remove(&address(number)), Some(number)));
        assert!(ips.v4.addresses.capacity() < 100, "{}", ips.v4.addresses.capacity());
        (0..10).for_each(|number| assert_eq!(ips.get(&address(number)), Some(&number)));
    }

    #[test]
    fn bits_behind_the_prefix_are_cleared() {
        let ip = AllowedIp::new("10.1.2.3".parse().unwrap(), 8).unwrap();
        assert_eq!(ip.address(), "10.0.0.0".parse::<IpAddr>().unwrap());
        let all = AllowedIp::new("ffff::1".parse().unwrap(), 0).unwrap();
        assert_eq!(all.address(), "::".parse::<IpAddr>().unwrap());
        assert!(AllowedIp::new("10.1.2.3".parse().unwrap(), 33).is_none());
    }
}
