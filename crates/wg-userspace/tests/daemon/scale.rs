//! Many peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use testbed::Host;
use wg_config::{AllowedIp, PublicKey};
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::pair::private_key;
use crate::uapi;

const PEERS: u32 = 100_000;

#[test]
fn a_hundred_thousand_peers_come_and_go() -> Result<()> {
    let host = Host::new("many")?;
    host.run("wg-userspace wg0")?.success()?;
    host.set_up("wg0")?;
    let key = |number: u32| {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        PublicKey::from(bytes)
    };
    let peers = (0..PEERS).map(|number| {
        let v4 = IpAddr::V4(Ipv4Addr::from_bits(10 << 24 | number));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits(0xfd << 120 | u128::from(number) << 64));
        let wide = IpAddr::V4(Ipv4Addr::from_bits(0xac00_0000 | number << 4));
        let ips = [(v4, 32), (v6, 64), (wide, 28)];
        PeerUpdate {
            replace_allowed_ips: true,
            allowed_ips: ips.map(|(ip, cidr)| AllowedIp::new(ip, cidr).unwrap().into()).to_vec(),
            endpoint: Some(([192, 0, 2, 1], 1 + (number % 60000) as u16).into()),
            ..PeerUpdate::new(key(number))
        }
    });
    let update = DeviceUpdate {
        private_key: Some(private_key(1)),
        peers: peers.collect(),
        ..DeviceUpdate::default()
    };
    uapi::set(&host, "wg0", &update)?;
    let device = uapi::get(&host, "wg0")?;
    ensure!(device.peers.len() == PEERS as usize);
    for (number, peer) in (0..).zip(&device.peers) {
        ensure!(peer.public_key == key(number) && peer.allowed_ips.len() == 3, "{peer:?}");
    }
    let removals = (0..PEERS).filter(|number| number % 1000 != 0).map(|number| {
        let mut removal = PeerUpdate::new(key(number));
        removal.remove = true;
        removal
    });
    let update = DeviceUpdate { peers: removals.collect(), ..DeviceUpdate::default() };
    uapi::set(&host, "wg0", &update)?;
    ensure!(uapi::get(&host, "wg0")?.peers.len() == PEERS as usize / 1000);
    Ok(())
}
