//! A tunnel's configuration and state at one moment.

use std::net::SocketAddr;
use std::time::Duration;

use wg_noise::PublicKey;

use crate::allowed_ips::AllowedIp;
use crate::engine::Engine;
use crate::update::Secret;

/// A tunnel's configuration and state.
#[derive(Debug)]
pub struct Status {
    /// The private key, if set.
    pub private_key: Option<Secret>,
    /// The UDP port that is bound, or while the interface is down will be; 0 for any or none.
    pub listen_port: u16,
    /// The mark of outgoing packets; 0 is off.
    pub fwmark: u32,
    /// The peers, in the order in which they were added.
    pub peers: Vec<PeerStatus>,
}

/// A peer's configuration and state.
#[derive(Debug)]
pub struct PeerStatus {
    /// The peer's public key.
    pub public_key: PublicKey,
    /// The preshared key, if set.
    pub preshared_key: Option<Secret>,
    /// Where packets to the peer go.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: u16,
    /// The end of the latest handshake, since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Bytes received, outer IP and UDP headers not included.
    pub rx_bytes: u64,
    /// Bytes sent, outer IP and UDP headers not included.
    pub tx_bytes: u64,
    /// The peer's allowed IPs, in the order in which they were given to it.
    pub allowed_ips: Vec<AllowedIp>,
}

impl Engine {
    /// The configuration and state now.
    pub(crate) fn status(&self) -> Status {
        let configuration = self.configuration();
        let mut peers: Vec<_> = configuration.peers.values().collect();
        peers.sort_unstable_by_key(|configured| configured.position);
        let peers = peers
            .into_iter()
            .map(|configured| {
                let peer = &configured.peer;
                let (rx_bytes, tx_bytes) = peer.transfer();
                PeerStatus {
                    public_key: *peer.noise.public_key(),
                    preshared_key: configured.preshared_key.as_deref().cloned(),
                    endpoint: peer.endpoint().map(|endpoint| endpoint.address),
                    persistent_keepalive: peer.noise.persistent_keepalive(),
                    last_handshake: peer.noise.last_handshake(),
                    rx_bytes,
                    tx_bytes,
                    allowed_ips: configured.allowed_ips.iter().collect(),
                }
            })
            .collect();
        let unbound = configuration.link_up && self.sockets.load().is_none();
        let listen_port = if unbound { 0 } else { configuration.listen_port };
        Status {
            private_key: configuration.private_key.clone(),
            listen_port,
            fwmark: configuration.fwmark,
            peers,
        }
    }
}
