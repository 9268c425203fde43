//! The Internet that recipes are tried on: public addresses, routers that translate them, a web
//! site, and nothing that knows private addresses.

use std::cell::Cell;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use culvert_tests::ip;
use testbed::{Host, connect};

/// One router that all public networks are joined to; it is the web site too.
pub(crate) struct Internet {
    pub(crate) host: Host,
    networks: Cell<u8>,
}

/// The web site's addresses.
pub(crate) const SITE: [&str; 2] = ["192.0.2.80", "2001:db8:80::80"];

/// The interface that leads to the Internet, on every host and router.
const UPLINK: &str = "eth0";
/// The interface of a router that leads to its own network.
const LAN: &str = "lan";

impl Internet {
    pub(crate) fn new() -> Result<Self> {
        let host = Host::new("internet")?;
        forward(&host)?;
        for (address, length) in SITE.iter().zip([32, 128]) {
            host.add_address("lo", &format!("{address}/{length}"))?;
        }
        Ok(Self { host, networks: Cell::new(0) })
    }

    /// Gives a host public addresses of both families, and default routes.
    pub(crate) fn attach(&self, host: &Host) -> Result<[IpAddr; 2]> {
        let number = self.networks.get() + 1;
        self.networks.set(number);
        let far = format!("net{number}");
        connect(&self.host, &far, host, UPLINK)?;
        let v4 = |last: u8| format!("198.51.100.{}", 4 * number + last);
        let v6 = |last: u8| format!("2001:db8:{number}::{last}");
        for (host, interface, last) in [(&self.host, far.as_str(), 1), (host, UPLINK, 2)] {
            host.add_address(interface, &format!("{}/30", v4(last)))?;
            host.add_address(interface, &format!("{}/64", v6(last)))?;
            host.wait_for_ipv6(interface)?;
        }
        for gateway in [v4(1), v6(1)] {
            host.add_default_route(ip(&gateway))?;
        }
        Ok([ip(&v4(2)), ip(&v6(2))])
    }
}

/// Takes a host off the network it is on.
pub(crate) fn detach(host: &Host) -> Result<()> {
    host.delete_link(UPLINK)
}

/// A router between the Internet and a network of its own: for IPv4 it translates addresses, and
/// in both families it lets nothing in that was not asked for.
pub(crate) struct Router {
    pub(crate) host: Host,
    /// Its public addresses.
    pub(crate) public: [IpAddr; 2],
    /// The number of its network.
    number: u8,
}

impl Router {
    /// A router whose network is 192.168.NUMBER.0/24 and 2001:db8:ff:NUMBER::/64.
    pub(crate) fn new(internet: &Internet, name: &str, number: u8) -> Result<Self> {
        Self::of(Host::new(name)?, internet, number)
    }

    /// As [`Router::new`], of a host that there is already.
    pub(crate) fn of(host: Host, internet: &Internet, number: u8) -> Result<Self> {
        let public = internet.attach(&host)?;
        forward(&host)?;
        let network = format!("2001:db8:ff:{number}::/64");
        let route = format!("ip route add {network} via {}", public[1]);
        internet.host.run(&route)?.success()?;
        let router = Self { host, public, number };
        router.rules(&firewall(&format!("ip saddr 192.168.{number}.0/24 masquerade")))?;
        Ok(router)
    }

    /// Puts a host into the router's network, with the addresses that end in 2.
    pub(crate) fn attach(&self, host: &Host) -> Result<[IpAddr; 2]> {
        connect(&self.host, LAN, host, UPLINK)?;
        for (side, interface, last) in [(&self.host, LAN, 1), (host, UPLINK, 2)] {
            let [v4, v6] = self.network(last);
            side.add_address(interface, &format!("{v4}/24"))?;
            side.add_address(interface, &format!("{v6}/64"))?;
            side.wait_for_ipv6(interface)?;
        }
        for gateway in self.network(1) {
            host.add_default_route(gateway)?;
        }
        Ok(self.network(2))
    }

    /// The addresses in the router's network that end in `last`; 1 is the router's own.
    pub(crate) fn network(&self, last: u8) -> [IpAddr; 2] {
        let number = self.number;
        [ip(&format!("192.168.{number}.{last}")), ip(&format!("2001:db8:ff:{number}::{last}"))]
    }

    /// As [`Router::new`], but every connection gets a public port by chance: what is called
    /// symmetric address translation.
    pub(crate) fn choose_ports_by_chance(&self) -> Result<()> {
        self.rules("delete table inet router\n")?;
        let rule = format!("ip saddr 192.168.{}.0/24 masquerade fully-random", self.number);
        self.rules(&firewall(&rule))
    }

    /// Lets in what comes to the port that tunnels listen on.
    pub(crate) fn open_tunnel_port(&self) -> Result<()> {
        self.rules("add rule inet router input udp dport 51820 accept\n")
    }

    /// Adds nftables rules.
    pub(crate) fn rules(&self, rules: &str) -> Result<()> {
        self.host.run_with_input("nft -f -", rules)?.success().map(drop)
    }
}

/// Makes a host forward what is not for itself.
fn forward(host: &Host) -> Result<()> {
    let set = || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    };
    host.in_network(set).context("cannot switch on forwarding")
}

/// A stateful firewall; a tunnel of the router's own is as good as its network.
fn firewall(translation: &str) -> String {
    format!(
        "table inet router {{
            chain input {{
                type filter hook input priority filter; policy drop;
                iifname != \"{UPLINK}\" accept
                ct state established,related accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                iifname != \"{UPLINK}\" accept
                ct state established,related accept
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                oifname \"{UPLINK}\" {translation}
            }}
        }}
        "
    )
}
