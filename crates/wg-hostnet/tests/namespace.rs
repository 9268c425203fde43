//! The library against the kernel, each test in a network namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::net::IpAddr;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use testbed::report;
use wg_hostnet::{
    Family, Firewall, Hostnet, Link, Prefix, RouteFilter, Rule, TABLE_MAIN, add_firewall,
    check_firewall, delete_firewalls, firewalls,
};

/// Runs the test on a thread in a new network namespace, where the only link is `lo`, down.
fn in_namespace(test: fn(&Hostnet)) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let thread = std::thread::spawn(move || {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => test(&Hostnet::open().unwrap()),
            Err(Errno::EPERM) => {
                report::cannot_run(&name, "a network namespace needs root").unwrap();
            }
            Err(errno) => panic!("unshare: {errno}"),
        };
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::new(address.parse().unwrap(), len.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn loopback(host: &Hostnet) -> Link {
    let link = host.link("lo").unwrap().unwrap();
    host.set_mtu_and_up(&link, link.mtu).unwrap();
    host.link("lo").unwrap().unwrap()
}

/// A device that is up and carries packets.
fn veth(host: &Hostnet) -> Link {
    run("ip link add eth0 type veth peer name peer0");
    run("ip link set peer0 up");
    let link = host.link("eth0").unwrap().unwrap();
    host.set_mtu_and_up(&link, 1500).unwrap();
    link
}

fn run(command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    let status = std::process::Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{command}");
}

#[test]
fn links_are_found_by_name_and_index_and_listed() {
    in_namespace(|host| {
        let lo = host.link("lo").unwrap().unwrap();
        assert!(!lo.up);
        assert_eq!(host.link_by_index(lo.index).unwrap().as_ref(), Some(&lo));
        assert!(host.links().unwrap().contains(&lo));
        assert_eq!(host.link("nosuch").unwrap(), None);
        assert_eq!(host.link_by_index(4711).unwrap(), None);
    });
}

#[test]
fn a_link_gets_its_mtu_and_comes_up() {
    in_namespace(|host| {
        let lo = host.link("lo").unwrap().unwrap();
        host.set_mtu_and_up(&lo, 1420).unwrap();
        let lo = host.link("lo").unwrap().unwrap();
        assert_eq!((lo.mtu, lo.up), (1420, true));
    });
}

#[test]
fn an_error_names_the_link_and_gives_the_kernels_sentence() {
    in_namespace(|host| {
        let lo = loopback(host);
        let error = host.add_address(&lo, prefix("127.0.0.1/8")).unwrap_err();
        assert!(error.is(Errno::EEXIST));
        assert_eq!(
            error.to_string(),
            "lo: add address 127.0.0.1/8: File exists (ipv4: Address already assigned)"
        );

        let gone = Link { index: 4711, name: "gone".to_owned(), ..lo };
        let error = host.delete_link(&gone).unwrap_err();
        assert!(error.is(Errno::ENODEV), "{error}");
        assert!(error.to_string().starts_with("gone: delete the link: No such device"), "{error}");
    });
}

#[test]
fn a_kernel_without_wireguard_says_so() {
    in_namespace(|host| match host.create_wireguard("wg0") {
        Ok(()) => {
            let link = host.link("wg0").unwrap().unwrap();
            assert_eq!(link.kind.as_deref(), Some("wireguard"));
            assert!(host.create_wireguard("wg0").unwrap_err().is(Errno::EEXIST));
            host.delete_link(&link).unwrap();
            assert_eq!(host.link("wg0").unwrap(), None);
        }
        Err(error) => {
            assert!(error.is(Errno::EOPNOTSUPP), "{error}");
            assert_eq!(
                error.to_string(),
                "wg0: create a link of type wireguard: Operation not supported (Unknown device type)"
            );
        }
    });
}

#[test]
fn addresses_come_and_go() {
    in_namespace(|host| {
        let lo = loopback(host);
        for text in ["10.66.0.2/24", "fd66::2/64"] {
            host.add_address(&lo, prefix(text)).unwrap();
        }
        let listed = |link| -> Vec<String> {
            host.addresses(link).unwrap().iter().map(|a| a.prefix.to_string()).collect()
        };
        let mut found = listed(Some(&lo));
        found.sort();
        assert_eq!(found, ["10.66.0.2/24", "127.0.0.1/8", "::1/128", "fd66::2/64"]);
        assert_eq!(listed(None).len(), 4);

        host.delete_address(&lo, prefix("fd66::2/64")).unwrap();
        host.delete_address(&lo, prefix("10.66.0.2/24")).unwrap();
        assert!(
            host.delete_address(&lo, prefix("10.66.0.2/24")).unwrap_err().is(Errno::EADDRNOTAVAIL)
        );
        assert_eq!(listed(Some(&lo)).len(), 2);
    });
}

#[test]
fn routes_come_and_go_in_small_and_large_tables() {
    in_namespace(|host| {
        let lo = loopback(host);
        for table in [TABLE_MAIN, 1234] {
            for text in ["10.9.0.0/16", "fd99::/32", "0.0.0.0/0", "::/0"] {
                let there = || {
                    let filter = RouteFilter {
                        table: Some(table),
                        device: Some(lo.index),
                        ..RouteFilter::default()
                    };
                    host.routes(filter).unwrap().iter().any(|r| r.destination == prefix(text))
                };
                assert!(!there(), "{text} in {table}");
                host.add_route(&lo, prefix(text), table).unwrap();
                assert!(there(), "{text} in {table}");
                let again = host.add_route(&lo, prefix(text), table).unwrap_err();
                assert!(again.is(Errno::EEXIST), "{again}");
                host.delete_route(&lo, prefix(text), table).unwrap();
                assert!(!there(), "{text} in {table}");
                let again = host.delete_route(&lo, prefix(text), table).unwrap_err();
                assert!(again.is(Errno::ESRCH) || again.is(Errno::ENOENT), "{again}");
            }
        }
    });
}

#[test]
fn a_dump_holds_only_what_the_filter_lets_pass() {
    in_namespace(|host| {
        let lo = loopback(host);
        host.add_route(&lo, prefix("10.9.0.0/16"), 1234).unwrap();
        let filter = RouteFilter { table: Some(1234), ..RouteFilter::default() };
        let found = host.routes(filter).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].destination, prefix("10.9.0.0/16"));
        assert_eq!(found[0].device, Some(lo.index));
        assert_eq!(host.routes(RouteFilter { device: Some(4711), ..filter }).unwrap(), []);
        assert_eq!(host.routes(RouteFilter { family: Some(Family::Ipv6), ..filter }).unwrap(), []);
        assert_eq!(host.routes(RouteFilter { table: Some(99), ..filter }).unwrap(), []);
    });
}

