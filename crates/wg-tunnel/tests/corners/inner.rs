//! The host's side of the tunnel: its sockets, and packets for them.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant as Clock};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::scene::{HERE, PATIENCE};

/// A socket of the host's, in the tunnel.
pub(crate) fn inner() -> UdpSocket {
    let socket = UdpSocket::bind((HERE[0], 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An IPv4 packet with a UDP datagram to `to`, whose checksum is left out.
pub(crate) fn udp_v4(source: &str, tos: u8, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let length = (28 + payload.len()) as u16;
    let mut packet = vec![0x45, tos, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(octets(source));
    packet.extend(octets(&to.ip().to_string()));
    let sum: u32 = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(7u16.to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// The error that a connected socket gets for what it sends.
pub(crate) fn error_of(socket: &UdpSocket, payload: &[u8]) -> Errno {
    let end = Clock::now() + PATIENCE;
    loop {
        // Either tells of the error that an ICMP message left behind.
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let errors = [socket.send(payload), socket.recv(&mut [0; 100])].map(Result::err);
        for error in errors.into_iter().flatten() {
            let errno = Errno::from_raw(error.raw_os_error().unwrap());
            if errno != Errno::EAGAIN {
                return errno;
            }
        }
        assert!(Clock::now() < end, "no error came");
    }
}

/// Also those that need not last.
pub(crate) fn hear_all_errors(socket: &UdpSocket) {
    if socket.local_addr().unwrap().is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true).unwrap();
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true).unwrap();
    }
}

pub(crate) fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let length = socket.recv(&mut buffer).expect("a packet comes");
    buffer.truncate(length);
    buffer
}

/// ICMP errors may have been left for the socket.
pub(crate) fn received_after_errors(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let end = Clock::now() + PATIENCE;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return buffer;
            }
            Err(error) => assert!(Clock::now() < end, "{error}"),
        }
    }
}

pub(crate) fn class_of_next(socket: &UdpSocket) -> u8 {
    use std::os::fd::AsRawFd;
    let (mut buffer, mut control) = ([0; 100], nix::cmsg_space!(i32));
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let fd = socket.as_raw_fd();
    let received = recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
    let class = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        _ => None,
    });
    class.expect("it was asked for")
}

/// An IPv6 packet with a UDP datagram.
pub(crate) fn udp_v6(source: &str, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let length = (8 + payload.len()) as u16;
    let mut udp =
        [7u16.to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    udp.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.extend(octets(source));
    packet.extend(octets(&to.ip().to_string()));
    // The pseudo header: addresses, length, protocol.
    let words = packet[8..40].chunks(2).chain(udp.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    sum += u32::from(length) + 17;
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    udp[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend(udp);
    packet
}
