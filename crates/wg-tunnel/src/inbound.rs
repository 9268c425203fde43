//! From UDP to TUN: threads for each socket, which open the peers' messages.
//!
//! Those of one socket open batches beside one another. What is done with the packets, from the
//! replay window to TUN, is done in the order in which they came.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use wg_noise::{Instant, Keypair, Message, TRANSPORT_HEADER_LEN};

use crate::busy_poll::BusyPoll;
use crate::engine::{ERROR_PAUSE, Engine, FIRST_LANE};
use crate::join::Joiner;
use crate::peer::Peer;
use crate::received::ReceivedBatch;
use crate::sockets::{Inlet, Sockets};
use crate::turns::Turn;
use crate::{admission, clock, ecn, inner};

/// What a receiving thread works in; made once and used again.
pub(crate) struct Buffers {
    batch: ReceivedBatch,
    opened: Opened,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { batch: ReceivedBatch::new(), opened: Opened::default() }
    }
}

/// The opened messages of a batch.
#[derive(Default)]
struct Opened {
    runs: Vec<Run>,
    counters: Vec<u64>,
    packets: Vec<Packet>,
    fresh: Vec<bool>,
    joiner: Joiner,
}

/// Consecutive messages of one session.
struct Run {
    peer: Arc<Peer>,
    keypair: Arc<Keypair>,
    /// Where their counters and packets are.
    range: Range<usize>,
}

/// A plaintext in a received datagram.
#[derive(Clone, Copy)]
struct Packet {
    datagram: usize,
    length: usize,
}

/// After so long without a message the processors sleep, and to wake one for the answer to a
/// packet takes longer than all work for it. Where there is more traffic, two threads carry more.
const QUIET: Duration = Duration::from_micros(500);

/// Forwards what comes to the inlet of a lane until the sockets are closed.
pub(crate) fn run(engine: &Arc<Engine>, sockets: &Sockets, inlet: &Inlet, buffers: &mut Buffers) {
    let Buffers { batch, opened } = buffers;
    let mut busy_poll = BusyPoll::new();
    let mut kept = None;
    let mut last = clock::now();
    loop {
        // Otherwise more is known to wait.
        let had_all = kept.is_some();
        let reader = kept.take().unwrap_or_else(|| inlet.turns.reader());
        if sockets.is_closed() {
            return;
        }
        if had_all {
            busy_poll.until_readable(inlet.as_fd());
        }
        match batch.receive(inlet.as_fd()) {
            Ok(count) => {
                let turn = reader.turn();
                kept = (!batch.is_full()).then_some(reader);
                let now = clock::now();
                forward(engine, inlet, batch, count, opened, &turn, now);
                drop(turn);
                if count == 1 && now.since(last) > QUIET {
                    // The host has answered by now if it answers at once.
                    engine.outbound(inlet.lane.unwrap_or(FIRST_LANE)).stand_in(engine);
                }
                last = now;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => receive_failed(engine, errno),
        }
    }
}

/// Takes what waits at an inlet for handshake messages, a batch at most; nobody else reads from it.
/// Data may come to it too, until the port's filter is there.
pub(crate) fn receive_waiting(engine: &Arc<Engine>, inlet: &Inlet, buffers: &mut Buffers) {
    let reader = inlet.turns.reader();
    match buffers.batch.receive_waiting(inlet.as_fd()) {
        Ok(count) => {
            let Buffers { batch, opened } = buffers;
            forward(engine, inlet, batch, count, opened, &reader.turn(), clock::now());
        }
        Err(Errno::EINTR | Errno::EAGAIN) => {}
        Err(errno) => receive_failed(engine, errno),
    }
}

pub(crate) fn receive_failed(engine: &Engine, errno: Errno) {
    if engine.limits.udp.allow(clock::now()) {
        log::warn!("cannot receive from the network: {}", errno.desc());
    }
    // An error about one packet is gone once it is read; one about the machine is not.
    if !matches!(errno, Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) {
        std::thread::sleep(ERROR_PAUSE);
    }
}

fn forward(
    engine: &Arc<Engine>,
    inlet: &Inlet,
    batch: &mut ReceivedBatch,
    count: usize,
    opened: &mut Opened,
    turn: &Turn<'_>,
    now: Instant,
) {
    let lane = inlet.lane.unwrap_or(FIRST_LANE);
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
                // One that is for many comes to every socket of the port: once is enough.
                let is_copy = batch.is_for_many(start) && inlet.lane != Some(FIRST_LANE);
                if let Some(from) = batch.endpoint(start).filter(|_| !is_copy) {
                    admission::admit(engine, batch.bytes(start), from, now);
                }
                start += 1;
            }
            None => start += 1,
        }
    }
    turn.wait();
    accept(engine, batch, opened, now);
    let virtio = engine.tun.has_virtio();
    opened.joiner.write(batch.memory_mut(), virtio, |parts, segments| {
        let long = segments.map(|segments| segments.kind);
        if let Err(errno) = engine.tun.write(lane, parts, long) {
            engine.tun_write_failed(errno);
        }
    });
}

/// Opens the messages of one session.
fn open(
    engine: &Engine,
    batch: &mut ReceivedBatch,
    receiver: u32,
    range: Range<usize>,
    opened: &mut Opened,
    now: Instant,
) {
    let Some(peer) = engine.indices.find(receiver) else { return };
    let Some(keypair) = peer.noise.keypair(receiver, now) else { return };
    let Opened { runs, counters, packets, .. } = opened;
    let first = packets.len();
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
    runs.push(Run { peer, keypair, range: first..packets.len() });
}

/// Takes what was opened, but for replays, and leaves its packets to be written to TUN.
fn accept(engine: &Arc<Engine>, batch: &mut ReceivedBatch, opened: &mut Opened, now: Instant) {
    let Opened { runs, counters, packets, fresh, joiner } = opened;
    for Run { peer, keypair, range } in runs.drain(..) {
        fresh.clear();
        fresh.resize(range.len(), true);
        keypair.accept(&counters[range.clone()], fresh);
        let taken = || {
            let pairs = packets[range.clone()].iter().zip(&*fresh);
            pairs.filter(|(_, fresh)| **fresh).map(|(packet, _)| *packet)
        };
        let Some(last) = taken().next_back() else { continue };
        if let Some(endpoint) = batch.endpoint(last.datagram)
            && endpoint.is_usable()
        {
            peer.set_endpoint(endpoint);
        }
        peer.count_received(taken().map(|packet| batch.bytes(packet.datagram).len()).sum());
        let data = taken().any(|packet| packet.length > 0);
        let wanted = peer.noise.received(&keypair, data, now, clock::unix());
        engine.fulfil(&peer, wanted, now);
        deliver(engine, batch, &peer, taken(), joiner, now);
    }
    counters.clear();
    packets.clear();
}

/// Leaves those packets to be written to TUN whose source belongs to the peer.
fn deliver(
    engine: &Engine,
    batch: &mut ReceivedBatch,
    peer: &Arc<Peer>,
    packets: impl Iterator<Item = Packet>,
    joiner: &mut Joiner,
    now: Instant,
) {
    let allowed_ips = engine.allowed_ips.load();
    let joinable = engine.tun.joinable();
    let mut allowed = None;
    for packet in packets.filter(|packet| packet.length > 0) {
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
