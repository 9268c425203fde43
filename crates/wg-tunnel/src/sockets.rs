//! The UDP sockets of a tunnel: IPv4 and IPv6 on one port, each with one for every lane.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind,
    getsockname, getsockopt, setsockopt, shutdown, socket, sockopt,
};

use crate::datagrams::{Datagram, SendFailure, Sender};
use crate::handshake_inlets;
use crate::lanes::Lanes;
use crate::offloads::Offloads;
use crate::port_filter::PortFilter;
use crate::shared_port::{Shares, share};
use crate::turns::Turns;

/// A socket, which one worker receives from or several.
pub(crate) struct Inlet {
    fd: OwnedFd,
    /// The lane whose data comes to it. `None` where handshake messages come to.
    pub(crate) lane: Option<usize>,
    pub(crate) turns: Turns,
}

/// The sockets of one family.
struct Family {
    /// One for each lane, then those for handshake messages; or one for all where the kernel
    /// cannot tell datagrams apart.
    inlets: Vec<Inlet>,
    /// What tells datagrams apart.
    filter: PortFilter,
    /// Whether they know `UDP_SEGMENT`.
    segments: AtomicBool,
}

/// Bytes of socket buffer asked for, as in wireguard-go: a burst at full speed fits.
const BUFFER: usize = 7 << 20;
/// Attempts to find one port that is free in both families.
const PORT_ATTEMPTS: usize = 100;

/// Bound sockets of both families, or of one where the kernel has one family only.
pub(crate) struct Sockets {
    v4: Option<Family>,
    v6: Option<Family>,
    port: u16,
    closed: AtomicBool,
}

impl Sockets {
    /// Binds both families to `port`, or to any one that is free for 0.
    ///
    /// # Errors
    /// The kernel's refusal: the port is taken, or there is no permission for the mark.
    pub(crate) fn bind(
        port: u16,
        fwmark: u32,
        offloads: Offloads,
        lanes: Lanes,
    ) -> Result<Self, Errno> {
        for _ in 0..PORT_ATTEMPTS {
            match Self::bind_once(port, fwmark, offloads, lanes) {
                Err(Errno::EADDRINUSE) if port == 0 => {}
                result => return result,
            }
        }
        Err(Errno::EADDRINUSE)
    }

    fn bind_once(port: u16, fwmark: u32, offloads: Offloads, lanes: Lanes) -> Result<Self, Errno> {
        let any4 = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        let v4 = present(open(AddressFamily::Inet, &any4, fwmark, offloads, lanes))?;
        let port = match &v4 {
            Some(family) => getsockname::<SockaddrIn>(family.socket(0).as_raw_fd())?.port(),
            None => port,
        };
        let any6 = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
        let v6 = present(open(AddressFamily::Inet6, &any6, fwmark, offloads, lanes))?;
        let port = match (&v4, &v6) {
            (None, None) => return Err(Errno::EAFNOSUPPORT),
            (None, Some(family)) => {
                getsockname::<SockaddrIn6>(family.socket(0).as_raw_fd())?.port()
            }
            _ => port,
        };
        Ok(Self { v4, v6, port, closed: AtomicBool::new(false) })
    }

    /// The port that both are bound to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The sockets that there are.
    pub(crate) fn inlets(&self) -> impl Iterator<Item = &Inlet> {
        [&self.v4, &self.v6].into_iter().flatten().flat_map(|family| &family.inlets)
    }

    /// The sockets of one family, none where the kernel has not got it.
    pub(crate) fn inlets_of(&self, family: AddressFamily) -> impl Iterator<Item = &Inlet> {
        self.family(family).into_iter().flat_map(|family| &family.inlets)
    }

    /// Gives each source another of the sockets for handshake messages, at random.
    pub(crate) fn spread_handshakes(&self, family: AddressFamily) {
        if let Some(family) = self.family(family)
            && let Err(errno) = family.filter.attach(&family.inlets[0].fd)
        {
            log::debug!("sources stay with their sockets: {}", errno.desc());
        }
    }

