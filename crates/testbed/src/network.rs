//! What joins hosts: cables, addresses, routes.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::net::if_::if_nametoindex;

use crate::netlink::change;
use crate::{Host, eventually};

/// Joins two hosts by a cable, a veth pair with an MTU of 1500 bytes; both ends are up and have
/// their link-local addresses.
///
/// # Errors
/// When an interface of that name exists already.
pub fn connect(a: &Host, a_name: &str, b: &Host, b_name: &str) -> Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(b_name.to_owned()));
    peer.attributes.push(LinkAttribute::NetNsFd(b.namespaces().network().as_raw_fd()));
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(a_name.to_owned()));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    a.in_network(|| change(RouteNetlinkMessage::NewLink(link)))
        .with_context(|| format!("cannot join {} {a_name} and {} {b_name}", a.name(), b.name()))?;
    a.set_up(a_name)?;
    b.set_up(b_name)?;
    a.wait_for_ipv6(a_name)?;
    b.wait_for_ipv6(b_name)
}

impl Host {
    /// Adds an address with the length of its network, as `192.0.2.1/24`, usable at once.
    ///
    /// # Errors
    /// When the text is no address, or with the kernel's reason.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let parse = || -> Result<(IpAddr, u8)> {
            let (ip, length) = address.split_once('/').context("a length is missing")?;
            Ok((ip.parse()?, length.parse()?))
        };
        let add = || {
            let (ip, length) = parse()?;
            let mut message = AddressMessage::default();
            message.header.family = family(ip);
            message.header.prefix_len = length;
            message.header.index = index(interface)?;
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Local(ip));
            message.attributes.push(AddressAttribute::Address(ip));
            change(RouteNetlinkMessage::NewAddress(message))
        };
        self.in_network(add)
            .with_context(|| format!("cannot add {address} to {interface} of {}", self.name()))
    }

    /// Adds a default route over `gateway` in the main table.
    ///
    /// # Errors
    /// When the gateway cannot be reached directly, or there is such a route already.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Gateway(match gateway {
            IpAddr::V4(ip) => RouteAddress::Inet(ip),
            IpAddr::V6(ip) => RouteAddress::Inet6(ip),
        }));
        self.in_network(|| change(RouteNetlinkMessage::NewRoute(message)))
            .with_context(|| format!("cannot route {} over {gateway}", self.name()))
    }

    /// Sets the MTU of an interface, in bytes.
    ///
    /// # Errors
    /// When there is no such interface, or it does not take that MTU.
    pub fn set_mtu(&self, interface: &str, mtu: u32) -> Result<()> {
        self.change_link(interface, |link| link.attributes.push(LinkAttribute::Mtu(mtu)))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_up(&self, interface: &str) -> Result<()> {
        self.change_link(interface, |link| {
            link.header.flags = LinkFlags::Up;
            link.header.change_mask = LinkFlags::Up;
        })
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn delete_link(&self, interface: &str) -> Result<()> {
        let delete = || {
            let mut link = LinkMessage::default();
            link.header.index = index(interface)?;
            change(RouteNetlinkMessage::DelLink(link))
        };
        self.in_network(delete)
            .with_context(|| format!("cannot remove {interface} of {}", self.name()))
    }

    /// The interfaces there are, in the kernel's order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let list = || -> Result<Vec<String>> {
            let names = nix::net::if_::if_nameindex()?;
            Ok(names.iter().map(|entry| entry.name().to_string_lossy().into_owned()).collect())
        };
        self.in_network(list)
    }

    /// The addresses of an interface, link-local ones aside.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn addresses(&self, interface: &str) -> Result<Vec<IpAddr>> {
        let list = || -> Result<Vec<IpAddr>> {
            let mut addresses = Vec::new();
            for entry in
                nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == interface)
            {
                let Some(address) = entry.address else { continue };
                if let Some(v4) = address.as_sockaddr_in() {
                    addresses.push(IpAddr::V4(v4.ip()));
                } else if let Some(v6) = address.as_sockaddr_in6()
                    && !v6.ip().is_unicast_link_local()
                {
                    addresses.push(IpAddr::V6(v6.ip()));
                }
            }
            Ok(addresses)
        };
        self.in_network(list)
    }

    /// Waits until an interface has an IPv6 address, be it link-local, and each has its route: the
    /// kernel does that in its own time.
    ///
    /// # Errors
    /// When that does not happen within seconds, as on an interface that is down.
    pub fn wait_for_ipv6(&self, interface: &str) -> Result<()> {
        let settled = || {
            let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").ok()?;
            let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").ok()?;
            // Lines as `fe80…01 02 40 20 80     eth0`: address, index, length, scope, flags, name.
            let fields = addresses.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let own = fields.filter(|line| line.last() == Some(&interface)).map(|line| line[0]);
            let own: Vec<_> = own.collect();
            // Lines as `fe80…01 80 …`: target, length in bits, and more.
            let routed = |address: &&str| routes.contains(&format!("{address} 80 "));
            (!own.is_empty() && own.iter().all(routed)).then_some(())
        };
        let what = format!("the IPv6 addresses of {interface} of {}", self.name());
        self.in_network(|| eventually(&what, Duration::from_secs(20), settled))
    }

    fn change_link(
        &self,
        interface: &str,
        edit: impl FnOnce(&mut LinkMessage) + Send,
    ) -> Result<()> {
        let set = || {
            let mut link = LinkMessage::default();
            link.header.index = index(interface)?;
            edit(&mut link);
            change(RouteNetlinkMessage::SetLink(link))
        };
        self.in_network(set).with_context(|| format!("cannot set {interface} of {}", self.name()))
    }
}

/// Makes a new host's network usable and still: the loopback interface is up, IPv6 is on, and
/// neither duplicate address detection nor router discovery changes anything later.
pub(crate) fn prepare(host: &Host) -> Result<()> {
    let settings = || {
        for (name, value) in [
            ("ipv6/conf/all/disable_ipv6", "0"),
            ("ipv6/conf/default/disable_ipv6", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            ("ipv4/ping_group_range", "0 0"),
        ] {
            // Whatever is missing here is missed where it is needed.
            let _ = fs::write(format!("/proc/sys/net/{name}"), value);
        }
    };
    host.in_network(settings);
    host.set_up("lo")
}

fn index(interface: &str) -> Result<u32> {
    if_nametoindex(interface).map_err(|errno| anyhow!(errno.desc()))
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
