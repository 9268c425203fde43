use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::endpoint::Source;
use crate::received::ReceivedBatch;
use crate::sockets::receive_in_bulk;

fn pair() -> (UdpSocket, UdpSocket, SocketAddr) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&receiver, sockopt::Ipv4PacketInfo, &true).unwrap();
    // All of a test's datagrams wait in it at once; what is lost all the same ends the test.
    setsockopt(&receiver, sockopt::RcvBufForce, &(4 << 20)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = receiver.local_addr().unwrap();
    (sender, receiver, address)
}

fn send<'a>(
    socket: &UdpSocket,
    has_segments: bool,
    datagrams: impl Iterator<Item = Datagram<'a>>,
    mut failed: impl FnMut(usize, SendFailure),
) {
    let segments = AtomicBool::new(has_segments);
    Sender::default().send(socket.as_fd(), &segments, datagrams.enumerate(), &mut failed);
    assert_eq!(segments.into_inner(), has_segments);
}

fn receive(receiver: &UdpSocket, count: usize) -> Vec<(Vec<u8>, Endpoint)> {
    let mut batch = ReceivedBatch::new();
    let mut all = Vec::new();
    while all.len() < count {
        let received = batch.receive(receiver.as_fd()).unwrap();
        all.extend((0..received).map(|i| (batch.bytes(i).to_vec(), batch.endpoint(i).unwrap())));
    }
    all
}

#[test]
fn more_than_a_batch_arrives_in_order_with_its_addresses() {
    let (sender, receiver, address) = pair();
    let source = Source { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), interface: 0 };
    let endpoint = Endpoint { address, source: Some(source) };
    let payloads: Vec<_> = (0..150u8).map(|i| vec![i; usize::from(i)]).collect();
    let datagrams =
        payloads.iter().map(|bytes| Datagram { bytes, endpoint, segment: true, tos: 0 });
    send(&sender, true, datagrams, |i, failure| panic!("{i}: {failure:?}"));
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
        Datagram { bytes: b"one", endpoint: good, segment: true, tos: 0 },
        Datagram {
            bytes: b"two",
            endpoint: Endpoint { source: Some(lost), ..good },
            segment: true,
            tos: 0,
        },
        Datagram { bytes: &long, endpoint: good, segment: true, tos: 0 },
        Datagram { bytes: b"four", endpoint: good, segment: true, tos: 0 },
    ];
    let mut failures = Vec::new();
    send(&sender, true, datagrams.into_iter(), |i, f| failures.push((i, f)));
    assert_eq!(failures, [(1, SendFailure::Source), (2, SendFailure::Dropped(Errno::EMSGSIZE))]);
    let received: Vec<_> = receive(&receiver, 3).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(received, [&b"one"[..], b"two", b"four"]);
}

/// Runs of one size, as the engine sends them, come whole with and without the offloads of
/// either side.
#[test]
fn runs_of_one_size_arrive_in_every_mode() {
    for (has_segments, in_bulk) in [(false, false), (false, true), (true, false), (true, true)] {
        let (sender, receiver, address) = pair();
        if in_bulk {
            assert!(receive_in_bulk(receiver.as_fd()));
        }
        let endpoint = Endpoint::from(address);
        let sizes = [vec![1200; 70], vec![1; 65], vec![80; 3], vec![79], vec![80], vec![0; 2]];
        let sizes = sizes.concat();
        let payloads: Vec<_> =
            sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect();
        let datagrams =
            payloads.iter().map(|bytes| Datagram { bytes, endpoint, segment: true, tos: 0 });
        send(&sender, has_segments, datagrams, |i, failure| panic!("{i}: {failure:?}"));
        let received = receive(&receiver, payloads.len());
        let received: Vec<_> = received.into_iter().map(|(bytes, _)| bytes).collect();
        assert!(received == payloads, "{has_segments} {in_bulk}");
    }
}

/// The loopback device takes 65536 bytes, but no more than 65535 of UDP: the kernel refuses
/// segments that do not fit the way, and datagrams of that size go as fragments.
#[test]
fn segments_that_do_not_fit_the_way_are_sent_one_by_one() {
    let host = testbed::Host::new("narrow").unwrap();
    host.set_mtu("lo", 1300).unwrap();
    host.set_up("lo").unwrap();
    host.in_network(|| {
        let (sender, receiver, address) = pair();
        // As the engine's sockets: fragments are allowed.
        crate::sockets::allow_fragments(sender.as_fd()).unwrap();
        let endpoint = Endpoint::from(address);
        let payloads: Vec<_> = (0..20u8).map(|i| vec![i; 1400]).collect();
        let datagrams =
            payloads.iter().map(|bytes| Datagram { bytes, endpoint, segment: true, tos: 0 });
        let mut failures = Vec::new();
        send(&sender, true, datagrams, |i, failure| failures.push((i, failure)));
        assert_eq!(failures, [(0, SendFailure::Segments)]);
        let received = receive(&receiver, payloads.len());
        assert!(received.iter().map(|(bytes, _)| bytes).eq(&payloads));
    });
}
