//! One device API over the WireGuard kernel module and userspace daemons.

mod device;

pub use device::{Device, DeviceUpdate, Peer, PeerUpdate};
