//! The MTU of a tunnel whose file does not give one.

use wg_hostnet::{Link, Route};

/// What WireGuard, UDP and IPv6 put around a packet, in bytes.
const OVERHEAD: u32 = 80;
/// What Ethernet carries, in bytes: the guess when no route says otherwise.
const FALLBACK: u32 = 1500;

/// The smallest path MTU over the routes to the peers, else that of the default route, less what the
/// tunnel adds. In bytes.
pub(crate) fn automatic(to_peers: &[Route], default: Option<&Route>, links: &[Link]) -> u32 {
    let path = |route: &Route| path_mtu(route, links);
    to_peers
        .iter()
        .filter_map(path)
        .min()
        .or_else(|| default.and_then(path))
        .filter(|mtu| *mtu > 0)
        .unwrap_or(FALLBACK)
        .saturating_sub(OVERHEAD)
}

/// The route's own MTU where it has one, else its device's.
fn path_mtu(route: &Route, links: &[Link]) -> Option<u32> {
    route.mtu.or_else(|| links.iter().find(|link| Some(link.index) == route.device).map(|l| l.mtu))
}

#[cfg(test)]
mod tests {
    use wg_hostnet::Prefix;

    use super::*;

    fn link(index: u32, mtu: u32) -> Link {
        Link { index, name: format!("eth{index}"), kind: None, mtu, up: true }
    }

    fn route(device: u32, mtu: Option<u32>) -> Route {
        let destination = Prefix::new("0.0.0.0".parse().unwrap(), 0);
        Route { destination, table: 254, device: Some(device), is_static: true, mtu }
    }

    #[test]
    fn the_smallest_path_counts_and_a_routes_metric_before_its_device() {
        let links = [link(1, 1500), link(2, 1400)];
        assert_eq!(automatic(&[route(1, None)], None, &links), 1420);
        assert_eq!(automatic(&[route(1, None), route(2, None)], None, &links), 1320);
        assert_eq!(automatic(&[route(1, Some(1300)), route(2, None)], None, &links), 1220);
        assert_eq!(automatic(&[route(1, Some(9000)), route(1, None)], None, &links), 1420);
    }

    #[test]
    fn without_a_route_to_a_peer_the_default_route_counts() {
        let links = [link(1, 1500), link(2, 1400)];
        assert_eq!(automatic(&[], Some(&route(2, None)), &links), 1320);
        assert_eq!(automatic(&[], None, &links), 1420);
        assert_eq!(automatic(&[route(9, None)], Some(&route(2, None)), &links), 1320);
        assert_eq!(automatic(&[route(9, None)], None, &links), 1420);
    }
}
