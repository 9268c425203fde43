//! An interface as it is, and a change to it; the same for every backend.

use std::net::SocketAddr;
use std::time::Duration;

use wg_config::{AllowedIp, AllowedIpChange, PresharedKey, PrivateKey, PublicKey};

/// An interface's configuration and state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// The interface's name.
    pub name: String,
    /// The private key, if set.
    pub private_key: Option<PrivateKey>,
    /// The public key that belongs to it.
    pub public_key: Option<PublicKey>,
    /// The UDP port; 0 when none is bound.
    pub listen_port: u16,
    /// The mark of outgoing packets; 0 is off.
    pub fwmark: u32,
    /// The peers, in the backend's order.
    pub peers: Vec<Peer>,
}

/// A peer's configuration and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The peer's public key.
    pub public_key: PublicKey,
    /// The preshared key, if set.
    pub preshared_key: Option<PresharedKey>,
    /// Where packets to the peer go.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: u16,
    /// The end of the latest handshake, since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Bytes received in transport messages.
    pub rx_bytes: u64,
    /// Bytes sent in transport messages.
    pub tx_bytes: u64,
    /// The peer's allowed IPs, in the backend's order.
    pub allowed_ips: Vec<AllowedIp>,
}

impl Peer {
    /// A peer without keys, endpoint, traffic or allowed IPs.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: 0,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: Vec::new(),
        }
    }
}

/// A change to an interface. `None` leaves a value as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceUpdate {
    /// A new private key; all zeros removes it.
    pub private_key: Option<PrivateKey>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUpdate {
    /// The peer; it is added unless it exists, or [`PeerUpdate::update_only`] or
    /// [`PeerUpdate::remove`] is set.
    pub public_key: PublicKey,
    /// Remove the peer; the rest is ignored.
    pub remove: bool,
    /// Do nothing when there is no such peer.
    pub update_only: bool,
    /// A new preshared key; all zeros removes it.
    pub preshared_key: Option<PresharedKey>,
    /// A new endpoint.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: Option<u16>,
    /// Remove the peer's allowed IPs first.
    pub replace_allowed_ips: bool,
    /// Allowed IPs to give to the peer or to take from it, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

impl PeerUpdate {
    /// An update that changes nothing but the peer's existence.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}
