//! Two hosts with a cable between them and a daemon on each.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use testbed::{Host, connect, eventually};

use crate::daemon::{Daemon, Keys, original_wg};

/// The hosts' IPv4 addresses on the cable.
pub const OUTER_V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// The hosts' IPv6 addresses on the cable.
pub const OUTER_V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];
const INNER_V4: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const INNER_V6: [&str; 2] = ["fd77::1", "fd77::2"];
const PORT: u16 = 51820;
/// In bytes: what a cable of 1500 leaves for the inside of a tunnel.
const MTU: u32 = 1420;

/// Two hosts whose `wg0` is the tunnel between them.
#[derive(Debug)]
pub struct Pair {
    /// The host that knows the other's endpoint, and so sends first.
    pub initiator: Host,
    /// The host that learns the other's endpoint from its first packet.
    pub responder: Host,
}

impl Pair {
    /// Starts both daemons and configures them with the original `wg`, with a preshared key; the
    /// tunnel runs over the addresses `outer`, initiator first.
    ///
    /// # Errors
    /// When any step fails.
    pub fn start(initiator: Daemon, responder: Daemon, outer: [&str; 2]) -> Result<Self> {
        Self::start_with(initiator, responder, outer, true)
    }

    /// As [`Pair::start`], without a preshared key.
    ///
    /// # Errors
    /// When any step fails.
    pub fn without_preshared_key(
        initiator: Daemon,
        responder: Daemon,
        outer: [&str; 2],
    ) -> Result<Self> {
        Self::start_with(initiator, responder, outer, false)
    }

    fn start_with(
        initiator: Daemon,
        responder: Daemon,
        outer: [&str; 2],
        preshared_key: bool,
    ) -> Result<Self> {
        let hosts = [Host::new("initiator")?, Host::new("responder")?];
        connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
        let keys = [Keys::generate(&hosts[0])?, Keys::generate(&hosts[1])?];
        let preshared = match preshared_key {
            true => format!("PresharedKey = {}\n", Keys::preshared(&hosts[0])?),
            false => String::new(),
        };
        for (me, daemon) in [initiator, responder].into_iter().enumerate() {
            let (host, other) = (&hosts[me], 1 - me);
            host.add_address("eth0", &format!("{}/24", OUTER_V4[me]))?;
            host.add_address("eth0", &format!("{}/64", OUTER_V6[me]))?;
            daemon.start(host, "wg0")?;
            let endpoint = SocketAddr::new(ip(outer[other]), PORT);
            let endpoint = if me == 0 { format!("Endpoint = {endpoint}\n") } else { String::new() };
            let config = format!(
                "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
                 {preshared}AllowedIPs = {}/32, {}/128\n{endpoint}",
                keys[me].private, keys[other].public, INNER_V4[other], INNER_V6[other]
            );
            let setconf = format!("{} setconf wg0 /dev/stdin", original_wg()?);
            host.run_with_input(&setconf, config)?.success()?;
            host.add_address("wg0", &format!("{}/24", INNER_V4[me]))?;
            host.add_address("wg0", &format!("{}/64", INNER_V6[me]))?;
            host.set_mtu("wg0", MTU)?;
            host.set_up("wg0")?;
            wait_for_sockets(host, PORT, daemon.socket_families())?;
        }
        let [initiator, responder] = hosts;
        Ok(Self { initiator, responder })
    }

    /// The initiator's addresses in the tunnel, both families.
    #[must_use]
    pub fn initiator_addresses(&self) -> [IpAddr; 2] {
        [ip(INNER_V4[0]), ip(INNER_V6[0])]
    }

    /// The responder's addresses in the tunnel, both families.
    #[must_use]
    pub fn responder_addresses(&self) -> [IpAddr; 2] {
        [ip(INNER_V4[1]), ip(INNER_V6[1])]
    }
}

/// Waits until the daemon, which sees its interface come up in its own time, has bound `port` in
/// these families. A handshake that came before would be tried again only seconds later.
///
/// # Errors
/// When that does not happen within seconds.
pub fn wait_for_sockets(host: &Host, port: u16, families: &[&str]) -> Result<()> {
    let is_bound = |family: &&str| {
        fs::read_to_string(format!("/proc/thread-self/net/{family}"))
            .is_ok_and(|sockets| sockets.contains(&format!(":{port:04X} ")))
    };
    host.in_network(|| {
        let limit = Duration::from_secs(20);
        let are_bound = || families.iter().all(is_bound).then_some(());
        eventually("the daemon's UDP sockets", limit, are_bound)
    })
}

/// The address that `text` is.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}
