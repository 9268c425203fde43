//! The sockets that share a port: one for the data of each lane, and some for all that is not data.
//!
//! In one socket a flood of handshake messages would take the room that data waits in, and what
//! belongs together could not be kept together by several who read from it. So several sockets
//! share the port (`SO_REUSEPORT`, socket(7)), and a filter in the kernel says which of them a
//! datagram is for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, bind, getsockname, setsockopt, sockopt};

use crate::port_filter::PortFilter;
use crate::sockets::receive_in_bulk;

/// Bytes of buffer asked for, all sockets for handshake messages together: a few thousand
/// messages, as in the kernel's queue. A longer one would not carry more, only older ones.
const BUFFER: usize = 4 << 20;

/// What shares a port with the first lane's socket.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// The sockets of the other lanes.
    pub(crate) data: Vec<OwnedFd>,
    pub(crate) handshakes: Vec<OwnedFd>,
}

/// Binds sockets for the other lanes, made by `data`, and those for handshakes, made by
/// `configure`, to the address of the first lane's, and lets the kernel tell datagrams apart by
/// `filter`. Each takes any datagram all the same: until the filter is there they may come to any.
///
/// # Errors
/// The kernel's refusal; `first` works as before, for all lanes.
pub(crate) fn share(
    first: &OwnedFd,
    filter: PortFilter,
    data: impl Fn() -> Result<OwnedFd, Errno>,
    configure: impl Fn() -> Result<OwnedFd, Errno>,
    bulk: bool,
) -> Result<Shares, Errno> {
    let data: Vec<_> = (1..filter.lanes).map(|_| data()).collect::<Result<_, _>>()?;
    let handshakes: Vec<_> =
        (0..1 << filter.handshake_bits).map(|_| configure()).collect::<Result<_, _>>()?;
    for socket in &handshakes {
        let _ = setsockopt(socket, sockopt::RcvBuf, &(BUFFER >> filter.handshake_bits));
    }
    let address: SockaddrStorage = getsockname(first.as_raw_fd())?;
    // Only now: a port that another program uses was to be refused.
    setsockopt(first, sockopt::ReusePort, &true)?;
    let join = || {
        for socket in data.iter().chain(&handshakes) {
            setsockopt(socket, sockopt::ReusePort, &true)?;
            // The same for all: the kernel asks any of them before it joins a flow's datagrams.
            if bulk && !receive_in_bulk(socket.as_fd()) {
                return Err(Errno::ENOPROTOOPT);
            }
            bind(socket.as_raw_fd(), &address)?;
        }
        filter.attach(first)
    };
    join().inspect_err(|_| {
        let _ = setsockopt(first, sockopt::ReusePort, &false);
    })?;
    Ok(Shares { data, handshakes })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    use nix::libc;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket};

    use super::*;
    use crate::index_table::Indices;
    use crate::peer::Peer;

    fn unbound() -> Result<OwnedFd, Errno> {
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
    }

    fn bound(port: u16) -> Result<OwnedFd, Errno> {
        let socket = unbound()?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
        Ok(socket)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    const HANDSHAKE_BITS: u32 = 2;

    fn filter(lanes: usize) -> PortFilter {
        PortFilter { family: AddressFamily::Inet, lanes, handshake_bits: HANDSHAKE_BITS }
    }

    /// The sockets of a port on the loopback interface: those of lanes, those for handshakes.
    fn sockets(lanes: usize) -> (Vec<UdpSocket>, Vec<UdpSocket>) {
        let first = bound(0).unwrap();
        let shares = share(&first, filter(lanes), unbound, unbound, true).unwrap();
        let data = [first].into_iter().chain(shares.data).map(UdpSocket::from).collect();
        let handshakes: Vec<_> = shares.handshakes.into_iter().map(UdpSocket::from).collect();
        assert_eq!(handshakes.len(), 1 << HANDSHAKE_BITS);
        (data, handshakes)
    }

    /// Those of the sockets where something waits, as soon as it does.
    fn readable(sockets: &[UdpSocket]) -> Vec<usize> {
        let fds = sockets.iter().map(UdpSocket::as_fd);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        (0..fds.len()).filter(|i| fds[*i].any() == Some(true)).collect()
    }

    /// The next `count` datagrams, of four bytes or more each.
    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 100];
        let mut next = || socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap();
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn data_and_handshakes_come_apart_and_the_port_stays_ours() {
        let (data, handshakes) = sockets(1);
        let address = data[0].local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Shorter than any message, and as long as the shortest.
        for length in [2, 32] {
            let of_type = |first| [[first].as_slice(), &vec![9; length - 1]].concat();
            for first in [1u8, 4, 2, 4, 3, 0, 255, 4] {
                sender.send_to(&of_type(first), address).unwrap();
            }
            assert_eq!(received(&data[0], 3), [4, 4, 4].map(of_type));
            let [one] = readable(&handshakes)[..] else { panic!("not one socket for one source") };
            assert_eq!(received(&handshakes[one], 5), [1, 2, 3, 0, 255].map(of_type));
        }
        assert_eq!(bound(address.port()).err(), Some(Errno::EADDRINUSE));
    }

    #[test]
    fn each_session_stays_in_its_lane_and_every_lane_has_some() {
        const LANES: usize = 3;
        const SESSIONS: usize = 90;
        let (lanes, handshakes) = sockets(LANES);
        let address = lanes[0].local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (indices, peer) =
            (Indices::new(), Arc::new(Peer::new([7; 32].into(), Arc::default(), None)));
        let sessions: Vec<_> = (0..SESSIONS).map(|_| indices.allocate(&peer).unwrap()).collect();
        let mut expected: [Vec<Vec<u8>>; LANES] = Default::default();
        for counter in 0..3u64 {
            for index in &sessions {
                let header = [4u32.to_le_bytes(), index.value().to_le_bytes()].concat();
                let message = [&header[..], &counter.to_le_bytes()[..], &[0; 16][..]].concat();
                sender.send_to(&message, address).unwrap();
                expected[index.value() as usize % 256 % LANES].push(message);
            }
            let response = [&2u32.to_le_bytes()[..], &[counter as u8; 88][..]].concat();
            sender.send_to(&response, address).unwrap();
            let [one] = readable(&handshakes)[..] else { panic!("not one socket for one source") };
            assert_eq!(received(&handshakes[one], 1), [response]);
        }
        for (socket, expected) in lanes.iter().zip(&expected) {
            assert_eq!(&received(socket, expected.len()), expected);
            assert!(expected.len() > SESSIONS / 4, "unevenly spread");
        }
    }

    /// Otherwise a flood would take the room of everybody.
    #[test]
    fn each_source_has_one_socket_for_handshakes_and_not_all_the_same() {
        let first = bound(0).unwrap();
        let shares = share(&first, filter(2), unbound, unbound, true).unwrap();
        let handshakes: Vec<_> = shares.handshakes.into_iter().map(UdpSocket::from).collect();
        let address = handshakes[0].local_addr().unwrap();
        let senders: Vec<_> =
            (1..=64).map(|i| UdpSocket::bind((Ipv4Addr::new(127, 0, 9, i), 0)).unwrap()).collect();
        let whose = || -> Vec<usize> {
            let socket_of = |sender: &UdpSocket| {
                for kind in [1, 2, 3] {
                    sender.send_to(&[kind; 32], address).unwrap();
                }
                let [one] = readable(&handshakes)[..] else {
                    panic!("not one socket for a source")
                };
                received(&handshakes[one], 3);
                one
            };
            senders.iter().map(socket_of).collect()
        };
        let before = whose();
        assert!(before.iter().any(|whose| *whose != before[0]), "all have one: {before:?}");
    }

    #[test]
    fn over_ipv6_data_and_handshakes_come_apart_too() {
        let unbound =
            || socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let first = OwnedFd::from(UdpSocket::bind("[::1]:0").unwrap());
        let filter = PortFilter { family: AddressFamily::Inet6, ..filter(1) };
        let shares = share(&first, filter, unbound, unbound, true).unwrap();
        let handshakes: Vec<_> = shares.handshakes.into_iter().map(UdpSocket::from).collect();
        let (first, sender) = (UdpSocket::from(first), UdpSocket::bind("[::1]:0").unwrap());
        for kind in [1, 4, 2] {
            sender.send_to(&[kind; 32], first.local_addr().unwrap()).unwrap();
        }
        assert_eq!(received(&first, 1), [[4; 32]]);
        let [one] = readable(&handshakes)[..] else { panic!("not one socket for one source") };
        assert_eq!(received(&handshakes[one], 2), [[1; 32], [2; 32]]);
    }

    #[test]
    fn without_the_filter_the_first_socket_gets_everything() {
        let first = bound(0).unwrap();
        // The kernel attaches nothing to a socket that is locked so (socket(7)).
        let locked: libc::c_int = 1;
        // SAFETY: the value is a live c_int, and its size is given.
        let result = unsafe {
            let value = (&raw const locked).cast();
            let length = size_of_val(&locked) as u32;
            let option = libc::SO_LOCK_FILTER;
            libc::setsockopt(first.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
        };
        assert_eq!(result, 0);
        assert_eq!(share(&first, filter(3), unbound, unbound, true).err(), Some(Errno::EPERM));
        let first = UdpSocket::from(first);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let messages: Vec<_> = (0..64).map(|i| vec![i % 5, 0, 0, 0, i, 0, 0, 0]).collect();
        for message in &messages {
            sender.send_to(message, first.local_addr().unwrap()).unwrap();
        }
        assert_eq!(received(&first, messages.len()), messages);
    }
}
