//! Handshakes, off the data path: a bounded queue and the thread that does the curve arithmetic.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use wg_noise::{
    INITIATION_LEN, IncomingInitiation, Instant, MacState, Message, RateLimiter, Tai64n, wipe_stack,
};

use crate::clock;
use crate::configuration::Configuration;
use crate::datagrams::{Datagram, Sender};
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Identity};
use crate::peer::Peer;

/// Messages that wait; more are dropped (kernel: `MAX_QUEUED_INCOMING_HANDSHAKES`).
const CAPACITY: usize = 4096;
/// With this many waiting, senders must prove their address.
const UNDER_LOAD: usize = CAPACITY / 8;
/// How long that lasts after the queue has become shorter.
const LOAD_MEMORY: Duration = Duration::from_secs(1);

/// What waits for the handshake thread.
#[derive(Default)]
pub(crate) struct Handshakes {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Incoming>,
    /// At most one for each peer: [`Peer::initiation_queued`].
    initiations: VecDeque<Arc<Peer>>,
    /// Whose turn it is when both wait: neither starves the other.
    message_next: bool,
    stopped: bool,
}

/// An initiation, response or cookie reply as it came.
pub(crate) struct Incoming {
    bytes: [u8; INITIATION_LEN],
    length: usize,
    from: Endpoint,
    /// `None` for a cookie reply, which has no MACs.
    mac: Option<MacState>,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Job {
    /// A message, with the number that waited with it.
    Message(Incoming, usize),
    Initiate(Arc<Peer>),
}

impl Incoming {
    /// Copies a handshake message, which is no longer than an initiation.
    pub(crate) fn new(message: &[u8], from: Endpoint, mac: Option<MacState>) -> Self {
        let mut bytes = [0; INITIATION_LEN];
        bytes[..message.len()].copy_from_slice(message);
        Self { bytes, length: message.len(), from, mac }
    }
}

impl Handshakes {
    /// Queues a received message; `false` when the queue is full.
    pub(crate) fn receive(&self, message: Incoming) -> bool {
        let mut queue = self.lock();
        if queue.messages.len() >= CAPACITY {
            return false;
        }
        queue.messages.push_back(message);
        drop(queue);
        self.ready.notify_one();
        true
    }

    /// Queues a handshake with `peer`, once.
    pub(crate) fn initiate(&self, peer: &Arc<Peer>) {
        if peer.initiation_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.lock().initiations.push_back(peer.clone());
        self.ready.notify_one();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.ready.notify_all();
    }

    /// Does the work as it comes until [`Handshakes::stop`].
    pub(crate) fn run(engine: &Arc<Engine>) {
        let mut worker =
            Worker { engine, limiter: RateLimiter::new(), loaded_at: None, rng: UnwrapErr(SysRng) };
        while let Some(job) = engine.handshakes.next() {
            // Held for the whole handshake: the private key and the peers stay what they are.
            let configuration = engine.configuration();
            let identity = engine.identity.load();
            let Some(identity) = identity.as_deref() else {
                if let Job::Initiate(peer) = job {
                    peer.initiation_queued.store(false, Ordering::Release);
                }
                continue;
            };
            match job {
                Job::Initiate(peer) => worker.initiate(identity, &peer),
                Job::Message(message, waiting) => {
                    worker.receive(&configuration, identity, &message, waiting);
                }
            }
            wipe_stack();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Job> {
        self.message_next = !self.message_next;
        if (self.message_next || self.initiations.is_empty())
            && let Some(message) = self.messages.pop_front()
        {
            return Some(Job::Message(message, self.messages.len() + 1));
        }
        self.initiations.pop_front().map(Job::Initiate)
    }
}

struct Worker<'a> {
    engine: &'a Arc<Engine>,
    limiter: RateLimiter,
    loaded_at: Option<Instant>,
    rng: UnwrapErr<SysRng>,
}

impl Worker<'_> {
    fn initiate(&mut self, identity: &Identity, peer: &Arc<Peer>) {
        peer.initiation_queued.store(false, Ordering::Release);
        let reachable = self.engine.sockets.load().is_some() && peer.endpoint().is_some();
        if peer.is_removed() || !reachable {
            return;
        }
        let Some(index) = self.allocate_index(peer) else { return };
        let (now, wall) = (clock::now(), Tai64n::from_unix(clock::unix()));
        let initiation = peer.noise.initiate(&identity.local, index, now, wall, &mut self.rng);
        if let Some(initiation) = initiation {
            log::debug!("{peer}: sending a handshake initiation");
            self.engine.send(peer, std::iter::once(&initiation[..]));
        }
        self.engine.timers.schedule(peer);
    }

    fn receive(
        &mut self,
        configuration: &Configuration,
        identity: &Identity,
        message: &Incoming,
        waiting: usize,
    ) {
        let now = clock::now();
        let bytes = &message.bytes[..message.length];
        if let Some(mac) = message.mac
            && self.is_loaded(waiting, now)
            && !self.admit(identity, bytes, &message.from, mac, now)
        {
            return;
        }
        let refused = match Message::parse(bytes) {
            Some(Message::Initiation(initiation)) => {
                self.answer(configuration, identity, initiation, &message.from, now)
            }
            Some(received @ (Message::Response(_) | Message::CookieReply(_))) => {
                self.finish(identity, &received, message, now)
            }
            _ => Ok(()),
        };
        if let Err(reason) = refused
            && self.engine.limits.handshakes.allow(now)
        {
            log::debug!("handshake message from {} refused: {reason}", message.from.address);
        }
    }

