//! From what shall be and what is to the steps between them.
//!
//! `up` plans in parts, because what comes later depends on what hooks and the interface did
//! before: which endpoints and allowed IPs the interface has, and which routes its addresses gave it.

use crate::dns::Dns;
use crate::mtu;
use crate::observed::{Coverage, Paths};
use crate::policy::Policy;
use crate::route;
use crate::step::Step;
use crate::tunnel::{RouteTable, Tunnel};

/// Steps in the order in which they are done.
pub(crate) type Plan = Vec<Step>;

/// The link, and the PreUp hooks.
pub(crate) fn link(tunnel: &Tunnel) -> Plan {
    let mut plan = vec![Step::CreateLink];
    plan.extend(tunnel.hooks.pre_up.iter().cloned().map(Step::Hook));
    plan
}

/// The part that `wg` reads.
pub(crate) fn configuration(tunnel: &Tunnel) -> Step {
    Step::Configure { update: Box::new(tunnel.device.clone()), warnings: tunnel.warnings.clone() }
}

/// The addresses, the MTU and the interface up, and the name servers.
pub(crate) fn network(tunnel: &Tunnel, paths: &Paths, dns: Option<Dns>) -> Plan {
    let mut plan: Plan = tunnel.addresses.iter().copied().map(Step::AddAddress).collect();
    let mtu = tunnel
        .mtu
        .unwrap_or_else(|| mtu::automatic(&paths.to_peers, paths.default.as_ref(), &paths.links));
    plan.push(Step::SetMtuAndUp(mtu));
    plan.extend(dns.map(Step::AddDns));
    plan
}

/// The routes, and what default routes need besides.
pub(crate) fn routes(tunnel: &Tunnel, coverage: &Coverage, policy: Option<Policy>) -> Plan {
    let Some(table) = tunnel.table.id() else { return Plan::new() };
    let mut wanted = route::in_order(coverage.allowed_ips.iter().copied());
    let name = match &tunnel.table {
        RouteTable::Given { name, .. } => Some(name.clone()),
        RouteTable::Auto | RouteTable::Off => {
            wanted = route::not_covered(wanted, &coverage.routed);
            None
        }
    };
    let mut policy = policy;
    let mut plan = Plan::with_capacity(wanted.len());
    for prefix in wanted {
        match &mut policy {
            Some(policy) if prefix.len == 0 => policy.default_route(prefix, &mut plan),
            _ => plan.push(Step::AddRoute { prefix, table, name: name.clone() }),
        }
    }
    plan
}

/// The PostUp hooks.
pub(crate) fn hooks(tunnel: &Tunnel) -> Plan {
    tunnel.hooks.post_up.iter().cloned().map(Step::Hook).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use wg_control::DeviceUpdate;
    use wg_hostnet::{Link, Prefix, Route};

    use super::*;
    use crate::tunnel::Hooks;

    fn prefix(text: &str) -> Prefix {
        let (address, len) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), len.parse().unwrap())
    }

    fn prefixes(text: &str) -> Vec<Prefix> {
        text.split_whitespace().map(prefix).collect()
    }

    fn tunnel(table: RouteTable) -> Tunnel {
        Tunnel {
            interface: "wg0".to_owned(),
            config_file: PathBuf::from("/etc/wireguard/wg0.conf"),
            device: DeviceUpdate::default(),
            addresses: prefixes("10.66.0.2/24 fd66::2/64"),
            mtu: None,
            dns: Vec::new(),
            dns_search: Vec::new(),
            endpoints: Vec::new(),
            table,
            hooks: Hooks {
                pre_up: vec!["echo pre".to_owned()],
                post_up: vec!["echo a".to_owned(), "echo b".to_owned()],
                ..Hooks::default()
            },
            warnings: Vec::new(),
        }
    }

    fn described(plan: &Plan) -> Vec<String> {
        plan.iter().map(|step| step.describe("wg0").to_string()).collect()
    }

    #[test]
    fn hooks_before_up_run_after_the_link_is_made() {
        assert_eq!(
            described(&link(&tunnel(RouteTable::Auto))),
            ["ip link add dev wg0 type wireguard", "echo pre"]
        );
    }

    #[test]
    fn only_the_link_has_to_be_undone() {
        let mut plan = link(&tunnel(RouteTable::Auto));
        plan.push(configuration(&tunnel(RouteTable::Auto)));
        let undo: Vec<_> = plan.iter().filter_map(Step::undo).collect();
        assert_eq!(undo, [Step::DeleteLink]);
    }

    #[test]
    fn addresses_come_before_the_mtu_of_the_path() {
        let link = Link { index: 2, name: "eth0".to_owned(), kind: None, mtu: 1500, up: true };
        let route = Route {
            destination: prefix("0.0.0.0/0"),
            table: 254,
            device: Some(2),
            is_static: true,
            mtu: None,
        };
        let paths = Paths { to_peers: vec![route], default: None, links: vec![link] };
        let expected = |mtu| {
            vec![
                "ip -4 address add 10.66.0.2/24 dev wg0".to_owned(),
                "ip -6 address add fd66::2/64 dev wg0".to_owned(),
                format!("ip link set mtu {mtu} up dev wg0"),
            ]
        };
        let mut tunnel = tunnel(RouteTable::Auto);
        assert_eq!(described(&network(&tunnel, &paths, None)), expected(1420));
        tunnel.mtu = Some(1280);
        assert_eq!(described(&network(&tunnel, &paths, None)), expected(1280));
    }

    #[test]
    fn routes_that_the_addresses_gave_are_not_added_again() {
        let coverage = Coverage {
            allowed_ips: prefixes("10.66.0.0/24 fd66::/64 172.16.5.0/24 fd77::/48"),
            routed: prefixes("10.66.0.0/24 fd66::/64"),
        };
        let both = ["ip -6 route add fd77::/48 dev wg0", "ip -4 route add 172.16.5.0/24 dev wg0"];
        let auto = described(&routes(&tunnel(RouteTable::Auto), &coverage, None));
        assert_eq!(auto, both);
        assert!(routes(&tunnel(RouteTable::Off), &coverage, None).is_empty());
        assert_eq!(described(&hooks(&tunnel(RouteTable::Off))), ["echo a", "echo b"]);
    }

    #[test]
    fn a_given_table_gets_all_routes_and_default_routes_too() {
        let coverage = Coverage {
            allowed_ips: prefixes("0.0.0.0/0 ::/0 10.66.0.0/24"),
            routed: prefixes("10.66.0.0/24"),
        };
        let table = RouteTable::Given { id: 1234, name: "office".to_owned() };
        let plan = routes(&tunnel(table), &coverage, None);
        assert_eq!(
            described(&plan)[..3],
            [
                "ip -4 route add 10.66.0.0/24 dev wg0 table office",
                "ip -6 route add ::/0 dev wg0 table office",
                "ip -4 route add 0.0.0.0/0 dev wg0 table office",
            ]
        );
        assert!(matches!(&plan[0], Step::AddRoute { table: 1234, .. }));
    }
}