#[test]
fn the_route_of_a_packet_is_the_most_specific() {
    in_namespace(|host| {
        assert_eq!(host.route_to(ip("192.0.2.1"), 0).unwrap(), None);
        assert_eq!(host.route_to(ip("2001:db8::1"), 0).unwrap(), None);
        loopback(host);
        let eth0 = veth(host);
        for text in ["192.0.2.10/24", "2001:db8::10/64"] {
            host.add_address(&eth0, prefix(text)).unwrap();
        }
        host.add_route(&eth0, prefix("0.0.0.0/0"), TABLE_MAIN).unwrap();
        run("ip route add 198.51.100.0/24 via 192.0.2.1 mtu 1300");
        run("ip route add unreachable 203.0.113.0/24");
        for (address, mtu) in [
            ("192.0.2.1", None),
            ("8.8.8.8", None),
            ("198.51.100.7", Some(1300)),
            ("2001:db8::1", None),
        ] {
            let route = host.route_to(ip(address), 0).unwrap().expect(address);
            assert_eq!((route.device, route.table), (Some(eth0.index), TABLE_MAIN), "{address}");
            assert_eq!(route.mtu, mtu, "{address}");
        }
        assert_eq!(host.route_to(ip("203.0.113.1"), 0).unwrap(), None);
        assert_eq!(host.route_to(ip("2001:db9::1"), 0).unwrap(), None);
    });
}

