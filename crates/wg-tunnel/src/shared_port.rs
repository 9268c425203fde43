//! The sockets that share a port: one for the data of each lane, and one for all that is not data.
//!
//! In one socket a flood of handshake messages would take the room that data waits in, and what
//! belongs together could not be kept together by several who read from it. So several sockets
//! share the port (`SO_REUSEPORT`, socket(7)), and a filter in the kernel says which of them a
//! datagram is for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrStorage, bind, getsockname, setsockopt, sockopt};

use crate::sockets::receive_in_bulk;

/// Bytes of buffer asked for: a few thousand messages, as in the kernel's queue. A longer one
/// would not carry more, only older ones.
const BUFFER: usize = 1 << 20;

/// What shares a port with the first lane's socket.
#[derive(Debug)]
pub(crate) struct Shares {
    /// The sockets of the other lanes.
    pub(crate) data: Vec<OwnedFd>,
    pub(crate) handshakes: OwnedFd,
}

/// Binds sockets for the other lanes, made by `data`, and one for handshakes, made by `configure`,
/// to the address of the first lane's, and lets the kernel tell datagrams apart. Each takes any
/// datagram all the same: until the filter is there they may come to any.
///
/// # Errors
/// The kernel's refusal; `first` works as before, for all lanes.
pub(crate) fn share(
    first: &OwnedFd,
    lanes: usize,
    data: impl Fn() -> Result<OwnedFd, Errno>,
    configure: impl FnOnce() -> Result<OwnedFd, Errno>,
    bulk: bool,
) -> Result<Shares, Errno> {
    let data: Vec<_> = (1..lanes).map(|_| data()).collect::<Result<_, _>>()?;
    let handshakes = configure()?;
    let _ = setsockopt(&handshakes, sockopt::RcvBuf, &BUFFER);
    let address: SockaddrStorage = getsockname(first.as_raw_fd())?;
    // Only now: a port that another program uses was to be refused.
    setsockopt(first, sockopt::ReusePort, &true)?;
    let join = || {
        for socket in data.iter().chain([&handshakes]) {
            setsockopt(socket, sockopt::ReusePort, &true)?;
            // The same for all: the kernel asks any of them before it joins a flow's datagrams.
            if bulk && !receive_in_bulk(socket.as_fd()) {
                return Err(Errno::ENOPROTOOPT);
            }
            bind(socket.as_raw_fd(), &address)?;
        }
        attach_filter(first, lanes)
    };
    join().inspect_err(|_| {
        let _ = setsockopt(first, sockopt::ReusePort, &false);
    })?;
    Ok(Shares { data, handshakes })
}

/// Transport messages, whose first byte is 4, are for the lane that the lowest byte of their
/// receiver index says; all others for the socket behind those of the lanes. Sockets are numbered
/// in the order in which they were bound.
fn attach_filter(socket: &OwnedFd, lanes: usize) -> Result<(), Errno> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load_byte = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let lanes = lanes as u32;
    let mut program = [
        instruction(load_byte, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, 4),
        // A datagram that ends before it is for the first socket, and soon dropped there.
        instruction(load_byte, 0, 0, 4),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, lanes),
        instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, lanes),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the value is a live sock_fprog of the length given; it points to as many
    // instructions as it says, which the kernel copies.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as u32,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

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

    /// The sockets of a port on the loopback interface, those of lanes first.
    fn sockets(lanes: usize) -> Vec<UdpSocket> {
        let first = bound(0).unwrap();
        let Shares { data, handshakes } = share(&first, lanes, unbound, unbound, true).unwrap();
        [first].into_iter().chain(data).chain([handshakes]).map(UdpSocket::from).collect()
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
        let sockets = sockets(1);
        let [data, handshakes] = &sockets[..] else { panic!() };
        let address = data.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Shorter than any message, and as long as the shortest.
        for length in [2, 32] {
            let of_type = |first| [[first].as_slice(), &vec![9; length - 1]].concat();
            for first in [1u8, 4, 2, 4, 3, 0, 255, 4] {
                sender.send_to(&of_type(first), address).unwrap();
            }
            assert_eq!(received(data, 3), [4, 4, 4].map(of_type));
            assert_eq!(received(handshakes, 5), [1, 2, 3, 0, 255].map(of_type));
        }
        assert_eq!(bound(address.port()).err(), Some(Errno::EADDRINUSE));
    }

    #[test]
    fn each_session_stays_in_its_lane_and_every_lane_has_some() {
        const LANES: usize = 3;
        const SESSIONS: usize = 90;
        let sockets = sockets(LANES);
        let address = sockets[0].local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (indices, peer) =
            (Indices::new(), Arc::new(Peer::new([7; 32].into(), Arc::default(), None)));
        let sessions: Vec<_> = (0..SESSIONS).map(|_| indices.allocate(&peer).unwrap()).collect();
        let mut expected: [Vec<Vec<u8>>; LANES + 1] = Default::default();
        for counter in 0..3u64 {
            for index in &sessions {
                let header = [4u32.to_le_bytes(), index.value().to_le_bytes()].concat();
                let message = [&header[..], &counter.to_le_bytes()[..], &[0; 16][..]].concat();
                sender.send_to(&message, address).unwrap();
                expected[index.value() as usize % 256 % LANES].push(message);
            }
            let response = [&2u32.to_le_bytes()[..], &[counter as u8; 88][..]].concat();
            sender.send_to(&response, address).unwrap();
            expected[LANES].push(response);
        }
        for (socket, expected) in sockets.iter().zip(&expected) {
            assert_eq!(&received(socket, expected.len()), expected);
            assert!(expected.len() == 3 || expected.len() > SESSIONS / 4, "unevenly spread");
        }
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
        assert_eq!(share(&first, 3, unbound, unbound, true).err(), Some(Errno::EPERM));
        let first = UdpSocket::from(first);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let messages: Vec<_> = (0..64).map(|i| vec![i % 5, 0, 0, 0, i, 0, 0, 0]).collect();
        for message in &messages {
            sender.send_to(message, first.local_addr().unwrap()).unwrap();
        }
        assert_eq!(received(&first, messages.len()), messages);
    }
}
