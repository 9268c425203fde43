//! Addresses as the C library writes them, on which scripts rely.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wg_config::AllowedIp;
use wg_control::scope_name;

/// An address as inet_ntop(3) writes it.
pub(crate) struct Address(pub(crate) IpAddr);

/// An endpoint: `1.2.3.4:5`, `[::1]:5` or `[fe80::1%eth0]:5`.
pub(crate) struct Endpoint(pub(crate) SocketAddr);

/// A prefix: `10.0.0.0/8`.
pub(crate) struct Prefix(pub(crate) AllowedIp);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // The C library still ends the long deprecated IPv4-compatible ones in dotted decimals.
            IpAddr::V6(v6) if v6.to_bits() >> 32 == 0 && v6.to_bits() > 0xffff => {
                write!(f, "::{}", Ipv4Addr::from_bits(v6.to_bits() as u32))
            }
            address => address.fmt(f),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (Address(self.0.ip()), self.0.port());
        match self.0 {
            SocketAddr::V4(_) => write!(f, "{address}:{port}"),
            SocketAddr::V6(v6) if v6.scope_id() == 0 => write!(f, "[{address}]:{port}"),
            SocketAddr::V6(v6) => write!(f, "[{address}%{}]:{port}", scope_name(v6.scope_id())),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Address(self.0.address()), self.0.cidr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(Address(text.parse().unwrap()).to_string(), expected);
        }
    }
}
