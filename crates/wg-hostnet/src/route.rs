//! Routes: adding, removing, dumping, and asking which one a packet takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use crate::socket::{Socket, frame};
use crate::{Cause, Error, Family, Hostnet, Link, Prefix};

/// A route as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The addresses it is for.
    pub destination: Prefix,
    /// The number of its table.
    pub table: u32,
    /// The index of the link that packets leave by; none for unreachable and multipath routes.
    pub device: Option<u32>,
    /// Whether somebody added it as [`Hostnet::add_route`] does (protocol boot), rather than the
    /// kernel or a routing daemon.
    pub is_static: bool,
    /// The path MTU in bytes, when the route (or what the kernel learnt about the path) has one.
    pub mtu: Option<u32>,
}

/// Which routes to dump; the default is every route.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteFilter {
    /// Only this family.
    pub family: Option<Family>,
    /// Only this table.
    pub table: Option<u32>,
    /// Only routes that leave by the link of this index.
    pub device: Option<u32>,
}

impl Hostnet {
    /// Adds a route as `ip route add PREFIX dev LINK table TABLE` does: protocol boot; for IPv4
    /// link scope; for IPv6 the kernel's metric of 1024.
    ///
    /// # Errors
    /// `EEXIST` when there is one, `ENETDOWN` when the link is down.
    pub fn add_route(&self, link: &Link, prefix: Prefix, table: u32) -> Result<(), Error> {
        self.change(new_route(link, prefix, table), NLM_F_CREATE | NLM_F_EXCL, || {
            adding(link, prefix, table)
        })
    }

    /// Adds routes as [`Hostnet::add_route`] does, many in one system call. `each` is told of every
    /// route that was tried, in order, up to the first that failed; some after that one may be there
    /// all the same.
    ///
    /// # Errors
    /// The first route's that fails.
    pub fn add_routes(
        &self,
        link: &Link,
        routes: &[(Prefix, u32)],
        mut each: impl FnMut(usize),
    ) -> Result<(), Error> {
        let what = || format!("{}: add routes", link.name);
        let socket = Socket::open(NETLINK_ROUTE).map_err(|cause| Error { what: what(), cause })?;
        for (batch, part) in routes.chunks(BATCH).enumerate() {
            let mut frames = Vec::new();
            for (number, (prefix, table)) in part.iter().enumerate() {
                // An error is always answered; of the successes the last one's answer will do.
                let ack = if number + 1 == part.len() { NLM_F_ACK } else { 0 };
                let flags = NLM_F_CREATE | NLM_F_EXCL | ack;
                frame(&mut frames, new_route(link, *prefix, *table), flags, number as u32);
            }
            let answers = socket.send(&frames).and_then(|()| socket.answers());
            let answers = answers.map_err(|cause| Error { what: what(), cause })?;
            let failure = answers
                .iter()
                .filter_map(|answer| Some((answer.number, answer.outcome.as_ref().err()?)))
                .min_by_key(|(number, _)| *number);
            let tried = failure.map_or(part.len(), |(number, _)| number as usize + 1);
            (0..tried).for_each(|number| each(batch * BATCH + number));
            if let Some((number, cause)) = failure {
                let (prefix, table) = part[number as usize];
                return Err(Error { what: adding(link, prefix, table), cause: cause.clone() });
            }
            if answers.is_empty() {
                let cause = Cause::Socket("no answer".to_owned());
                return Err(Error { what: what(), cause });
            }
        }
        Ok(())
    }

    /// Removes a route that [`Hostnet::add_route`] added.
    ///
    /// # Errors
    /// `ESRCH` (IPv6 defaults: `ENOENT`) when there is no such route.
    pub fn delete_route(&self, link: &Link, prefix: Prefix, table: u32) -> Result<(), Error> {
        let mut message = request(link, prefix, table);
        message.header.scope = RouteScope::NoWhere;
        // Never the one that an address of the link has brought.
        message.header.protocol = RouteProtocol::Boot;
        self.change(RouteNetlinkMessage::DelRoute(message), 0, || {
            format!("{}: delete route {prefix} in table {table}", link.name)
        })
    }

    /// The routes that pass the filter, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel does not answer. A table that does not exist has no routes.
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, Error> {
        let families = match filter.family {
            Some(family) => vec![family],
            None => vec![Family::Ipv4, Family::Ipv6],
        };
        let mut routes = Vec::new();
        for family in families {
            routes.extend(self.routes_of(family, filter)?);
        }
        Ok(routes)
    }

