//! Addresses of links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};

use crate::{Error, Hostnet, Link, Prefix};

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The address and the length of its network's prefix.
    pub prefix: Prefix,
}

impl Hostnet {
    /// Gives a link an address as `ip address add ADDRESS dev LINK` does: without a broadcast
    /// address, in global scope (host scope for 127.0.0.0/8).
    ///
    /// # Errors
    /// `EEXIST` when the link has it already.
    pub fn add_address(&self, link: &Link, prefix: Prefix) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewAddress(request(link, prefix));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, || {
            format!("{}: add address {prefix}", link.name)
        })
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when the link has no such address.
    pub fn delete_address(&self, link: &Link, prefix: Prefix) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelAddress(request(link, prefix));
        self.change(message, 0, || format!("{}: delete address {prefix}", link.name))
    }

    /// The addresses of one link, or of all.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&self, link: Option<&Link>) -> Result<Vec<Address>, Error> {
        let mut request = AddressMessage::default();
        request.header.index = link.map_or(0, |link| link.index);
        let answers = self
            .dump(&RouteNetlinkMessage::GetAddress(request))
            .map_err(|cause| Error { what: "list the addresses".to_owned(), cause })?;
        Ok(answers
            .into_iter()
            .filter_map(address_from)
            .filter(|address| link.is_none_or(|link| link.index == address.link))
            .collect())
    }
}

fn request(link: &Link, prefix: Prefix) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = prefix.family().into();
    message.header.prefix_len = prefix.len;
    message.header.index = link.index;
    if prefix.address.is_loopback() && prefix.address.is_ipv4() {
        message.header.scope = AddressScope::Host;
    }
    message.attributes.push(AddressAttribute::Local(prefix.address));
    message.attributes.push(AddressAttribute::Address(prefix.address));
    message
}

fn address_from(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // On a point-to-point link ADDRESS is the peer's; IPv6 has LOCAL only when there is a peer.
    let mut local = None;
    let mut address: Option<IpAddr> = None;
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            _ => {}
        }
    }
    Some(Address {
        link: message.header.index,
        prefix: Prefix::new(local.or(address)?, message.header.prefix_len),
    })
}
