//! An allowed IP: an address and the number of its leading bits that must match.

use std::fmt;
use std::net::IpAddr;

use crate::AddressText;

/// A range of inner addresses that belong to a peer.
///
/// Bits behind the prefix are kept as given; [`AllowedIp::masked`] clears them, as the kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedIp {
    address: IpAddr,
    cidr: u8,
}

/// The prefix length is above 32 for IPv4 or 128 for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prefix length {cidr} is above {}", max_cidr(address))]
pub struct CidrError {
    address: IpAddr,
    cidr: u8,
}

impl AllowedIp {
    /// Pairs an address with a prefix length in bits.
    ///
    /// # Errors
    /// When the prefix length is above 32 for IPv4 or 128 for IPv6.
    pub fn new(address: IpAddr, cidr: u8) -> Result<Self, CidrError> {
        if cidr > max_cidr(&address) {
            Err(CidrError { address, cidr })
        } else {
            Ok(Self { address, cidr })
        }
    }

    /// The address as given.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits, 0 to 32 or 0 to 128.
    pub fn cidr(&self) -> u8 {
        self.cidr
    }

    /// The same prefix with the bits behind it cleared.
    pub fn masked(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.cidr)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.cidr)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, cidr: self.cidr }
    }

    /// Whether this is `0.0.0.0/0` or `::/0` (with any address bits).
    pub fn is_default_route(&self) -> bool {
        self.cidr == 0
    }
}

impl fmt::Display for AllowedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AddressText::from(self.address).as_str())?;
        write!(f, "/{}", self.cidr)
    }
}

/// One change to a peer's allowed IPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllowedIpChange {
    /// The prefix concerned.
    pub ip: AllowedIp,
    /// Take it from the peer instead of giving it (`-10.0.0.0/8`).
    pub remove: bool,
}

impl From<AllowedIp> for AllowedIpChange {
    fn from(ip: AllowedIp) -> Self {
        Self { ip, remove: false }
    }
}

fn max_cidr(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(address: &str, cidr: u8) -> String {
        AllowedIp::new(address.parse().unwrap(), cidr).unwrap().masked().to_string()
    }

    #[test]
    fn masking_clears_the_host_part() {
        assert_eq!(masked("10.192.124.1", 24), "10.192.124.0/24");
        assert_eq!(masked("10.192.124.1", 32), "10.192.124.1/32");
        assert_eq!(masked("255.1.2.3", 0), "0.0.0.0/0");
        assert_eq!(masked("fd00:1:2:3::4", 48), "fd00:1:2::/48");
        assert_eq!(masked("ffff::1", 0), "::/0");
        assert_eq!(masked("ffff::1", 128), "ffff::1/128");
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        assert!(AllowedIp::new("10.0.0.0".parse().unwrap(), 33).is_err());
        assert!(AllowedIp::new("::".parse().unwrap(), 129).is_err());
    }
}
