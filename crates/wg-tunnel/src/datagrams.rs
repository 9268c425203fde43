//! Batches of datagrams in and out of one UDP socket: `recvmmsg` and `sendmmsg`.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use crate::endpoint::Endpoint;
use crate::pktinfo::{Control, Name};
use crate::slots::{BATCH, MAX_PACKET, Slots};

/// Datagrams as they came, each at the start of its slot.
pub(crate) struct ReceivedBatch {
    slots: Slots,
    lengths: [usize; BATCH],
    endpoints: [Option<Endpoint>; BATCH],
}

/// A datagram to send.
#[derive(Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) endpoint: Endpoint,
}

/// What went wrong with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// Its source address is no longer ours; it was sent from another.
    Source,
    /// It was not sent.
    Dropped(Errno),
}

impl ReceivedBatch {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::new(), lengths: [0; BATCH], endpoints: [None; BATCH] }
    }

    /// Waits for a datagram and takes those that are there behind it; returns how many.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut names = [Name::EMPTY; BATCH];
        let mut controls = [Control::EMPTY; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for (part, slot) in parts.iter_mut().zip(self.slots.iter_mut()) {
            *part = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: MAX_PACKET };
        }
        let mut headers = [empty_header(); BATCH];
        for (i, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = (&raw mut names[i]).cast();
            header.msg_hdr.msg_namelen = Name::CAPACITY as u32;
            header.msg_hdr.msg_iov = &raw mut parts[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut controls[i]).cast();
            header.msg_hdr.msg_controllen = Control::CAPACITY;
        }
        // SAFETY: every header points to a name, a control buffer and a part of the lengths it
        // says, and each part to its own slot of at least MAX_PACKET bytes; all outlive the call
        // and nothing else refers to them.
        let received = Errno::result(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        })? as usize;
        for i in 0..received {
            self.lengths[i] = (headers[i].msg_len as usize).min(MAX_PACKET);
            self.endpoints[i] = names[i].read().map(|address| {
                let source = controls[i].read(headers[i].msg_hdr.msg_controllen);
                Endpoint { address, source }
            });
        }
        Ok(received)
    }

    /// Datagram `index`.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        &self.slots.get(index)[..self.lengths[index]]
    }

    /// Datagram `index`, to be opened in place.
    pub(crate) fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.slots.get_mut(index)[..self.lengths[index]]
    }

    /// Where datagram `index` came from.
    pub(crate) fn endpoint(&self, index: usize) -> Option<Endpoint> {
        self.endpoints[index]
    }
}

/// Sends datagrams of the socket's family in order, as few system calls as it takes. `failed` is
/// told the position of each that went wrong; the others are sent all the same.
pub(crate) fn send<'a>(
    socket: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (usize, Datagram<'a>)>,
    mut failed: impl FnMut(usize, SendFailure),
) {
    let mut datagrams = datagrams.peekable();
    while datagrams.peek().is_some() {
        let mut names = [Name::EMPTY; BATCH];
        let mut controls = [Control::EMPTY; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [empty_header(); BATCH];
        let mut positions = [0; BATCH];
        let mut count = 0;
        for (position, datagram) in datagrams.by_ref().take(BATCH) {
            let header = &mut headers[count].msg_hdr;
            header.msg_namelen = names[count].write(&datagram.endpoint.address) as u32;
            header.msg_name = (&raw mut names[count]).cast();
            if let Some(source) = &datagram.endpoint.source {
                header.msg_controllen = controls[count].write(source);
                header.msg_control = (&raw mut controls[count]).cast();
            }
            // sendmsg only reads from it, whatever iovec's type says.
            let base = datagram.bytes.as_ptr().cast_mut().cast();
            parts[count] = libc::iovec { iov_base: base, iov_len: datagram.bytes.len() };
            header.msg_iov = &raw mut parts[count];
            header.msg_iovlen = 1;
            positions[count] = position;
            count += 1;
        }
        send_all(socket, &mut headers[..count], |i, failure| failed(positions[i], failure));
    }
}

/// The headers must point to live names, control messages and parts.
fn send_all(
    socket: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    mut failed: impl FnMut(usize, SendFailure),
) {
    let mut sent = 0;
    while sent < headers.len() {
        let rest = &mut headers[sent..];
        // SAFETY: `send` has just pointed every header to a name, a control message and a part
        // on its stack, with their lengths, and the parts to the caller's borrowed datagrams.
        let result = Errno::result(unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr(),
                rest.len() as u32,
                libc::MSG_NOSIGNAL,
            )
        });
        match result {
            Ok(count) => sent += count as usize,
            Err(Errno::EINTR) => {}
            Err(errno) if rest[0].msg_hdr.msg_controllen > 0 && may_be_source(errno) => {
                rest[0].msg_hdr.msg_controllen = 0;
                rest[0].msg_hdr.msg_control = std::ptr::null_mut();
                failed(sent, SendFailure::Source);
            }
            Err(errno) => {
                failed(sent, SendFailure::Dropped(errno));
                sent += 1;
            }
        }
    }
}