    fn family(&self, family: AddressFamily) -> Option<&Family> {
        if family == AddressFamily::Inet { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Marks the packets to come.
    pub(crate) fn set_fwmark(&self, fwmark: u32) -> Result<(), Errno> {
        self.inlets().try_for_each(|inlet| setsockopt(&inlet.fd, sockopt::Mark, &fwmark))
    }

    /// Wakes the threads that wait for datagrams; they find [`Sockets::is_closed`]. Sending
    /// works until the last owner is gone.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for inlet in self.inlets() {
            // Says ENOTCONN of an unconnected socket, and wakes all the same.
            let _ = shutdown(inlet.fd.as_raw_fd(), Shutdown::Read);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sends datagrams in order by a lane's sockets; `failed` is told the position of each that
    /// went wrong.
    pub(crate) fn send<'a>(
        &self,
        lane: usize,
        sender: &mut Sender,
        datagrams: &(impl Iterator<Item = Datagram<'a>> + Clone),
        mut failed: impl FnMut(usize, SendFailure),
    ) {
        for (family_is_v4, family) in [(true, &self.v4), (false, &self.v6)] {
            let ours = datagrams
                .clone()
                .enumerate()
                .filter(|(_, datagram)| datagram.endpoint.address.is_ipv4() == family_is_v4);
            match family {
                Some(family) => {
                    sender.send(family.socket(lane), &family.segments, ours, &mut failed);
                }
                None => {
                    ours.for_each(|(i, _)| failed(i, SendFailure::Dropped(Errno::EAFNOSUPPORT)));
                }
            }
        }
    }
}

impl Family {
    /// The socket of a lane. Where lanes share one it is the first.
    fn socket(&self, lane: usize) -> BorrowedFd<'_> {
        let own = self.inlets.get(lane).filter(|inlet| inlet.lane.is_some());
        own.unwrap_or(&self.inlets[0]).fd.as_fd()
    }
}

impl AsFd for Inlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A missing family is no error.
fn present(family: Result<Family, Errno>) -> Result<Option<Family>, Errno> {
    match family {
        Err(Errno::EAFNOSUPPORT) => Ok(None),
        other => other.map(Some),
    }
}

fn open(
    family: AddressFamily,
    any: &dyn SockaddrLike,
    fwmark: u32,
    offloads: Offloads,
    lanes: Lanes,
) -> Result<Family, Errno> {
    let data = || configure(family, fwmark).inspect(enlarge_buffers);
    let first = data()?;
    let segments = offloads.gso && sends_segments(first.as_fd());
    let bulk = offloads.gro && receive_in_bulk(first.as_fd());
    bind(first.as_raw_fd(), any)?;
    let filter =
        PortFilter { family, lanes: lanes.count(), handshake_bits: handshake_inlets::BITS };
    let Shares { data: more, handshakes } =
        share(&first, filter, data, || configure(family, fwmark), bulk).unwrap_or_else(|errno| {
            log::warn!(
                "one {family:?} socket for all, which a flood of handshakes can fill: {}",
                errno.desc()
            );
            Shares::default()
        });
    log::debug!("offloads of the {family:?} sockets: sending {segments}, receiving {bulk}");
    let inlet = |fd, lane| Inlet { fd, lane, turns: Turns::default() };
    let data = [first].into_iter().chain(more).enumerate().map(|(lane, fd)| inlet(fd, Some(lane)));
    let inlets = data.chain(handshakes.into_iter().map(|fd| inlet(fd, None))).collect();
    Ok(Family { inlets, filter, segments: AtomicBool::new(segments) })
}

fn configure(family: AddressFamily, fwmark: u32) -> Result<OwnedFd, Errno> {
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&fd, sockopt::Ipv6RecvTClass, &true)?;
    } else {
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        allow_fragments(fd.as_fd())?;
        setsockopt(&fd, sockopt::IpRecvTos, &true)?;
    }
    if fwmark != 0 {
        setsockopt(&fd, sockopt::Mark, &fwmark)?;
    }
    Ok(fd)
}

/// Whether the kernel knows `UDP_SEGMENT` (Linux 4.18). One that does not would ignore it in a
/// control message, and send one datagram of 64 KiB.
fn sends_segments(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::UdpGsoSegment).is_ok()
}

/// Asks for datagrams in bulk (Linux 5.0); whether they will come.
pub(crate) fn receive_in_bulk(fd: BorrowedFd<'_>) -> bool {
    setsockopt(&fd, sockopt::UdpGroSegment, &true).is_ok()
}

