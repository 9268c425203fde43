//! Where packets to a peer go, and from which of our addresses.

use std::net::{IpAddr, SocketAddr};

/// A peer's outer address, with the local address that its packets came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The peer's address and port.
    pub(crate) address: SocketAddr,
    /// The source of the reply; `None` lets the kernel choose.
    pub(crate) source: Option<Source>,
}

/// A local address and the interface that it was seen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) address: IpAddr,
    pub(crate) interface: u32,
}

impl Endpoint {
    /// Whether anything can be sent there.
    pub(crate) fn is_usable(&self) -> bool {
        self.address.port() != 0 && !self.address.ip().is_unspecified()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, source: None }
    }
}
