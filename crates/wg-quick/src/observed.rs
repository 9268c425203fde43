//! What the host has that the plan depends on.

use std::collections::BTreeSet;

use wg_hostnet::{Family, Hostnet, Link, Prefix, Route, RouteFilter, TABLE_MAIN};

use crate::tunnel::prefix_of;

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
    pub(crate) fn observe(net: &Hostnet, device: &wg_control::Device) -> anyhow::Result<Self> {
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
            to_peers.extend(net.route_to(address)?);
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

impl Coverage {
    /// Asks for the routes through the interface.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn observe(
        net: &Hostnet,
        link: &Link,
        device: &wg_control::Device,
    ) -> anyhow::Result<Self> {
        let filter =
            RouteFilter { family: None, table: Some(TABLE_MAIN), device: Some(link.index) };
        let allowed_ips = device.peers.iter().flat_map(|peer| &peer.allowed_ips).map(prefix_of);
        Ok(Self {
            allowed_ips: allowed_ips.collect(),
            routed: net.routes(filter)?.into_iter().map(|route| route.destination).collect(),
        })
    }
}
