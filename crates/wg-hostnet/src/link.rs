//! Network interfaces.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::errno::Errno;

use crate::{Error, Hostnet};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number by which the kernel knows it.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its kind, such as `wireguard`, `tun` or `veth`; a physical device has none.
    pub kind: Option<String>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

impl Hostnet {
    /// The link of this name, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(request, name)
    }

    /// The link of this index, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        self.one_link(request, &format!("interface {index}"))
    }

    fn one_link(&self, request: LinkMessage, who: &str) -> Result<Option<Link>, Error> {
        match self.get(RouteNetlinkMessage::GetLink(request)) {
            Ok(answer) => Ok(link_from(answer)),
            Err(cause) => {
                let error = Error { what: format!("{who}: show the link"), cause };
                if error.is(Errno::ENODEV) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .map(|answers| answers.into_iter().filter_map(link_from).collect())
            .map_err(|cause| Error { what: "list the links".to_owned(), cause })
    }

    /// Creates a link of kind `wireguard`, as `ip link add dev NAME type wireguard` does.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, `EOPNOTSUPP` when the kernel has no WireGuard.
    pub fn create_wireguard(&self, name: &str) -> Result<(), Error> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        request.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]));
        self.change(RouteNetlinkMessage::NewLink(request), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("{name}: create a link of type wireguard")
        })
    }

    /// Removes a link with all its addresses and routes.
    ///
    /// # Errors
    /// `ENODEV` when it is gone already.
    pub fn delete_link(&self, link: &Link) -> Result<(), Error> {
        let mut request = LinkMessage::default();
        request.header.index = link.index;
        self.change(RouteNetlinkMessage::DelLink(request), 0, || {
            format!("{}: delete the link", link.name)
        })
    }

    /// Sets a link's MTU in bytes and brings it up, in one request.
    ///
    /// # Errors
    /// When the MTU is outside the device's limits, among others.
    pub fn set_mtu_and_up(&self, link: &Link, mtu: u32) -> Result<(), Error> {
        let mut request = LinkMessage::default();
        request.header.index = link.index;
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        request.attributes.push(LinkAttribute::Mtu(mtu));
        self.change(RouteNetlinkMessage::NewLink(request), 0, || {
            format!("{}: set mtu {mtu} and bring the link up", link.name)
        })
    }
}

fn link_from(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}
