//! From TUN to UDP: the threads that seal the host's packets.
//!
//! Those of one queue read batches and reserve counters for them one after another, seal them
//! beside one another, and send them in the order in which they were read.
//!
//! A packet is sealed where it was read. A long one, which stands for many, is cut into the
//! output, header by header, each piece sealed as soon as it is there: that is the only copy.
//! What was sealed goes out in runs of one size, each run by one part of one system call.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wg_noise::{Instant, TAG_LEN, TRANSPORT_OVERHEAD, Wanted, padded_len};

use crate::allowed_ips::AllowedIps;
use crate::busy_poll::BusyPoll;
use crate::cut::{self, Cut};
use crate::datagrams::{Datagram, SendFailure};
use crate::engine::{ERROR_PAUSE, Engine, Owner};
use crate::outbound_batch::{Batch, HEADROOM, INPUT, Message, Packet, Run};
use crate::peer::Peer;
use crate::turns::{Turn, Turns};
use crate::{clock, ecn, icmp, inner, tun};

/// The longest UDP datagram over IPv4.
const MAX_DATAGRAM: usize = 65507;

/// What the workers of a queue share.
#[derive(Default)]
pub(crate) struct Outbound {
    turns: Turns,
    /// The batch of the worker that has the right to read, while that sleeps.
    asleep: Mutex<Option<Batch>>,
}

impl Outbound {
    /// Forwards what waits, in the stead of the worker that sleeps. Does nothing when none does.
    pub(crate) fn stand_in(&self, engine: &Arc<Engine>) {
        // Who holds the lock looks for packets, or is about to.
        let Ok(mut asleep) = self.asleep.try_lock() else { return };
        let Some(batch) = asleep.as_mut() else { return };
        // The worker sees to errors, which come back.
        if let Ok(count @ 1..) = batch.read(engine) {
            // The right to read is the worker's, who cannot use it without its batch.
            let turn = self.turns.turn();
            let now = clock::now();
            reserve(engine, batch, count, now);
            forward(engine, batch, &turn, now);
        }
    }

    /// Leaves the batch to others until there is something to read; `None` when the tunnel stops
    /// or the device is gone.
    fn sleep(&self, engine: &Engine, batch: Batch) -> Option<Batch> {
        let lane = batch.lane;
        // Not what a panic has left: counters of such a batch would be used again.
        *self.asleep.lock().ok()? = Some(batch);
        let goes_on = wait(engine, lane);
        // At the end, too: nobody stands in for who has given up the right to read.
        let batch = self.asleep.lock().ok()?.take();
        batch.filter(|_| goes_on)
    }
}

/// Forwards a lane's packets, in turns with other workers, until the tunnel stops or the device is
/// gone.
pub(crate) fn run(engine: &Arc<Engine>, lane: usize) {
    let outbound = engine.outbound(lane);
    let mut batch = Batch::new(lane);
    let mut busy_poll = BusyPoll::new();
    let mut kept = None;
    while !engine.is_stopping() {
        let reader = kept.take().unwrap_or_else(|| outbound.turns.reader());
        match batch.read(engine) {
            Ok(0) => {
                if !busy_poll.until_readable(engine.tun.queue(lane)) {
                    let Some(woken) = outbound.sleep(engine, batch) else { return };
                    batch = woken;
                }
                kept = Some(reader);
            }
            Ok(count) => {
                let turn = reader.turn();
                let now = clock::now();
                reserve(engine, &mut batch, count, now);
                kept = (!batch.full).then_some(reader);
                forward(engine, &mut batch, &turn, now);
            }
            // The kernel says EIO to the reader of an interface that is being removed.
            Err(errno) if tun::is_gone(errno) || errno == Errno::EIO => {
                engine.set_gone();
                return;
            }
            Err(errno) => {
                log::error!("cannot read from the interface: {}", errno.desc());
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }
}

/// Waits for a packet; `false` when the tunnel stops or the device is gone.
fn wait(engine: &Engine, lane: usize) -> bool {
    let mut fds = [
        PollFd::new(engine.tun.queue(lane), PollFlags::POLLIN),
        PollFd::new(engine.stop_event.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return true,
        Err(errno) => {
            log::error!("cannot wait for packets: {}", errno.desc());
            std::thread::sleep(ERROR_PAUSE);
            return true;
        }
    }
    let gone = fds[0]
        .revents()
        .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL));
    if gone {
        engine.set_gone();
    }
    !gone && !engine.is_stopping()
}

/// Finds the peers of the packets that were read, and reserves counters for them.
fn reserve(engine: &Arc<Engine>, batch: &mut Batch, count: usize, now: Instant) {
    let allowed_ips = engine.allowed_ips.load();
    let mut start = 0;
    while start < count {
        let Some(peer) = find_peer(engine, &allowed_ips, batch.packet(start), now) else {
            start += 1;
            continue;
        };
        let destination = inner::destination(batch.packet(start));
        let is_same = |index: &usize| {
            inner::destination(batch.packet(*index)) == destination
                || owner(&allowed_ips, batch.packet(*index))
                    .is_some_and(|other| Arc::ptr_eq(other, peer))
        };
        let end = (start + 1..count).find(|index| !is_same(index)).unwrap_or(count);
        reserve_run(engine, batch, peer, start..end, now);
        start = end;
    }
}

/// Seals the packets that counters are reserved for, and sends them.
fn forward(engine: &Arc<Engine>, batch: &mut Batch, turn: &Turn<'_>, now: Instant) {
    for run in 0..batch.runs.len() {
        seal(engine, batch, run, turn);
    }
    send(engine, batch, turn);
    for run in batch.runs.drain(..) {
        run.peer.count_sent(run.bytes);
        let wanted = run.peer.noise.sent(&run.keypair, true, now);
        engine.fulfil(&run.peer, wanted, now);
    }
}

/// The peer that has a packet's destination among its allowed IPs.
fn owner<'a>(allowed_ips: &'a AllowedIps<Owner>, packet: &[u8]) -> Option<&'a Arc<Peer>> {
    allowed_ips.find(inner::destination(packet)?).map(|owner| &owner.peer)
}

