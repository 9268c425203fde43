//! What the host has that the plan depends on.

use std::collections::BTreeSet;

use wg_config::PrivateKey;
use wg_control::{Device, DeviceUpdate, Peer};
use wg_hostnet::{Family, Hostnet, Link, Prefix, Route, RouteFilter, TABLE_MAIN};

use crate::tunnel::{Tunnel, prefix_of};

/// The paths that the tunnel's packets take, for its MTU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The routes to the peers' endpoints.
    pub to_peers: Vec<Route>,
    /// The default route of IPv4 in the main table.
    pub default: Option<Route>,
    /// All links.
    pub links: Vec<Link>,
}

impl Paths {
    /// Asks for the routes to the endpoints that the interface has.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn observe(net: &Hostnet, device: &Device) -> anyhow::Result<Self> {
        // A link-local endpoint is skipped, as in the original: its zone is part of the address.
        let endpoints: BTreeSet<_> = device
            .peers
            .iter()
            .filter_map(|peer| peer.endpoint)
            .filter(|endpoint| match endpoint {
                std::net::SocketAddr::V4(_) => true,
                std::net::SocketAddr::V6(v6) => v6.scope_id() == 0,
            })
            .map(|endpoint| endpoint.ip())
            .collect();
        let mut to_peers = Vec::new();
        for address in endpoints {
            // With the mark that the tunnel's packets have: not through the tunnel itself.
            to_peers.extend(net.route_to(address, device.fwmark)?);
        }
        let filter =
            RouteFilter { family: Some(Family::Ipv4), table: Some(TABLE_MAIN), device: None };
        // The default route is needed only where no path to a peer is known.
        let default = if to_peers.is_empty() {
            net.routes(filter)?.into_iter().find(|route| route.destination.len == 0)
        } else {
            None
        };
        Ok(Self { to_peers, default, links: net.links()? })
    }
}

/// What decides about the routes once the interface is up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// The peers' allowed IPs, as the interface has them: one that two peers claim is the last one's,
    /// bits behind the prefix are cleared, and what PreUp hooks added is there.
    pub allowed_ips: Vec<Prefix>,
    /// The destinations of the main table's routes through the interface.
    pub routed: Vec<Prefix>,
}

/// What an interface will be like after a change, as far as its endpoints and allowed IPs go.
pub(crate) fn expected(update: &DeviceUpdate) -> Device {
    let own_key = update.private_key.as_ref().map(PrivateKey::public_key);
    // The backends ignore a peer that is the interface itself.
    let others = update.peers.iter().filter(|peer| Some(peer.public_key) != own_key);
    let peers = others.map(|peer| Peer {
        endpoint: peer.endpoint,
        allowed_ips: peer
            .allowed_ips
            .iter()
            .filter(|change| !change.remove)
            .map(|change| change.ip.masked())
            .collect(),
        ..Peer::new(peer.public_key)
    });
    Device { fwmark: update.fwmark.unwrap_or(0), peers: peers.collect(), ..Device::default() }
}

impl Coverage {
    /// What the file makes one expect, before there is an interface to ask.
    pub(crate) fn expected(tunnel: &Tunnel) -> Self {
        let device = expected(&tunnel.device);
        // To an address that is a whole prefix, only IPv6 has a route in the main table.
        let has_route = |prefix: &&Prefix| prefix.family() == Family::Ipv6 || prefix.len < 32;
        Self {
            allowed_ips: device
                .peers
                .iter()
                .flat_map(|peer| &peer.allowed_ips)
                .map(prefix_of)
                .collect(),
            routed: tunnel.addresses.iter().filter(has_route).copied().collect(),
        }
    }

    /// The families of the default routes among the allowed IPs.
    pub(crate) fn defaults(&self) -> Vec<Family> {
        let is_default = |family: &Family| {
            self.allowed_ips.iter().any(|prefix| prefix.len == 0 && prefix.family() == *family)
        };
        [Family::Ipv6, Family::Ipv4].into_iter().filter(is_default).collect()
    }

    /// Asks for the routes through the interface.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn observe(net: &Hostnet, link: &Link, device: &Device) -> anyhow::Result<Self> {
        let filter =
            RouteFilter { family: None, table: Some(TABLE_MAIN), device: Some(link.index) };
        let allowed_ips = device.peers.iter().flat_map(|peer| &peer.allowed_ips).map(prefix_of);
        Ok(Self {
            allowed_ips: allowed_ips.collect(),
            routed: net.routes(filter)?.into_iter().map(|route| route.destination).collect(),
        })
    }
}
