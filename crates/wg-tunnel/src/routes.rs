//! Source addresses that follow the routes (rtnetlink(7)).
//!
//! A peer is answered from the address that it sent to, until the host's route to it leaves by
//! another interface: the next hop may drop that source there. The kernel's WireGuard compares
//! for every packet (`send4`, `send6` in `socket.c`); here it is done when routes change.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use crate::endpoint::{Endpoint, Source};
use crate::engine::Engine;

/// Bytes for one netlink message; those about a route are far shorter.
const BUFFER: usize = 32768;
const HEADER_LEN: usize = size_of::<libc::nlmsghdr>();
/// Bytes of `struct rtmsg`.
const ROUTE_LEN: usize = 12;

/// Sockets about the routes of the namespace that the tunnel's sockets are in.
pub(crate) struct Routes {
    /// Becomes readable when a route or a rule has changed.
    changes: OwnedFd,
    /// For questions.
    lookup: OwnedFd,
}

impl Routes {
    pub(crate) fn open() -> Result<Self, Errno> {
        let groups = [
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_IPV6_ROUTE,
            libc::RTNLGRP_IPV6_RULE,
        ];
        let groups = groups.iter().fold(0, |groups, group| groups | 1 << (group - 1));
        Ok(Self { changes: open(groups)?, lookup: open(0)? })
    }

    /// Follows the routes until the tunnel stops.
    pub(crate) fn run(&self, engine: &Arc<Engine>) {
        loop {
            let mut fds = [&engine.stop_event.as_fd(), &self.changes.as_fd()]
                .map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    log::error!("cannot wait for the routes: {}", errno.desc());
                    return;
                }
            }
            if engine.is_stopping() {
                return;
            }
            match self.changed() {
                Ok(true) => self.check_sources(engine),
                Ok(false) => {}
                Err(errno) => {
                    log::error!("cannot follow the routes: {}", errno.desc());
                    return;
                }
            }
        }
    }

    /// Reads what waits; whether anything did.
    fn changed(&self) -> Result<bool, Errno> {
        let mut buffer = [0; BUFFER];
        let mut any = false;
        loop {
            match recv(self.changes.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // ENOBUFS: messages were lost.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(any),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Lets the kernel choose the source for those peers that are now reached by another way.
    fn check_sources(&self, engine: &Engine) {
        let (peers, fwmark) = {
            let configuration = engine.configuration();
            let peers = configuration.peers.values().map(|configured| configured.peer.clone());
            (peers.collect::<Vec<_>>(), configuration.fwmark)
        };
        for peer in peers {
            if engine.is_stopping() {
                return;
            }
            let Some(endpoint) = peer.endpoint() else { continue };
            let Some(source) = endpoint.source else { continue };
            match self.interface(&endpoint, &source, fwmark) {
                Ok(interface) if interface == source.interface => {}
                // No way at all from this address: there may be one from another.
                Ok(_) | Err(_) => peer.clear_source(),
            }
        }
    }

    /// The interface by which packets from `source` to `endpoint` leave.
    fn interface(&self, endpoint: &Endpoint, source: &Source, fwmark: u32) -> Result<u32, Errno> {
        send(self.lookup.as_raw_fd(), &question(endpoint, source, fwmark), MsgFlags::empty())?;
        let mut buffer = [0; 4096];
        loop {
            match recv(self.lookup.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => return answer(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn open(groups: u32) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// `RTM_GETROUTE` for a packet of the tunnel.
fn question(endpoint: &Endpoint, source: &Source, fwmark: u32) -> Vec<u8> {
    let mut message = vec![0; HEADER_LEN + ROUTE_LEN];
    message[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    let (family, bits) =
        if endpoint.address.is_ipv4() { (libc::AF_INET, 32) } else { (libc::AF_INET6, 128) };
    message[HEADER_LEN..HEADER_LEN + 3].copy_from_slice(&[family as u8, bits, bits]);
    let mut attribute = |kind: u16, value: &[u8]| {
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    };
    for (kind, ip) in [(libc::RTA_DST, endpoint.address.ip()), (libc::RTA_SRC, source.address)] {
        match ip {
            IpAddr::V4(v4) => attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => attribute(kind, &v6.octets()),
        }
    }
    attribute(libc::RTA_MARK, &fwmark.to_ne_bytes());
    // A link-local address means nothing without.
    if let std::net::SocketAddr::V6(v6) = endpoint.address
        && v6.scope_id() != 0
    {
        attribute(libc::RTA_OIF, &v6.scope_id().to_ne_bytes());
    }
    let length = message.len() as u32;
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The interface in the answer, or the kernel's error.
fn answer(message: &[u8]) -> Result<u32, Errno> {
    let Some((header, body)) = message.split_at_checked(HEADER_LEN) else {
        return Err(Errno::EBADMSG);
    };
    match u16::from_ne_bytes([header[4], header[5]]) {
        libc::RTM_NEWROUTE => {
            let mut attributes = body.get(ROUTE_LEN..).unwrap_or_default();
            while let [a, b, c, d, ..] = *attributes {
                let length = usize::from(u16::from_ne_bytes([a, b]));
                let value = attributes.get(4..length).ok_or(Errno::EBADMSG)?;
                if u16::from_ne_bytes([c, d]) == libc::RTA_OIF
                    && let Ok(value) = value.try_into()
                {
                    return Ok(u32::from_ne_bytes(value));
                }
                attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            Err(Errno::EBADMSG)
        }
        kind if libc::c_int::from(kind) == libc::NLMSG_ERROR => {
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            Err(Errno::from_raw(code.saturating_neg()))
        }
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_says_by_which_interface_packets_leave() {
        let routes = Routes::open().unwrap();
        let loopback = nix::net::if_::if_nametoindex("lo").unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let source = Source { address: ip, interface: loopback };
            let endpoint = Endpoint::from(std::net::SocketAddr::new(ip, 1));
            assert_eq!(routes.interface(&endpoint, &source, 0), Ok(loopback));
        }
        let source = Source { address: "192.0.2.77".parse().unwrap(), interface: loopback };
        let endpoint = Endpoint::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(routes.interface(&endpoint, &source, 0).is_err(), "not our address");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes);
            if let Some(kind) = bytes.get_mut(4..6) {
                kind.copy_from_slice(&libc::RTM_NEWROUTE.to_ne_bytes());
                let _ = answer(&bytes);
            }
        }
    }
}
