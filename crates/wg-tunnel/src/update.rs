//! A change to a tunnel's configuration.

use std::fmt;
use std::net::SocketAddr;

use nix::errno::Errno;
use wg_noise::PublicKey;
use zeroize::{Zeroize, Zeroizing};

use crate::allowed_ips::AllowedIp;

/// A private or preshared key; zeroed when dropped, absent from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

/// A change to the whole tunnel. `None` leaves a value as it is.
#[derive(Debug, Default)]
pub struct Update {
    /// A new private key; all zeros removes it.
    pub private_key: Option<Secret>,
    /// A new UDP port; 0 asks for any free one.
    pub listen_port: Option<u16>,
    /// A new mark for outgoing packets; 0 is off.
    pub fwmark: Option<u32>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// Changes to peers, applied in order; a public key may occur more than once.
    pub peers: Vec<PeerUpdate>,
}

/// A change to one peer. `None` leaves a value as it is.
#[derive(Debug)]
pub struct PeerUpdate {
    /// The peer; it is added unless it exists or `remove` or `update_only` is set.
    pub public_key: PublicKey,
    /// Remove the peer; the rest is ignored.
    pub remove: bool,
    /// Do nothing when there is no such peer.
    pub update_only: bool,
    /// A new preshared key; all zeros removes it.
    pub preshared_key: Option<Secret>,
    /// A new endpoint.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: Option<u16>,
    /// Take all allowed IPs from the peer first.
    pub replace_allowed_ips: bool,
    /// Allowed IPs to give to the peer or to take from it, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// One change to a peer's allowed IPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedIpChange {
    /// The prefix concerned.
    pub ip: AllowedIp,
    /// Take it from the peer, if the peer has it, instead of giving it.
    pub remove: bool,
}

/// The update was refused, and nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// No socket could be bound to the port, or marked.
    #[error("cannot bind UDP port {port}: {}", errno.desc())]
    Bind {
        /// The port, 0 for any.
        port: u16,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The sockets' packets could not be marked.
    #[error("cannot set the mark of outgoing packets: {}", .0.desc())]
    Mark(Errno),
    /// There would be more than 2^20 peers, which is also the kernel's limit.
    #[error("too many peers")]
    TooManyPeers,
}

impl Secret {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether every byte is zero, which stands for "no key".
    pub fn is_zero(&self) -> bool {
        *self.0 == [0; 32]
    }
}

impl From<[u8; 32]> for Secret {
    fn from(mut bytes: [u8; 32]) -> Self {
        let secret = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        secret
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl ApplyError {
    /// The error number that the kernel's WireGuard would answer.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Bind { errno, .. } | Self::Mark(errno) => *errno as i32,
            Self::TooManyPeers => Errno::ENOMEM as i32,
        }
    }
}
