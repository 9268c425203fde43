//! A peer's endpoint as written: a host and a port, not yet resolved.

use std::fmt;

/// `host:port` or `[v6]:port`, as text; names and services are resolved by who connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// An IPv4 address, an IPv6 address (perhaps with `%zone`) without brackets, or a name.
    pub host: String,
    /// A port number or the name of a service.
    pub service: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.service)
        } else {
            write!(f, "{}:{}", self.host, self.service)
        }
    }
}