    fn routes_of(&self, family: Family, filter: RouteFilter) -> Result<Vec<Route>, Error> {
        let mut request = RouteMessage::default();
        request.header.address_family = family.into();
        request.attributes.extend(filter.table.map(RouteAttribute::Table));
        request.attributes.extend(filter.device.map(RouteAttribute::Oif));
        let answers = match self.dump(&RouteNetlinkMessage::GetRoute(request)) {
            Ok(answers) => answers,
            Err(cause) => {
                let error = Error { what: "list the routes".to_owned(), cause };
                return if error.is(Errno::ENOENT) { Ok(Vec::new()) } else { Err(error) };
            }
        };
        Ok(answers
            .into_iter()
            .filter_map(route_from)
            .filter(|route| filter.table.is_none_or(|table| table == route.table))
            .filter(|route| filter.device.is_none_or(|device| Some(device) == route.device))
            .collect())
    }

    /// The route of a packet with this mark (0: none) to this address, as `ip route get` finds it;
    /// `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn route_to(&self, destination: IpAddr, mark: u32) -> Result<Option<Route>, Error> {
        let prefix = Prefix::new(destination, if destination.is_ipv4() { 32 } else { 128 });
        let mut request = RouteMessage::default();
        request.header.address_family = prefix.family().into();
        request.header.destination_prefix_length = prefix.len;
        if destination.is_ipv4() {
            // IPv6 always says the table, and refuses the flag.
            request.header.flags = RouteFlags::LookupTable;
        }
        request.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
        if mark != 0 {
            request.attributes.push(RouteAttribute::Mark(mark));
        }
        match self.get(RouteNetlinkMessage::GetRoute(request)) {
            Ok(RouteNetlinkMessage::NewRoute(message)) => Ok(parse(message)),
            Ok(_) => Ok(None),
            Err(cause) => {
                let error = Error { what: format!("find the route to {destination}"), cause };
                // Besides "no route" these are what an unreachable, prohibit or blackhole route and
                // a kernel without this family answer.
                let nowhere = [
                    Errno::ENETUNREACH,
                    Errno::EHOSTUNREACH,
                    Errno::EACCES,
                    Errno::EINVAL,
                    Errno::EAFNOSUPPORT,
                    Errno::EOPNOTSUPP,
                ];
                if nowhere.iter().any(|errno| error.is(*errno)) { Ok(None) } else { Err(error) }
            }
        }
    }
}

/// Requests that go together: their answers, should all of them fail, fit the socket's buffer.
const BATCH: usize = 128;

fn new_route(link: &Link, prefix: Prefix, table: u32) -> RouteNetlinkMessage {
    let mut message = request(link, prefix, table);
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match prefix.family() {
        Family::Ipv4 => RouteScope::Link,
        Family::Ipv6 => RouteScope::Universe,
    };
    RouteNetlinkMessage::NewRoute(message)
}

fn adding(link: &Link, prefix: Prefix, table: u32) -> String {
    format!("{}: add route {prefix} in table {table}", link.name)
}

fn request(link: &Link, prefix: Prefix, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = prefix.family().into();
    message.header.destination_prefix_length = prefix.len;
    match u8::try_from(table) {
        Ok(table) => message.header.table = table,
        Err(_) => {
            message.header.table = RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(table));
        }
    }
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.address)));
    message.attributes.push(RouteAttribute::Oif(link.index));
    message
}

fn route_from(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    // Without strict checking, a dump of IPv6 also holds what the kernel learnt about single paths.
    (!message.header.flags.contains(RouteFlags::Cloned)).then(|| parse(message)).flatten()
}

fn parse(message: RouteMessage) -> Option<Route> {
    let any: IpAddr = match message.header.address_family {
        netlink_packet_route::AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        netlink_packet_route::AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = Route {
        destination: Prefix::new(any, message.header.destination_prefix_length),
        table: message.header.table.into(),
        device: None,
        is_static: message.header.protocol == RouteProtocol::Boot,
        mtu: None,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => {
                route.destination.address = ip.into();
            }
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => {
                route.destination.address = ip.into();
            }
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Oif(index) => route.device = Some(index),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.into_iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(route)
}
