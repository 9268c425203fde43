//! From UDP to TUN: a thread for each socket, which opens the peers' messages.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;
use wg_noise::{Instant, Message, TRANSPORT_HEADER_LEN};

use crate::engine::{ERROR_PAUSE, Engine};
use crate::join::Joiner;
use crate::peer::Peer;
use crate::received::ReceivedBatch;
use crate::sockets::Sockets;
use crate::{admission, clock, ecn, inner};

/// The opened messages of one run; made once and used again.
#[derive(Default)]
struct Opened {
    counters: Vec<u64>,
    fresh: Vec<bool>,
    packets: Vec<Packet>,
    joiner: Joiner,
}

/// A plaintext in a received datagram.
#[derive(Clone, Copy)]
struct Packet {
    datagram: usize,
    length: usize,
}

/// Forwards what comes to socket number `which` until the sockets are closed.
pub(crate) fn run(engine: &Arc<Engine>, sockets: &Sockets, which: usize) {
    let Some(socket) = sockets.iter().nth(which) else { return };
    let mut batch = ReceivedBatch::new();
    let mut opened = Opened::default();
    while !sockets.is_closed() {
        match batch.receive(socket) {
            Ok(count) => forward(engine, &mut batch, count, &mut opened),
            Err(Errno::EINTR) => {}
            Err(errno) => receive_failed(engine, errno),
        }
    }
}

fn receive_failed(engine: &Engine, errno: Errno) {
    if engine.limits.udp.allow(clock::now()) {
        log::warn!("cannot receive from the network: {}", errno.desc());
    }
    // An error about one packet is gone once it is read; one about the machine is not.
    if !matches!(errno, Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) {
        std::thread::sleep(ERROR_PAUSE);
    }
}

fn forward(engine: &Arc<Engine>, batch: &mut ReceivedBatch, count: usize, opened: &mut Opened) {
    let now = clock::now();
    let mut start = 0;
    while start < count {
        match Message::parse(batch.bytes(start)) {
            Some(Message::Transport { receiver, .. }) => {
                let end = (start + 1..count)
                    .find(|i| {
                        !matches!(
                            Message::parse(batch.bytes(*i)),
                            Some(Message::Transport { receiver: other, .. }) if other == receiver
                        )
                    })
                    .unwrap_or(count);
                open(engine, batch, receiver, start..end, opened, now);
                start = end;
            }
            Some(_) => {
                if let Some(from) = batch.endpoint(start) {
                    admission::admit(engine, batch.bytes(start), from, now);
                }
                start += 1;
            }
            None => start += 1,
        }
    }
    let virtio = engine.tun.has_virtio();
    opened.joiner.write(batch.memory_mut(), virtio, |parts, segments| {
        let long = segments.map(|segments| segments.kind);
        if let Err(errno) = engine.tun.write(parts, long) {
            engine.tun_write_failed(errno);
        }
    });
}

/// Opens the messages of one session and hands their packets to the host.
fn open(
    engine: &Arc<Engine>,
    batch: &mut ReceivedBatch,
    receiver: u32,
    range: Range<usize>,
    opened: &mut Opened,
    now: Instant,
) {
    let Some(peer) = engine.indices.find(receiver) else { return };
    let Some(keypair) = peer.noise.keypair(receiver, now) else { return };
    let Opened { counters, fresh, packets, joiner } = opened;
    counters.clear();
    packets.clear();
    for datagram in range {
        let Some(Message::Transport { counter, .. }) = Message::parse(batch.bytes(datagram)) else {
            continue;
        };
        match keypair.open(counter, batch.bytes_mut(datagram)) {
            Ok(plaintext) => {
                counters.push(counter);
                packets.push(Packet { datagram, length: plaintext.len() });
            }
            Err(error) => {
                if engine.limits.inbound.allow(now) {
                    log::debug!("{peer}: transport message refused: {error}");
                }
            }
        }
    }
    fresh.clear();
    fresh.resize(counters.len(), true);
    keypair.accept(counters, fresh);
    let mut is_fresh = fresh.iter();
    packets.retain(|_| is_fresh.next().is_some_and(|fresh| *fresh));
    let Some(last) = packets.last() else { return };
    if let Some(endpoint) = batch.endpoint(last.datagram)
        && endpoint.is_usable()
    {
        peer.set_endpoint(endpoint);
    }
    peer.count_received(packets.iter().map(|packet| batch.bytes(packet.datagram).len()).sum());
    let data = packets.iter().any(|packet| packet.length > 0);
    let wanted = peer.noise.received(&keypair, data, now, clock::unix());
    engine.fulfil(&peer, wanted, now);
    deliver(engine, batch, &peer, packets, joiner, now);
}

/// Leaves those packets to be written to TUN whose source belongs to the peer.
fn deliver(
    engine: &Engine,
    batch: &mut ReceivedBatch,
    peer: &Arc<Peer>,
    packets: &[Packet],
    joiner: &mut Joiner,
    now: Instant,
) {
    let allowed_ips = engine.allowed_ips.load();
    let joinable = engine.tun.joinable();
    let mut allowed = None;
    for packet in packets.iter().filter(|packet| packet.length > 0) {
        let start = batch.start(packet.datagram) + TRANSPORT_HEADER_LEN;
        let plaintext = &batch.memory()[start..][..packet.length];
        let Some((source, length)) = inner::source_and_length(plaintext) else {
            if engine.limits.inbound.allow(now) {
                log::debug!("{peer}: a packet without a whole IP header, or shorter than it says");
            }
            continue;
        };
        // Packets of one flow come together: one look is enough for them.
        let is_peers =
            || allowed_ips.find(source).is_some_and(|owner| Arc::ptr_eq(&owner.peer, peer));
        if allowed == Some(source) || is_peers() {
            allowed = Some(source);
            let tos = batch.tos(packet.datagram);
            ecn::combine(&mut batch.memory_mut()[start..][..length], tos);
            joiner.add(batch.memory(), start, length, joinable);
        } else if engine.limits.inbound.allow(now) {
            log::debug!("{peer}: a packet from {source}, which is not among its allowed IPs");
        }
    }
}
