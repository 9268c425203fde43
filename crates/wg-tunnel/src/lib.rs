//! The userspace WireGuard engine: packets in batches between a TUN device and UDP sockets.
//!
//! [`Tunnel`] runs the threads; [`Update`] changes its configuration, [`Status`] shows it. The
//! protocol itself is `wg-noise`.

mod allowed_ips;
mod apply;
mod clock;
mod configuration;
mod datagrams;
mod endpoint;
mod engine;
mod handshakes;
mod inbound;
mod index_table;
mod inner;
mod link;
mod log_limit;
mod outbound;
mod peer;
mod pktinfo;
mod slots;
mod sockets;
mod status;
mod timers;
mod tun;
mod tunnel;
mod update;

pub use allowed_ips::AllowedIp;
pub use status::{PeerStatus, Status};
pub use tun::{Tun, TunError};
pub use tunnel::Tunnel;
pub use update::{AllowedIpChange, ApplyError, PeerUpdate, Secret, Update};
pub use wg_noise::PublicKey;
