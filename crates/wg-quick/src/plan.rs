//! From what shall be and what is to the steps between them.
//!
//! `up` plans in three parts, because what comes later depends on what hooks and the interface did
//! before: which endpoints and allowed IPs the interface has, and which routes its addresses gave it.

use anyhow::bail;

use crate::mtu;
use crate::observed::{Coverage, Paths};
use crate::route;
use crate::step::Step;
use crate::tunnel::{RouteTable, Tunnel, no_default_route};

/// Steps in the order in which they are done.
pub(crate) type Plan = Vec<Step>;

/// The link, the PreUp hooks, and the part that `wg` reads.
pub(crate) fn device(tunnel: &Tunnel) -> Plan {
    let mut plan = vec![Step::CreateLink];
    plan.extend(tunnel.hooks.pre_up.iter().cloned().map(Step::Hook));
    plan.push(Step::Configure {
        update: Box::new(tunnel.device.clone()),
        warnings: tunnel.warnings.clone(),
    });
    plan
}

/// The addresses and the MTU, and the interface up.
pub(crate) fn network(tunnel: &Tunnel, paths: &Paths) -> Plan {
    let mut plan: Plan = tunnel.addresses.iter().copied().map(Step::AddAddress).collect();
    let mtu = tunnel
        .mtu
        .unwrap_or_else(|| mtu::automatic(&paths.to_peers, paths.default.as_ref(), &paths.links));
    plan.push(Step::SetMtuAndUp(mtu));
    plan
}

/// The routes and the PostUp hooks.
///
/// # Errors
/// When a hook has given a peer a default route that would need policy routing.
pub(crate) fn routes(tunnel: &Tunnel, coverage: &Coverage) -> anyhow::Result<Plan> {
    let mut plan = Plan::new();
    if let Some(table) = tunnel.table.id() {
        let mut wanted = route::in_order(coverage.allowed_ips.iter().copied());
        let mut name = None;
        match &tunnel.table {
            RouteTable::Given { name: given, .. } => name = Some(given.clone()),
            RouteTable::Auto | RouteTable::Off => {
                if let Some(default) = wanted.iter().find(|prefix| prefix.len == 0) {
                    bail!(no_default_route(*default));
                }
                wanted = route::not_covered(wanted, &coverage.routed);
            }
        }
        let step = |prefix| Step::AddRoute { prefix, table, name: name.clone() };
        plan.extend(wanted.into_iter().map(step));
    }
    plan.extend(tunnel.hooks.post_up.iter().cloned().map(Step::Hook));
    Ok(plan)
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
    fn hooks_before_up_run_between_the_link_and_its_configuration() {
        assert_eq!(
            described(&device(&tunnel(RouteTable::Auto))),
            ["ip link add dev wg0 type wireguard", "echo pre", "wg addconf wg0 /dev/fd/63"]
        );
    }

    #[test]
    fn only_the_link_has_to_be_undone() {
        let plan = device(&tunnel(RouteTable::Auto));
        let undo: Vec<_> = plan.iter().filter_map(Step::undo).collect();
        assert_eq!(undo, [Step::DeleteLink]);
    }

    #[test]
    fn addresses_come_before_the_mtu_of_the_path() {
        let link = Link { index: 2, name: "eth0".to_owned(), kind: None, mtu: 1500, up: true };
        let route =
            Route { destination: prefix("0.0.0.0/0"), table: 254, device: Some(2), mtu: None };
        let paths = Paths { to_peers: vec![route], default: None, links: vec![link] };
        let expected = |mtu| {
            vec![
                "ip -4 address add 10.66.0.2/24 dev wg0".to_owned(),
                "ip -6 address add fd66::2/64 dev wg0".to_owned(),
                format!("ip link set mtu {mtu} up dev wg0"),
            ]
        };
        let mut tunnel = tunnel(RouteTable::Auto);
        assert_eq!(described(&network(&tunnel, &paths)), expected(1420));
        tunnel.mtu = Some(1280);
        assert_eq!(described(&network(&tunnel, &paths)), expected(1280));
    }

    #[test]
    fn routes_that_the_addresses_gave_are_not_added_again() {
        let coverage = Coverage {
            allowed_ips: prefixes("10.66.0.0/24 fd66::/64 172.16.5.0/24 fd77::/48"),
            routed: prefixes("10.66.0.0/24 fd66::/64"),
        };
        let both = ["ip -6 route add fd77::/48 dev wg0", "ip -4 route add 172.16.5.0/24 dev wg0"];
        let hooks = ["echo a", "echo b"];
        let auto = described(&routes(&tunnel(RouteTable::Auto), &coverage).unwrap());
        assert_eq!(auto, [both.as_slice(), hooks.as_slice()].concat());
        let off = described(&routes(&tunnel(RouteTable::Off), &coverage).unwrap());
        assert_eq!(off, hooks);
    }

    #[test]
    fn a_given_table_gets_all_routes_and_default_routes_too() {
        let coverage = Coverage {
            allowed_ips: prefixes("0.0.0.0/0 ::/0 10.66.0.0/24"),
            routed: prefixes("10.66.0.0/24"),
        };
        let table = RouteTable::Given { id: 1234, name: "office".to_owned() };
        let plan = routes(&tunnel(table), &coverage).unwrap();
        assert_eq!(
            described(&plan)[..3],
            [
                "ip -4 route add 10.66.0.0/24 dev wg0 table office",
                "ip -6 route add ::/0 dev wg0 table office",
                "ip -4 route add 0.0.0.0/0 dev wg0 table office",
            ]
        );
        assert!(matches!(&plan[0], Step::AddRoute { table: 1234, .. }));
        let error = routes(&tunnel(RouteTable::Auto), &coverage).unwrap_err().to_string();
        assert!(error.contains("::/0"), "{error}");
    }
}
