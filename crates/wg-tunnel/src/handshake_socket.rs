//! A second socket on the same port, to which the kernel gives all that is not data.
//!
//! In one socket a flood of handshake messages would take the room that data waits in. So two
//! sockets share the port (`SO_REUSEPORT`, socket(7)), and a filter in the kernel says which of
//! them a datagram is for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrStorage, bind, getsockname, setsockopt, sockopt};

use crate::sockets::receive_in_bulk;

/// Bytes of buffer asked for: a few thousand messages, as in the kernel's queue. A longer one
/// would not carry more, only older ones.
const BUFFER: usize = 1 << 20;

/// Binds a second socket, made by `configure`, to the address of `data` and lets the kernel tell
/// datagrams apart. Both take any datagram all the same: until the filter is there they may come
/// to either.
///
/// # Errors
/// The kernel's refusal; `data` works as before.
pub(crate) fn split(
    data: &OwnedFd,
    configure: impl FnOnce() -> Result<OwnedFd, Errno>,
    bulk: bool,
) -> Result<OwnedFd, Errno> {
    let handshakes = configure()?;
    setsockopt(&handshakes, sockopt::ReusePort, &true)?;
    let _ = setsockopt(&handshakes, sockopt::RcvBuf, &BUFFER);
    // The same for both: the kernel asks either before it joins a flow's datagrams.
    if bulk && !receive_in_bulk(handshakes.as_fd()) {
        return Err(Errno::ENOPROTOOPT);
    }
    let address: SockaddrStorage = getsockname(data.as_raw_fd())?;
    // Only now: a port that another program uses was to be refused.
    setsockopt(data, sockopt::ReusePort, &true)?;
    bind(handshakes.as_raw_fd(), &address)?;
    attach_filter(data)?;
    Ok(handshakes)
}

/// Transport messages, whose first byte is 4, are for the first socket that was bound to the
/// port; all others for the second.
fn attach_filter(socket: &OwnedFd) -> Result<(), Errno> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 4),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 1),
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
    use std::time::Duration;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket};

    use super::*;

    fn unbound() -> Result<OwnedFd, Errno> {
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
    }

    fn bound(port: u16) -> Result<OwnedFd, Errno> {
        let socket = unbound()?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
        Ok(socket)
    }

    #[test]
    fn data_and_handshakes_come_apart_and_the_port_stays_ours() {
        let data = bound(0).unwrap();
        let handshakes = split(&data, unbound, true).unwrap();
        let [data, handshakes] = [data, handshakes].map(UdpSocket::from);
        let address = data.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for first in [1u8, 4, 2, 4, 3, 0, 255, 4] {
            sender.send_to(&[first, 9], address).unwrap();
        }
        let firsts = |socket: &UdpSocket, count| -> Vec<u8> {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut buffer = [0; 100];
            (0..count)
                .map(|_| {
                    assert_eq!(socket.recv(&mut buffer).unwrap(), 2);
                    buffer[0]
                })
                .collect()
        };
        assert_eq!(firsts(&data, 3), [4, 4, 4]);
        assert_eq!(firsts(&handshakes, 5), [1, 2, 3, 0, 255]);
        assert_eq!(bound(address.port()).err(), Some(Errno::EADDRINUSE));
    }
}