/// The peer that a packet goes to, unless it has no endpoint yet; its sender is told then
/// (kernel: `wg_xmit`).
fn find_peer<'a>(
    engine: &Engine,
    allowed_ips: &'a AllowedIps<Owner>,
    packet: &[u8],
    now: Instant,
) -> Option<&'a Arc<Peer>> {
    let peer = owner(allowed_ips, packet);
    if peer.is_some_and(|peer| peer.endpoint().is_some()) {
        return peer;
    }
    engine.refuse(packet, icmp::Reason::Unreachable, now);
    if engine.limits.outbound.allow(now) {
        match (peer, inner::destination(packet)) {
            (Some(peer), _) => log::debug!("{peer}: no endpoint is known"),
            (None, Some(ip)) => log::debug!("no peer has {ip} among its allowed IPs"),
            (None, None) => log::debug!("the host sent a packet without a whole IP header"),
        }
    }
    None
}

/// Reserves counters for packets to one peer, or stages them while there is no session.
fn reserve_run(
    engine: &Arc<Engine>,
    batch: &mut Batch,
    peer: &Arc<Peer>,
    range: Range<usize>,
    now: Instant,
) {
    let Some(endpoint) = peer.endpoint() else { return };
    let mut pieces = 0;
    for packet in range.clone() {
        match pieces_of(batch, packet) {
            Ok((_, longest)) if longest + TRANSPORT_OVERHEAD > MAX_DATAGRAM => {
                let reason = icmp::Reason::TooBig((MAX_DATAGRAM - TRANSPORT_OVERHEAD) as u16);
                engine.refuse(batch.packet(packet), reason, now);
                batch.packets[packet].length = 0;
            }
            Ok((count, _)) => pieces += count,
            Err(cut::Malformed) => {
                if engine.limits.outbound.allow(now) {
                    log::debug!("the host sent a packet that does not fit its virtio header");
                }
                batch.packets[packet].length = 0;
            }
        }
    }
    if pieces == 0 {
        return;
    }
    let Some(reservation) = peer.noise.reserve(pieces as u64, now) else {
        range.for_each(|packet| stage(batch, peer, packet));
        // A session that came up meanwhile takes them at once; otherwise this initiates one, also
        // when nothing was staged because other peers have used up the budget.
        engine.fulfil(peer, Wanted { staged: true, initiation: true, keepalive: false }, now);
        return;
    };
    let (segment, keypair, first) = (peer.may_segment(), reservation.keypair, reservation.first);
    let peer = peer.clone();
    batch.runs.push(Run { peer, keypair, endpoint, segment, packets: range, first, bytes: 0 });
}

/// Seals the packets of a run.
fn seal(engine: &Engine, batch: &mut Batch, run: usize, turn: &Turn<'_>) {
    let mtu = engine.mtu.load(Ordering::Relaxed);
    let mut counter = batch.runs[run].first;
    for index in batch.runs[run].packets.clone() {
        let packet = batch.packets[index];
        if packet.length == 0 {
            continue;
        }
        if packet.virtio.segments.is_none() {
            seal_in_place(batch, &packet, run, counter, mtu);
            counter += 1;
        } else {
            counter += seal_pieces(engine, batch, &packet, run, counter, mtu, turn);
        }
    }
}

