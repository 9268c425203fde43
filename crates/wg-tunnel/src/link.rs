//! The interface's state, up or down and its MTU, followed over netlink (rtnetlink(7)).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use crate::engine::Engine;
use crate::link_message::{Event, HEADER_LEN, LINK_LEN, events};
use crate::tun::Tun;

/// Bytes for one netlink message; those about a link are far shorter.
const BUFFER: usize = 32768;

/// Milliseconds between two looks at an interface that no messages come from.
const PROBE_INTERVAL: u16 = 1000;

/// Where the interface is, and how its state is known.
pub(crate) enum LinkWatch {
    /// In our network namespace: the kernel tells.
    Here(Watched),
    /// In another one. A socket there would keep that namespace alive, and our sockets must stay
    /// in ours, so the device itself is asked from time to time. It does not know its MTU, and
    /// who asks there needs more rights than the daemon keeps: the last known one stays.
    Elsewhere,
    /// It was removed.
    Gone,
}

/// A socket that gets the kernel's messages about links, and which one is ours.
///
/// The kernel queues a message before the request that caused it returns, so that whoever drains
/// the socket knows the state at this moment.
pub(crate) struct Watched {
    socket: Arc<OwnedFd>,
    interface: u32,
}

impl LinkWatch {
    /// Starts to watch.
    pub(crate) fn open(tun: &Tun) -> Result<Self, Errno> {
        if tun.is_in_other_namespace() {
            return Ok(Self::Elsewhere);
        }
        let name = tun.current_name()?;
        let interface = nix::net::if_::if_nametoindex(name.as_str())?;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
        let watched = Watched { socket: Arc::new(socket), interface };
        watched.request()?;
        Ok(Self::Here(watched))
    }
}

impl Watched {
    /// Asks the kernel for a message about the link as it is.
    fn request(&self) -> Result<(), Errno> {
        let mut message = [0; HEADER_LEN + LINK_LEN];
        let length = message.len() as u32;
        message[0..4].copy_from_slice(&length.to_ne_bytes());
        message[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&self.interface.to_ne_bytes());
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).map(drop)
    }

    /// Reads all messages that wait, in order: a link that went down and up again was down.
    fn drain(&self) -> Result<Vec<Event>, Errno> {
        let mut buffer = vec![0; BUFFER];
        let mut all = Vec::new();
        let mut lost = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    all.extend(events(&buffer[..length], self.interface));
                    if all.last() == Some(&Event::Left) {
                        return Ok(all);
                    }
                }
                // Messages were lost: ask again, now that the socket has room for the answer.
                Err(Errno::EAGAIN) if lost => {
                    lost = false;
                    self.request()?;
                }
                Err(Errno::EAGAIN) => return Ok(all),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => lost = true,
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Follows the interface until the tunnel stops or the interface is removed, also into another
/// network namespace.
pub(crate) fn run(engine: &Arc<Engine>) {
    loop {
        let socket = match &*engine.link() {
            LinkWatch::Here(watched) => Some(watched.socket.clone()),
            LinkWatch::Elsewhere => None,
            LinkWatch::Gone => return,
        };
        let timeout =
            if socket.is_some() { PollTimeout::NONE } else { PollTimeout::from(PROBE_INTERVAL) };
        let fds = [Some(engine.stop_event.as_fd()), socket.as_ref().map(|socket| socket.as_fd())];
        let mut fds: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if let Err(errno) = poll(&mut fds, timeout)
            && errno != Errno::EINTR
        {
            log::error!("cannot wait for the interface's state: {}", errno.desc());
            return;
        }
        if engine.is_stopping() {
            return;
        }
        engine.sync_link();
    }
}

impl Engine {
    /// Takes over the link's state at this moment.
    pub(crate) fn sync_link(&self) {
        let mut link = self.link();
        let known_mtu = self.mtu.load(Ordering::Relaxed) as u32;
        let mut left = false;
        if let LinkWatch::Here(watched) = &*link {
            match watched.drain() {
                Ok(events) => {
                    for event in events {
                        match event {
                            Event::State { up, mtu } => self.set_link(up, mtu.unwrap_or(known_mtu)),
                            Event::Left => left = true,
                        }
                    }
                }
                Err(errno) => {
                    log::error!("cannot read the interface's state: {}", errno.desc());
                    left = true;
                }
            }
        }
        if left {
            *link = LinkWatch::Elsewhere;
        }
        if let LinkWatch::Elsewhere = &*link {
            match self.tun.is_up() {
                Some(up) => self.set_link(up, known_mtu),
                None => *link = LinkWatch::Gone,
            }
        }
    }
}