/// Whether it may be the source address that is wrong: kernels differ, and IPv6 from IPv4.
fn may_be_source(errno: Errno) -> bool {
    use Errno::{EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, ENXIO};
    matches!(errno, EINVAL | EADDRNOTAVAIL | ENETUNREACH | EHOSTUNREACH | ENODEV | ENXIO)
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is a plain C structure of integers and pointers; all zeros is valid.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
    use std::os::fd::AsFd;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;
    use crate::endpoint::Source;

    fn pair() -> (UdpSocket, UdpSocket, SocketAddr) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&receiver, sockopt::Ipv4PacketInfo, &true).unwrap();
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        let address = receiver.local_addr().unwrap();
        (sender, receiver, address)
    }

    fn receive(receiver: &UdpSocket, count: usize) -> Vec<(Vec<u8>, Endpoint)> {
        let mut batch = ReceivedBatch::new();
        let mut all = Vec::new();
        while all.len() < count {
            let received = batch.receive(receiver.as_fd()).unwrap();
            all.extend(
                (0..received).map(|i| (batch.bytes(i).to_vec(), batch.endpoint(i).unwrap())),
            );
        }
        all
    }

    #[test]
    fn more_than_a_batch_arrives_in_order_with_its_addresses() {
        let (sender, receiver, address) = pair();
        let source = Source { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), interface: 0 };
        let endpoint = Endpoint { address, source: Some(source) };
        let payloads: Vec<_> = (0..150u8).map(|i| vec![i; usize::from(i)]).collect();
        let datagrams = payloads.iter().map(|bytes| Datagram { bytes, endpoint });
        send(sender.as_fd(), datagrams.enumerate(), |i, failure| panic!("{i}: {failure:?}"));
        let received = receive(&receiver, payloads.len());
        for ((bytes, from), expected) in received.iter().zip(&payloads) {
            assert_eq!(bytes, expected);
            assert_eq!(from.address.ip(), source.address);
            assert_eq!(from.source.unwrap().address, address.ip());
        }
    }

    #[test]
    fn a_lost_source_address_and_a_refused_datagram_do_not_stop_the_batch() {
        let (sender, receiver, address) = pair();
        let lost = Source { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), interface: 0 };
        let good = Endpoint::from(address);
        let long = vec![0; 65535];
        let datagrams = [
            Datagram { bytes: b"one", endpoint: good },
            Datagram { bytes: b"two", endpoint: Endpoint { source: Some(lost), ..good } },
            Datagram { bytes: &long, endpoint: good },
            Datagram { bytes: b"four", endpoint: good },
        ];
        let mut failures = Vec::new();
        send(sender.as_fd(), datagrams.into_iter().enumerate(), |i, f| failures.push((i, f)));
        assert_eq!(
            failures,
            [(1, SendFailure::Source), (2, SendFailure::Dropped(Errno::EMSGSIZE))]
        );
        let received: Vec<_> = receive(&receiver, 3).into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(received, [&b"one"[..], b"two", b"four"]);
    }
}