#[test]
fn the_kernels_own_rules_are_listed() {
    in_namespace(|host| {
        let v4: Vec<_> =
            host.rules(Family::Ipv4).unwrap().iter().map(|r| (r.priority, r.table)).collect();
        assert_eq!(v4, [(0, 255), (32766, 254), (32767, 253)]);
        let v6: Vec<_> =
            host.rules(Family::Ipv6).unwrap().iter().map(|r| (r.priority, r.table)).collect();
        assert_eq!(v6, [(0, 255), (32766, 254)]);
    });
}

#[test]
fn many_routes_are_added_at_once_and_the_first_that_fails_is_named() {
    in_namespace(|host| {
        let link = veth(host);
        let routes: Vec<_> = (0..1000_u32)
            .map(|n| (prefix(&format!("10.0.{}.{}/32", n / 256, n % 256)), TABLE_MAIN))
            .collect();
        let mut told = Vec::new();
        host.add_routes(&link, &routes, |number| told.push(number)).unwrap();
        assert_eq!(told, (0..1000).collect::<Vec<_>>());
        let filter = RouteFilter { device: Some(link.index), ..RouteFilter::default() };
        let there = host.routes(filter).unwrap();
        assert_eq!(there.iter().filter(|route| route.is_static).count(), 1000);

        let again = [(prefix("10.1.0.0/16"), 7), routes[300], (prefix("10.2.0.0/16"), 7)];
        let mut told = Vec::new();
        let error = host.add_routes(&link, &again, |number| told.push(number)).unwrap_err();
        assert!(error.is(Errno::EEXIST), "{error}");
        assert!(error.what.contains("10.0.1.44/32"), "{error}");
        assert_eq!(told, [0, 1]);
    });
}

#[test]
fn a_rule_is_added_and_removed_by_its_priority() {
    in_namespace(|host| {
        for family in [Family::Ipv4, Family::Ipv6] {
            let before = host.rules(family).unwrap();
            let next = Rule::next_priority(&before);
            let first = Rule::for_unmarked(family, next, 51820, 51820);
            let second = Rule::main_without_default(family, next - 1);
            let third = Rule::main_without_default(family, next - 2);
            for rule in [&first, &second, &third] {
                host.add_rule(rule).unwrap();
                assert!(host.rules(family).unwrap().contains(rule), "{rule:?}");
            }
            assert!(host.add_rule(&first).unwrap_err().is(Errno::EEXIST));
            host.delete_rule(&second).unwrap();
            let rules = host.rules(family).unwrap();
            assert!(rules.contains(&third) && !rules.contains(&second), "{rules:?}");
            host.delete_rule(&second).unwrap();
            host.delete_rule(&third).unwrap();
            host.delete_rule(&first).unwrap();
            assert_eq!(host.rules(family).unwrap(), before);
        }
    });
}

#[test]
fn firewall_tables_are_checked_made_and_removed() {
    in_namespace(|host| {
        let lo = loopback(host);
        let firewall = |family, address| Firewall {
            interface: lo.name.clone(),
            family,
            mark: 51820,
            addresses: vec![ip(address)],
        };
        let both = [firewall(Family::Ipv6, "fd66::2"), firewall(Family::Ipv4, "10.66.0.2")];
        if let Err(error) = check_firewall(&both[0]) {
            let reason = format!("the kernel has no nf_tables: {error}");
            let name = "firewall_tables_are_checked_made_and_removed";
            return report::cannot_run(name, &reason).unwrap();
        }
        assert_eq!(firewalls("lo").unwrap(), [], "a check makes nothing");
        for table in &both {
            add_firewall(table).unwrap();
            // In place of the first, whose name it has.
            add_firewall(table).unwrap();
        }
        assert_eq!(firewalls("lo").unwrap(), [Family::Ipv6, Family::Ipv4]);
        assert_eq!(firewalls("eth0").unwrap(), []);
        delete_firewalls("lo", &[Family::Ipv6]).unwrap();
        assert_eq!(firewalls("lo").unwrap(), [Family::Ipv4]);
        // All or none.
        delete_firewalls("lo", &[Family::Ipv4, Family::Ipv6]).unwrap_err();
        assert_eq!(firewalls("lo").unwrap(), [Family::Ipv4]);
    });
}
