//! What it costs to find a packet's peer: among one peer's allowed IPs, and among 100,000 peers'.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wg_tunnel::{AllowedIp, AllowedIps};

/// Each peer has three: an address of either family and a network.
fn table(peers: u32) -> AllowedIps<u32> {
    let mut table = AllowedIps::default();
    for peer in 0..peers {
        let own = [(v4(peer), 32), (v6(peer), 128), (network(peer), 28)];
        for (address, cidr) in own {
            table.insert(AllowedIp::new(address, cidr).expect("short enough"), peer);
        }
    }
    table
}

fn v4(peer: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + peer).into()
}

fn v6(peer: u32) -> IpAddr {
    Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(peer)).into()
}

fn network(peer: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xac10_0000 + (peer << 4)).into()
}

fn find(criterion: &mut Criterion) {
    let addresses: [fn(u32) -> IpAddr; 3] = [v4, v6, network];
    for (kind, address) in ["IPv4 host", "IPv6 host", "IPv4 network"].into_iter().zip(addresses) {
        let mut group = criterion.benchmark_group(kind);
        for peers in [1, 100_000] {
            let table = table(peers);
            // One flow; then one packet each of flows to many peers.
            let address_of_last = address(peers - 1);
            group.bench_function(BenchmarkId::new("one flow", peers), |bencher| {
                bencher.iter(|| table.find(black_box(address_of_last)).copied());
            });
            group.bench_function(BenchmarkId::new("many flows", peers), |bencher| {
                let mut peer = 0u32;
                bencher.iter(|| {
                    peer = peer.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    table
                        .find(address(((u64::from(peer) * u64::from(peers)) >> 32) as u32))
                        .copied()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, find);
criterion_main!(benches);
