//! Two hosts joined by a cable, and a tunnel between them that this process runs both ends of.

use std::net::SocketAddr;

use testbed::{Host, connect};
use wg_noise::LocalStatic;
use wg_tunnel::{AllowedIp, AllowedIpChange, Offloads, PeerUpdate, Secret, Tun, Tunnel, Update};

/// The hosts' addresses in the tunnel.
pub(crate) const INNER: [&str; 2] = ["10.98.0.1", "10.98.0.2"];
const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const PORT: u16 = 51820;

/// Starts both ends, with lanes as `WG_LANES` says them.
pub(crate) fn start(offloads: Offloads, lanes: &str) -> ([Host; 2], [Tunnel; 2]) {
    let hosts = ["a", "b"].map(|name| Host::new(name).expect("a host"));
    connect(&hosts[0], "eth0", &hosts[1], "eth0").expect("a cable");
    let tunnels = [0, 1].map(|me| start_one(&hosts[me], me, offloads, lanes));
    (hosts, tunnels)
}

fn start_one(host: &Host, me: usize, offloads: Offloads, lanes: &str) -> Tunnel {
    host.add_address("eth0", &format!("{}/24", OUTER[me])).expect("the address is set");
    let lanes = lanes.parse().expect("a number of lanes");
    let tunnel = host.in_network(|| {
        let tun = Tun::create("wg0", offloads, lanes).expect("a device");
        let tunnel = Tunnel::start(tun, offloads, lanes).expect("a tunnel");
        let key = |end: usize| [end as u8 + 1; 32];
        let ip = AllowedIp::new(INNER[1 - me].parse().expect("a valid address"), 32)
            .expect("a valid address");
        let peer = PeerUpdate {
            public_key: *LocalStatic::new(&key(1 - me)).public_key(),
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: Some(SocketAddr::new(OUTER[1 - me].parse().expect("a valid address"), PORT)),
            persistent_keepalive: None,
            replace_allowed_ips: true,
            allowed_ips: vec![AllowedIpChange { ip, remove: false }],
        };
        let update = Update {
            private_key: Some(Secret::from(key(me))),
            listen_port: Some(PORT),
            peers: vec![peer],
            ..Update::default()
        };
        tunnel.apply(update).expect("the configuration is taken");
        tunnel
    });
    host.add_address("wg0", &format!("{}/24", INNER[me])).expect("the address is set");
    host.set_up("wg0").expect("the interface goes up");
    tunnel
}
