//! Handshakes, off the data path: a bounded queue and the thread that does the curve arithmetic.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use wg_noise::{INITIATION_LEN, IncomingInitiation, Instant, Message, Tai64n, wipe_stack};

use crate::admission::Load;
use crate::clock;
use crate::configuration::Configuration;
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Identity};
use crate::peer::Peer;

/// Messages that wait; more are dropped (kernel: `MAX_QUEUED_INCOMING_HANDSHAKES`).
const CAPACITY: usize = 4096;
/// With this many waiting, senders must prove their address.
const UNDER_LOAD: usize = CAPACITY / 8;

/// Of initiations and responses: AF41 (kernel: `HANDSHAKE_DSCP`).
const TRAFFIC_CLASS: u8 = 0x88;

/// What waits for the handshake thread.
#[derive(Default)]
pub(crate) struct Handshakes {
    queue: Mutex<Queue>,
    ready: Condvar,
    load: Load,
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
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Job {
    Message(Incoming),
    Initiate(Arc<Peer>),
}

impl Incoming {
    /// Copies a handshake message, which is no longer than an initiation.
    pub(crate) fn new(message: &[u8], from: Endpoint) -> Self {
        let mut bytes = [0; INITIATION_LEN];
        bytes[..message.len()].copy_from_slice(message);
        Self { bytes, length: message.len(), from }
    }
}

impl Handshakes {
    /// Queues a received message; `false` when the queue is full.
    pub(crate) fn receive(&self, message: Incoming, now: Instant) -> bool {
        let mut queue = self.lock();
        if queue.messages.len() >= UNDER_LOAD {
            self.load.note(now);
        }
        if queue.messages.len() >= CAPACITY {
            return false;
        }
        queue.messages.push_back(message);
        drop(queue);
        self.ready.notify_one();
        true
    }

    /// Whether senders must prove their address: the queue is long, or was a second ago.
    pub(crate) fn is_under_load(&self, now: Instant) -> bool {
        self.load.is_present(now)
    }

    /// Queues a handshake with `peer`, once, unless the last one is too young: a host that goes on
    /// sending to a peer that does not answer costs no work.
    pub(crate) fn initiate(&self, peer: &Arc<Peer>) {
        if !peer.noise.may_initiate(clock::now())
            || peer.initiation_queued.swap(true, Ordering::AcqRel)
        {
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
        let mut worker = Worker { engine, rng: UnwrapErr(SysRng) };
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
                Job::Message(message) => worker.receive(&configuration, identity, &message),
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
            return Some(Job::Message(message));
        }
        self.initiations.pop_front().map(Job::Initiate)
    }
}

struct Worker<'a> {
    engine: &'a Arc<Engine>,
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
            self.engine.send(peer, std::iter::once((&initiation[..], TRAFFIC_CLASS)));
        }
        self.engine.timers.schedule(peer);
    }

    fn receive(&mut self, configuration: &Configuration, identity: &Identity, message: &Incoming) {
        let now = clock::now();
        let bytes = &message.bytes[..message.length];
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
        self.engine.send(peer, std::iter::once((&response[..], TRAFFIC_CLASS)));
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
        )
    }

    fn peer(byte: u8) -> Arc<Peer> {
        Arc::new(Peer::new([byte; 32].into(), Arc::default(), None))
    }

    #[test]
    fn the_queue_is_bounded() {
        let (handshakes, now) = (Handshakes::default(), clock::now());
        for waiting in 0..CAPACITY {
            assert_eq!(handshakes.is_under_load(now), waiting > UNDER_LOAD);
            assert!(handshakes.receive(message(), now));
        }
        assert!(!handshakes.receive(message(), now));
        assert!(matches!(handshakes.next(), Some(Job::Message(_))));
        assert!(handshakes.receive(message(), now));
    }

    /// Within REKEY_TIMEOUT no work is queued that would come to nothing.
    #[test]
    fn a_peer_that_was_just_tried_is_not_queued_again() {
        struct Anywhere;
        impl wg_noise::IndexTable for Anywhere {
            fn release(&self, _: u32) {}
        }
        let local = wg_noise::LocalStatic::new(&[1; 32]);
        let peer =
            Peer::new(*wg_noise::LocalStatic::new(&[2; 32]).public_key(), Arc::default(), None);
        let index = wg_noise::LocalIndex::new(1, Arc::new(Anywhere));
        let wall = Tai64n::from_unix(std::time::Duration::ZERO);
        let now = clock::now();
        assert!(peer.noise.initiate(&local, index, now, wall, &mut UnwrapErr(SysRng)).is_some());
        let handshakes = Handshakes::default();
        let peer = Arc::new(peer);
        handshakes.initiate(&peer);
        assert!(handshakes.lock().initiations.is_empty());
        peer.noise.reset();
        handshakes.initiate(&peer);
        assert_eq!(handshakes.lock().initiations.len(), 1);
    }

    #[test]
    fn our_own_initiations_and_messages_take_turns() {
        let handshakes = Handshakes::default();
        let peers = [peer(1), peer(2)];
        for peer in &peers {
            handshakes.initiate(peer);
            handshakes.initiate(peer);
            assert!(handshakes.receive(message(), clock::now()));
        }
        let mut initiations = 0;
        for _ in 0..2 {
            let jobs = [handshakes.next().unwrap(), handshakes.next().unwrap()];
            initiations += jobs.iter().filter(|job| matches!(job, Job::Initiate(_))).count();
            assert!(jobs.iter().any(|job| matches!(job, Job::Message(_))));
        }
        assert_eq!(initiations, 2);
        assert!(handshakes.lock().initiations.is_empty());
        handshakes.stop();
        assert!(handshakes.next().is_none());
    }
}
