//! The engine's types from and to those of the UAPI.

use wg_config::{AllowedIp, PresharedKey, PrivateKey, PublicKey};
use wg_control::{Device, DeviceUpdate, Peer};
use wg_tunnel::{AllowedIpChange, PeerStatus, PeerUpdate, Secret, Status, Update};

/// The UAPI's view of the engine.
pub(crate) fn from_status(interface: &str, status: Status) -> Device {
    let private_key = status.private_key.map(|key| PrivateKey::from(*key.as_bytes()));
    Device {
        name: interface.to_owned(),
        public_key: private_key.as_ref().map(PrivateKey::public_key),
        private_key,
        listen_port: status.listen_port,
        fwmark: status.fwmark,
        peers: status.peers.into_iter().map(peer).collect(),
    }
}

fn peer(status: PeerStatus) -> Peer {
    Peer {
        public_key: PublicKey::from(*status.public_key.as_bytes()),
        preshared_key: status.preshared_key.map(|key| PresharedKey::from(*key.as_bytes())),
        endpoint: status.endpoint,
        persistent_keepalive: status.persistent_keepalive,
        last_handshake: status.last_handshake,
        rx_bytes: status.rx_bytes,
        tx_bytes: status.tx_bytes,
        allowed_ips: status
            .allowed_ips
            .into_iter()
            .filter_map(|ip| AllowedIp::new(ip.address(), ip.cidr()).ok())
            .collect(),
    }
}

/// The engine's view of a change.
pub(crate) fn to_update(update: DeviceUpdate) -> Update {
    Update {
        private_key: update.private_key.map(|key| Secret::from(*key.as_bytes())),
        listen_port: update.listen_port,
        fwmark: update.fwmark,
        replace_peers: update.replace_peers,
        peers: update.peers.into_iter().map(peer_update).collect(),
    }
}

fn peer_update(update: wg_control::PeerUpdate) -> PeerUpdate {
    let allowed_ips = update.allowed_ips.iter().filter_map(|change| {
        let ip = wg_tunnel::AllowedIp::new(change.ip.address(), change.ip.cidr())?;
        Some(AllowedIpChange { ip, remove: change.remove })
    });
    PeerUpdate {
        public_key: wg_tunnel::PublicKey::from(*update.public_key.as_bytes()),
        remove: update.remove,
        update_only: update.update_only,
        preshared_key: update.preshared_key.map(|key| Secret::from(*key.as_bytes())),
        endpoint: update.endpoint,
        persistent_keepalive: update.persistent_keepalive,
        replace_allowed_ips: update.replace_allowed_ips,
        allowed_ips: allowed_ips.collect(),
    }
}
