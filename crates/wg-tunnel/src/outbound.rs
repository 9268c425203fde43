//! From TUN to UDP: the thread that seals the host's packets.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wg_noise::{Instant, Keypair, TRANSPORT_OVERHEAD, Wanted, padded_len};

use crate::allowed_ips::AllowedIps;
use crate::datagrams::{Datagram, SendFailure};
use crate::endpoint::Endpoint;
use crate::engine::{ERROR_PAUSE, Engine, Owner};
use crate::peer::Peer;
use crate::slots::{BATCH, HEADROOM, Slots};
use crate::{clock, inner, tun};

/// Packets read at once and what becomes of them; made once and used again.
struct Batch {
    slots: Slots,
    lengths: [usize; BATCH],
    messages: Vec<Message>,
    runs: Vec<Run>,
}

impl Batch {
    /// The packet in a slot, as it was read.
    fn packet(&self, slot: usize) -> &[u8] {
        &self.slots.get(slot)[HEADROOM..][..self.lengths[slot]]
    }
}

/// A sealed message at the start of its slot.
#[derive(Clone, Copy)]
struct Message {
    slot: usize,
    length: usize,
    run: usize,
}

/// Consecutive packets to one peer.
struct Run {
    peer: Arc<Peer>,
    keypair: Arc<Keypair>,
    endpoint: Endpoint,
    bytes: usize,
}

/// Forwards packets until the tunnel stops or the device is gone.
pub(crate) fn run(engine: &Arc<Engine>) {
    let mut batch = Batch {
        slots: Slots::new(),
        lengths: [0; BATCH],
        messages: Vec::with_capacity(BATCH),
        runs: Vec::with_capacity(BATCH),
    };
    while !engine.is_stopping() {
        match engine.tun.read(&mut batch.slots, &mut batch.lengths) {
            Ok(0) => {
                if !wait(engine) {
                    return;
                }
            }
            Ok(count) => forward(engine, &mut batch, count),
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
fn wait(engine: &Engine) -> bool {
    let mut fds = [
        PollFd::new(engine.tun.as_fd(), PollFlags::POLLIN),
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

fn forward(engine: &Arc<Engine>, batch: &mut Batch, count: usize) {
    let now = clock::now();
    let allowed_ips = engine.allowed_ips.load();
    let mut start = 0;
    while start < count {
        let Some(peer) = find_peer(engine, &allowed_ips, batch.packet(start), now) else {
            start += 1;
            continue;
        };
        let is_same = |slot: &usize| {
            owner(&allowed_ips, batch.packet(*slot)).is_some_and(|other| Arc::ptr_eq(other, peer))
        };
        let end = (start + 1..count).find(|slot| !is_same(slot)).unwrap_or(count);
        seal(engine, batch, peer, start..end, now);
        start = end;
    }
    send(engine, batch);
    for run in batch.runs.drain(..) {
        run.peer.count_sent(run.bytes);
        let wanted = run.peer.noise.sent(&run.keypair, true, now);
        engine.fulfil(&run.peer, wanted, now);
    }
    batch.messages.clear();
}

/// The peer that has a packet's destination among its allowed IPs.
fn owner<'a>(allowed_ips: &'a AllowedIps<Owner>, packet: &[u8]) -> Option<&'a Arc<Peer>> {
    allowed_ips.find(inner::destination(packet)?).map(|owner| &owner.peer)
}

/// The peer that a packet goes to, unless it has no endpoint yet (kernel: `wg_xmit`).
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
    if engine.limits.outbound.allow(now) {
        match (peer, inner::destination(packet)) {
            (Some(peer), _) => log::debug!("{peer}: no endpoint is known"),
            (None, Some(ip)) => log::debug!("no peer has {ip} among its allowed IPs"),
            (None, None) => log::debug!("the host sent a packet without a whole IP header"),
        }
    }
    None
}

/// Seals packets to one peer, or stages them while there is no session.
fn seal(
    engine: &Arc<Engine>,
    batch: &mut Batch,
    peer: &Arc<Peer>,
    range: Range<usize>,
    now: Instant,
) {
    let Some(endpoint) = peer.endpoint() else { return };
    let Some(reservation) = peer.noise.reserve(range.len() as u64, now) else {
        for slot in range {
            peer.noise.stage(batch.packet(slot));
        }
        // A session that came up meanwhile takes them at once; otherwise this initiates one.
        engine.fulfil(peer, Wanted { staged: true, ..Wanted::default() }, now);
        return;
    };
    let mtu = engine.mtu.load(Ordering::Relaxed);
    let run = batch.runs.len();
    let mut bytes = 0;
    for (counter, slot) in (reservation.first..).zip(range) {
        let packet_len = batch.lengths[slot];
        let length = padded_len(packet_len, mtu) + TRANSPORT_OVERHEAD;
        let message = &mut batch.slots.get_mut(slot)[..length];
        message[HEADROOM + packet_len..].fill(0);
        reservation.keypair.seal(counter, message);
        batch.messages.push(Message { slot, length, run });
        bytes += length;
    }
    batch.runs.push(Run { peer: peer.clone(), keypair: reservation.keypair, endpoint, bytes });
}

fn send(engine: &Engine, batch: &mut Batch) {
    let sockets = engine.sockets.load();
    let Some(sockets) = sockets.as_deref() else {
        batch.runs.iter_mut().for_each(|run| run.bytes = 0);
        return;
    };
    let Batch { slots, messages, runs, .. } = batch;
    let mut lost = [0; BATCH];
    let datagrams = messages.iter().map(|message| Datagram {
        bytes: &slots.get(message.slot)[..message.length],
        endpoint: runs[message.run].endpoint,
    });
    sockets.send(&datagrams, |i, failure| {
        let run = &runs[messages[i].run];
        if let SendFailure::Dropped(_) = failure {
            lost[messages[i].run] += messages[i].length;
        }
        engine.send_failed(&run.peer, &run.endpoint, failure);
    });
    for (run, lost) in runs.iter_mut().zip(lost) {
        run.bytes -= lost;
    }
}
