//! Many peers, and the memory that they take.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use testbed::{Host, eventually};
use wg_config::{AllowedIp, PublicKey};
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::pair::private_key;
use crate::privileges::{status_word, threads};
use crate::{PATIENCE, uapi};

const PEERS: u32 = 100_000;
/// KiB that the daemon may take while all are replaced: 200 MB.
const PEAK: u64 = 200_000_000 / 1024;
/// KiB that the daemon may keep when almost all peers are gone.
const KEPT: u64 = 16 << 10;

#[test]
fn a_hundred_thousand_peers_come_and_go() -> Result<()> {
    let host = Host::new("many")?;
    host.run("wg-userspace wg0")?.success()?;
    host.set_up("wg0")?;
    uapi::get(&host, "wg0")?;
    let before = memory(&host, "VmRSS:")?;
    let update = DeviceUpdate { private_key: Some(private_key(1)), ..many(0) };
    uapi::set(&host, "wg0", &update)?;
    let device = uapi::get(&host, "wg0")?;
    ensure!(device.peers.len() == PEERS as usize);
    for (number, peer) in (0..).zip(&device.peers) {
        ensure!(peer.public_key == key(number) && peer.allowed_ips.len() == 3, "{peer:?}");
    }
    // What a small change leaves for the next one is there as well.
    let mut change = PeerUpdate::new(key(0));
    change.allowed_ips = vec![AllowedIp::new([192, 0, 2, 7].into(), 32)?.into()];
    uapi::set(&host, "wg0", &DeviceUpdate { peers: vec![change], ..DeviceUpdate::default() })?;
    // As many others in their place.
    uapi::set(&host, "wg0", &DeviceUpdate { replace_peers: true, ..many(PEERS) })?;
    let peak = memory(&host, "VmHWM:")?;
    ensure!(peak < PEAK, "{peak} KiB at the most; expected less than {PEAK}");
    ensure!(uapi::get(&host, "wg0")?.peers.len() == PEERS as usize);
    let removals = (PEERS..2 * PEERS).filter(|number| number % 1000 != 0).map(|number| {
        let mut removal = PeerUpdate::new(key(number));
        removal.remove = true;
        removal
    });
    let update = DeviceUpdate { peers: removals.collect(), ..DeviceUpdate::default() };
    uapi::set(&host, "wg0", &update)?;
    ensure!(uapi::get(&host, "wg0")?.peers.len() == PEERS as usize / 1000);
    // Given back after the answer.
    let given_back = || (memory(&host, "VmRSS:").ok()? < before + KEPT).then_some(());
    eventually("the memory of the peers that are gone", PATIENCE, given_back).with_context(
        || {
            let now = memory(&host, "VmRSS:");
            format!("{before} KiB before, {peak} at the most, {now:?} now")
        },
    )?;
    Ok(())
}

/// Peers from this number on, each with an endpoint and three allowed IPs.
fn many(first: u32) -> DeviceUpdate {
    let peers = (first..first + PEERS).map(|number| {
        let v4 = IpAddr::V4(Ipv4Addr::from_bits(10 << 24 | number));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits(0xfd << 120 | u128::from(number) << 64));
        let wide = IpAddr::V4(Ipv4Addr::from_bits(0xac00_0000 | number << 4));
        let ips = [(v4, 32), (v6, 64), (wide, 28)];
        PeerUpdate {
            replace_allowed_ips: true,
            allowed_ips: ips
                .map(|(ip, cidr)| AllowedIp::new(ip, cidr).expect("valid").into())
                .to_vec(),
            endpoint: Some(([192, 0, 2, 1], 1 + (number % 60000) as u16).into()),
            ..PeerUpdate::new(key(number))
        }
    });
    DeviceUpdate { peers: peers.collect(), ..DeviceUpdate::default() }
}

fn key(number: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PublicKey::from(bytes)
}

/// KiB of the daemon's memory, by its name in `/proc/PID/status`.
fn memory(host: &Host, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", threads(host)?[0]))?;
    Ok(status_word(&status, name)?.parse()?)
}