/// Beyond the host's limit where we may, up to it otherwise; neither is needed to work.
fn enlarge_buffers(fd: &OwnedFd) {
    if setsockopt(fd, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(fd, sockopt::RcvBuf, &BUFFER);
    }
    if setsockopt(fd, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = setsockopt(fd, sockopt::SndBuf, &BUFFER);
    }
}

/// No "don't fragment" bit on the outside, as in the kernel: a router on the way may cut what is
/// too long for it instead of dropping it silently.
pub(crate) fn allow_fragments(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let value: libc::c_int = libc::IP_PMTUDISC_DONT;
    // SAFETY: the value is a live c_int, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn port_0_finds_one_port_for_both_families() {
        let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::default()).unwrap();
        assert_ne!(sockets.port(), 0);
        assert!(Sockets::bind(sockets.port(), 0, Offloads::default(), Lanes::default()).is_err());
    }

    /// Whoever shares a socket with a flood does not do so at the next attempt.
    #[test]
    fn sources_are_spread_anew_over_the_sockets_for_handshakes() {
        let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::ONE).unwrap();
        let senders: Vec<_> = (1..=64)
            .map(|host| UdpSocket::bind((Ipv4Addr::new(127, 0, 9, host), 0)).unwrap())
            .collect();
        let inlets: Vec<_> = sockets.inlets_of(AddressFamily::Inet).collect();
        assert_eq!(inlets.len(), 1 + (1 << handshake_inlets::BITS));
        let mut batch = crate::received::ReceivedBatch::new();
        let mut inlets_of_senders = || -> Vec<usize> {
            let mut inlet_of = |sender: &UdpSocket| {
                sender.send_to(&[1; 148], (Ipv4Addr::LOCALHOST, sockets.port())).unwrap();
                let mut is_there = |inlet: &&Inlet| batch.receive_waiting(inlet.as_fd()) == Ok(1);
                let find = || inlets.iter().position(&mut is_there);
                let inlet = testbed::eventually("the message", PATIENCE, find).unwrap();
                assert_eq!(inlets[inlet].lane, None);
                inlet
            };
            senders.iter().map(&mut inlet_of).collect()
        };
        let before = inlets_of_senders();
        assert!(before.iter().any(|inlet| *inlet != before[0]), "all have one: {before:?}");
        assert_eq!(inlets_of_senders(), before);
        sockets.spread_handshakes(AddressFamily::Inet);
        assert_ne!(inlets_of_senders(), before);
    }

    #[test]
    fn what_is_for_many_comes_to_every_socket_and_is_known() {
        let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::ONE).unwrap();
        let [v4, v6] = ["0.0.0.0", "::"].map(|any| UdpSocket::bind((any, 0)).unwrap());
        v4.set_broadcast(true).unwrap();
        let mut batch = crate::received::ReceivedBatch::new();
        for (sender, to, is_for_many) in
            [(&v4, "127.0.0.1", false), (&v4, "127.255.255.255", true), (&v6, "::1", false)]
        {
            sender.send_to(&[1; 148], (to, sockets.port())).unwrap();
            let count = if is_for_many { 1 + (1 << handshake_inlets::BITS) } else { 1 };
            let mut received = Vec::new();
            let mut receive = || {
                for inlet in sockets.inlets() {
                    if batch.receive_waiting(inlet.as_fd()) == Ok(1) {
                        received.push(batch.is_for_many(0));
                    }
                }
                (received.len() >= count).then_some(())
            };
            testbed::eventually("all that was sent", PATIENCE, &mut receive).unwrap();
            assert_eq!(received, vec![is_for_many; count], "{to}");
        }
    }

    #[test]
    fn closing_wakes_a_thread_that_waits() {
        let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::default()).unwrap();
        std::thread::scope(|scope| {
            for inlet in sockets.inlets() {
                let sockets = &sockets;
                scope.spawn(move || {
                    let mut batch = crate::received::ReceivedBatch::new();
                    while !sockets.is_closed() {
                        batch.receive(inlet.as_fd()).unwrap();
                    }
                });
            }
            sockets.close();
        });
    }
}