/// How many packets a packet stands for, and the bytes of the longest. Finishes the checksum of
/// one that stands for itself.
fn pieces_of(batch: &mut Batch, index: usize) -> Result<(usize, usize), cut::Malformed> {
    let Packet { start, length, virtio } = batch.packets[index];
    let packet = &mut batch.memory[start..][..length];
    if virtio.segments.is_some() {
        let cut = Cut::new(&virtio, packet)?;
        return Ok((cut.count(), cut.len(0)));
    }
    cut::finish_checksum(&virtio, packet).map(|()| (1, length))
}

fn seal_in_place(batch: &mut Batch, packet: &Packet, run: usize, counter: u64, mtu: usize) {
    let start = packet.start - HEADROOM;
    let length = message_len(packet.length, mtu);
    let message = &mut batch.memory[start..][..length];
    let tos = ecn::outer(&message[HEADROOM..]);
    pad(message, packet.length);
    batch.runs[run].keypair.seal(counter, message);
    batch.runs[run].bytes += length;
    batch.messages.push(Message { start, length, run, tos });
}

/// Bytes of the message for a packet. No padding makes it longer than a datagram, whatever MTU
/// the packet was made for: a change of it is known here a little later.
fn message_len(packet: usize, mtu: usize) -> usize {
    (padded_len(packet, mtu) + TRANSPORT_OVERHEAD)
        .min(MAX_DATAGRAM)
        .max(packet + TRANSPORT_OVERHEAD)
}

/// Zeroes what is between a packet and the room for its tag.
fn pad(message: &mut [u8], packet: usize) {
    let end = message.len() - TAG_LEN;
    message[HEADROOM + packet..end].fill(0);
}

/// Cuts a long packet into the output and seals the pieces; returns how many there are.
fn seal_pieces(
    engine: &Engine,
    batch: &mut Batch,
    packet: &Packet,
    run: usize,
    first: u64,
    mtu: usize,
    turn: &Turn<'_>,
) -> u64 {
    let mut index = 0;
    loop {
        let (input, output) = batch.memory.split_at_mut(INPUT);
        let Ok(cut) = Cut::new(&packet.virtio, &input[packet.start..][..packet.length]) else {
            return index as u64;
        };
        let tos = ecn::outer(&input[packet.start..]);
        let count = cut.count();
        while index < count {
            let piece = cut.len(index);
            let length = message_len(piece, mtu);
            let start = batch.output;
            let Some(message) = output.get_mut(start..start + length) else { break };
            cut.write(index, &mut message[HEADROOM..][..piece]);
            pad(message, piece);
            batch.runs[run].keypair.seal(first + index as u64, message);
            batch.runs[run].bytes += length;
            batch.messages.push(Message { start: INPUT + start, length, run, tos });
            batch.output += length;
            index += 1;
        }
        if index == count {
            return count as u64;
        }
        send(engine, batch, turn);
    }
}

/// Keeps a packet, or the pieces of a long one, until there is a session.
fn stage(batch: &Batch, peer: &Peer, index: usize) {
    let packet = batch.packet(index);
    match Cut::new(&batch.packets[index].virtio, packet) {
        Ok(cut) => {
            for piece in 0..cut.count() {
                let mut bytes = vec![0; cut.len(piece)];
                cut.write(piece, &mut bytes);
                peer.noise.stage(&bytes);
            }
        }
        Err(cut::Malformed) if !packet.is_empty() => peer.noise.stage(packet),
        Err(cut::Malformed) => {}
    }
}

/// Sends what was sealed, when its turn has come.
fn send(engine: &Engine, batch: &mut Batch, turn: &Turn<'_>) {
    turn.wait();
    let Batch { lane, memory, messages, runs, output, sender, .. } = batch;
    let sockets = engine.sockets.load();
    if let Some(sockets) = sockets.as_deref() {
        let datagrams = messages.iter().map(|message| {
            let run = &runs[message.run];
            let bytes = &memory[message.start..][..message.length];
            Datagram { bytes, endpoint: run.endpoint, segment: run.segment, tos: message.tos }
        });
        let mut lost = Vec::new();
        sockets.send(*lane, sender, &datagrams, |i, failure| {
            let run = &runs[messages[i].run];
            if let SendFailure::Dropped(_) = failure {
                lost.push(messages[i]);
            }
            engine.send_failed(&run.peer, &run.endpoint, failure);
        });
        for message in lost {
            runs[message.run].bytes -= message.length;
        }
    } else {
        runs.iter_mut().for_each(|run| run.bytes = 0);
    }
    messages.clear();
    *output = 0;
}

#[cfg(test)]
mod tests;
