//! The userspace WireGuard engine: packets in batches between a TUN device and UDP sockets.
//!
//! [`Tunnel`] runs the threads; [`Update`] changes its configuration, [`Status`] shows it. The
//! protocol itself is `wg-noise`.

mod admission;
mod allowed_ips;
mod allowed_ips_snapshots;
mod apply;
mod busy_poll;
mod checksum;
mod clock;
mod configuration;
mod cut;
mod datagrams;
mod ecn;
mod endpoint;
mod engine;
mod handshake_inlets;
mod handshakes;
mod icmp;
mod inbound;
mod index_table;
mod inner;
mod interface_request;
mod join;
mod keyed_hash;
mod lanes;
mod link;
mod link_message;
mod log_limit;
mod offloads;
mod outbound;
mod outbound_batch;
mod peer;
mod per_second;
mod permutation;
mod pktinfo;
mod port_filter;
mod received;
mod receivers;
mod routes;
mod shared_port;
mod slots;
mod sockets;
mod status;
mod timers;
mod tun;
mod tunnel;
mod turns;
mod update;
mod virtio;

pub use allowed_ips::{AllowedIp, AllowedIps};
pub use apply::Removed;
pub use busy_poll::count_processors;
pub use lanes::{BadLanes, Lanes};
pub use offloads::{Offloads, UnknownOffload};
pub use status::{PeerStatus, Status};
pub use tun::{Tun, TunError};
pub use tunnel::Tunnel;
pub use update::{AllowedIpChange, ApplyError, PeerUpdate, Secret, Update};
pub use wg_noise::PublicKey;
