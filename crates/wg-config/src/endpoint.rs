//! A peer's endpoint as written: a host and a port, not yet resolved.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// `host:port` or `[v6]:port`; names and services are resolved by who connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Numbers, which leave nothing to resolve.
    Address(SocketAddr),
    /// Something else, for the resolver to make out.
    Name {
        /// A name, an IPv6 address with a `%zone`, or an address.
        host: String,
        /// A port number or the name of a service.
        service: String,
    },
}

impl Endpoint {
    /// The endpoint of a host, an IPv6 address without brackets, and a port or service.
    pub fn new(host: &str, service: &str) -> Self {
        let all_digits = service.bytes().all(|byte| byte.is_ascii_digit());
        match (host.parse::<IpAddr>(), service.parse()) {
            (Ok(address), Ok(port)) if all_digits => Self::Address((address, port).into()),
            _ => Self::Name { host: host.to_owned(), service: service.to_owned() },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, service } if host.contains(':') => write!(f, "[{host}]:{service}"),
            Self::Name { host, service } => write!(f, "{host}:{service}"),
        }
    }
}