    /// Whether senders must prove their address (kernel: `wg_receive_handshake_packet`).
    fn is_loaded(&mut self, waiting: usize, now: Instant) -> bool {
        if waiting >= UNDER_LOAD {
            self.loaded_at = Some(now);
        }
        self.loaded_at.is_some_and(|at| now.since(at) < LOAD_MEMORY)
    }

    /// Under load: lets a proven address through at a limited rate, and sends others a cookie.
    fn admit(
        &mut self,
        identity: &Identity,
        message: &[u8],
        from: &Endpoint,
        mac: MacState,
        now: Instant,
    ) -> bool {
        match mac {
            MacState::Mac2 => self.limiter.allow(from.address.ip(), now),
            MacState::Mac1 => {
                let reply = identity.cookies.reply(message, from.address, now, &mut self.rng);
                if let Some(sockets) = self.engine.sockets.load().as_deref() {
                    let datagram = Datagram { bytes: &reply, endpoint: *from, segment: false };
                    sockets.send(&mut Sender::default(), &std::iter::once(datagram), |_, _| {});
                }
                false
            }
            MacState::Invalid => false,
        }
    }

    fn answer(
        &mut self,
        configuration: &Configuration,
        identity: &Identity,
        initiation: &[u8; INITIATION_LEN],
        from: &Endpoint,
        now: Instant,
    ) -> Result<(), String> {
        let opened = IncomingInitiation::open(&identity.local, initiation)
            .map_err(|error| error.to_string())?;
        let configured = configuration.peers.get(opened.public_key()).ok_or("unknown peer")?;
        let peer = &configured.peer;
        let index = self.allocate_index(peer).ok_or("no free index")?;
        let response = peer
            .noise
            .consume_initiation(&identity.local, opened, index, now, &mut self.rng)
            .map_err(|error| format!("{peer}: {error}"))?;
        log::debug!("{peer}: answering a handshake initiation from {}", from.address);
        peer.count_received(initiation.len());
        peer.set_endpoint(*from);
        self.engine.send(peer, std::iter::once(&response[..]));
        self.engine.timers.schedule(peer);
        Ok(())
    }

    fn finish(
        &mut self,
        identity: &Identity,
        received: &Message<'_>,
        message: &Incoming,
        now: Instant,
    ) -> Result<(), String> {
        let index = received.receiver().ok_or("no receiver")?;
        let peer = self.engine.indices.find(index).ok_or("unknown receiver index")?;
        if peer.is_removed() {
            return Err(format!("{peer}: removed"));
        }
        match received {
            Message::Response(response) => {
                let wanted = peer
                    .noise
                    .consume_response(&identity.local, response, now, clock::unix())
                    .map_err(|error| format!("{peer}: {error}"))?;
                log::debug!("{peer}: handshake complete with {}", message.from.address);
                peer.count_received(message.length);
                peer.set_endpoint(message.from);
                self.engine.fulfil(&peer, wanted, now);
            }
            Message::CookieReply(reply) => {
                peer.noise
                    .consume_cookie_reply(reply, now)
                    .map_err(|error| format!("{peer}: {error}"))?;
                peer.count_received(message.length);
                self.engine.timers.schedule(&peer);
            }
            _ => {}
        }
        Ok(())
    }

    fn allocate_index(&self, peer: &Arc<Peer>) -> Option<wg_noise::LocalIndex> {
        let index = self.engine.indices.allocate(peer);
        if index.is_none() {
            log::error!("{peer}: no handshake, all receiver indices are in use");
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Incoming {
        Incoming::new(
            &[1; 92],
            Endpoint::from("192.0.2.1:1".parse::<std::net::SocketAddr>().unwrap()),
            None,
        )
    }

    fn peer(byte: u8) -> Arc<Peer> {
        Arc::new(Peer::new([byte; 32].into()))
    }

    #[test]
    fn the_queue_is_bounded() {
        let handshakes = Handshakes::default();
        for _ in 0..CAPACITY {
            assert!(handshakes.receive(message()));
        }
        assert!(!handshakes.receive(message()));
        assert!(matches!(handshakes.next(), Some(Job::Message(_, CAPACITY))));
        assert!(handshakes.receive(message()));
    }

    #[test]
    fn our_own_initiations_and_messages_take_turns() {
        let handshakes = Handshakes::default();
        let peers = [peer(1), peer(2)];
        for peer in &peers {
            handshakes.initiate(peer);
            handshakes.initiate(peer);
            assert!(handshakes.receive(message()));
        }
        let mut initiations = 0;
        for _ in 0..2 {
            let jobs = [handshakes.next().unwrap(), handshakes.next().unwrap()];
            initiations += jobs.iter().filter(|job| matches!(job, Job::Initiate(_))).count();
            assert!(jobs.iter().any(|job| matches!(job, Job::Message(..))));
        }
        assert_eq!(initiations, 2);
        handshakes.stop();
        assert!(handshakes.next().is_none());
    }
}
