//! Hosts made of real peers, joined by a network that loses, delays, duplicates and reorders,
//! all in simulated time and decided by a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_noise::{
    CookieChecker, IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, MacState,
    Message, Peer, PublicKey, RateLimiter, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Tai64n,
    Wanted, padded_len,
};

const MTU: usize = 1420;

/// A host's place in [`Network`].
pub(crate) type HostId = usize;

/// What the network does to a datagram.
#[derive(Clone)]
pub(crate) struct Conditions {
    /// Datagrams lost, in percent.
    pub(crate) loss: u64,
    /// Datagrams delivered twice, in percent.
    pub(crate) duplication: u64,
    /// Transit times; a wide range reorders.
    pub(crate) delay: Range<Duration>,
    /// Kinds of datagrams that never arrive, by sender.
    pub(crate) blocked: Vec<(HostId, Kind)>,
}

impl Conditions {
    pub(crate) fn clean() -> Self {
        let delay = Duration::from_millis(20)..Duration::from_millis(21);
        Self { loss: 0, duplication: 0, delay, blocked: Vec::new() }
    }

    pub(crate) fn cut() -> Self {
        Self { loss: 100, ..Self::clean() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response,
    CookieReply,
    Keepalive,
    Data,
}

/// A datagram that a host sent, whether it arrived or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) from: HostId,
    pub(crate) kind: Kind,
}

/// A packet that came out of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) at: Instant,
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) id: u64,
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    /// What the hosts' wall clocks showed at the start, since the Unix epoch.
    pub(crate) wall: Duration,
    pub(crate) conditions: Conditions,
    pub(crate) hosts: Vec<Host>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) delivered: Vec<Delivered>,
    rng: ChaCha20Rng,
    events: BinaryHeap<Reverse<Event>>,
    event_count: u64,
    packet_count: u64,
}

pub(crate) struct Host {
    local: LocalStatic,
    pub(crate) peers: BTreeMap<HostId, Peer>,
    checker: CookieChecker,
    limiter: RateLimiter,
    /// Ask for a valid mac2.
    pub(crate) under_load: bool,
    pub(crate) indices: Arc<Indices>,
}

/// Which peer an index belongs to.
#[derive(Default)]
pub(crate) struct Indices(Mutex<HashMap<u32, HostId>>);

impl Indices {
    pub(crate) fn in_use(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn owner(&self, index: u32) -> Option<HostId> {
        self.0.lock().unwrap().get(&index).copied()
    }
}

impl IndexTable for Indices {
    fn release(&self, index: u32) {
        assert!(self.0.lock().unwrap().remove(&index).is_some(), "released twice");
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Instant,
    /// Events of the same instant happen in the order in which they were made.
    number: u64,
    action: Action,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Arrival { from: HostId, to: HostId, datagram: Vec<u8> },
    UserPacket { from: HostId, to: HostId, id: u64 },
}

impl Network {
    /// Hosts that all have each other as peers, on a clean network.
    pub(crate) fn new(seed: u64, host_count: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let locals: Vec<_> = (0..host_count)
            .map(|_| {
                let mut private = [0; 32];
                rng.fill_bytes(&mut private);
                LocalStatic::new(&private)
            })
            .collect();
        let public_keys: Vec<_> = locals.iter().map(|local| *local.public_key()).collect();
        let hosts = locals.into_iter().enumerate().map(|(id, local)| Host {
            peers: peers_of(id, &public_keys),
            checker: CookieChecker::new(local.public_key()),
            limiter: RateLimiter::new(),
            under_load: false,
            indices: Arc::default(),
            local,
        });
        Self {
            now: Instant::from_nanos(1_000_000_000),
            wall: Duration::from_secs(1_700_000_000),
            conditions: Conditions::clean(),
            hosts: hosts.collect(),
            sent: Vec::new(),
            delivered: Vec::new(),
            rng,
            events: BinaryHeap::new(),
            event_count: 0,
            packet_count: 0,
        }
    }

    pub(crate) fn peer(&self, on: HostId, of: HostId) -> &Peer {
        &self.hosts[on].peers[&of]
    }

    /// A user's packet, now. Returns the packet's id.
    pub(crate) fn send(&mut self, from: HostId, to: HostId) -> u64 {
        self.send_at(self.now, from, to)
    }

    /// A user's packet at a later time.
    pub(crate) fn send_at(&mut self, at: Instant, from: HostId, to: HostId) -> u64 {
        let id = self.packet_count;
        self.packet_count += 1;
        self.push(at, Action::UserPacket { from, to, id });
        id
    }

    /// Lets `seconds` pass.
    pub(crate) fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(at) = self.next_event().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.poll_peers();
            while self.events.peek().is_some_and(|Reverse(event)| event.at <= self.now) {
                if let Some(Reverse(event)) = self.events.pop() {
                    self.act(event.action);
                }
            }
        }
        self.now = end;
    }

    /// Lets `seconds` pass in which nobody does anything, as when the machines are suspended.
    pub(crate) fn sleep(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
    }

    /// Does what a peer asked for, as an engine would.
    pub(crate) fn obey(&mut self, host: HostId, remote: HostId, wanted: Wanted) {
        if wanted.initiation {
            self.initiate(host, remote);
        }
        let staged = if wanted.staged { self.peer(host, remote).take_staged() } else { Vec::new() };
        if staged.is_empty() && wanted.keepalive {
            self.send_packet(host, remote, &[]);
        }
        for packet in &staged {
            self.send_packet(host, remote, packet);
        }
    }

    /// Replaces a host's peers by new ones: its daemon was restarted.
    pub(crate) fn restart(&mut self, host: HostId) {
        let public_keys: Vec<_> = self.hosts.iter().map(|host| *host.local.public_key()).collect();
        self.hosts[host].peers = peers_of(host, &public_keys);
    }

    /// Times, in seconds since `since`, at which `from` sent datagrams of this kind.
    pub(crate) fn sent_times(&self, from: HostId, kind: Kind, since: Instant) -> Vec<f64> {
        self.sent
            .iter()
            .filter(|sent| sent.from == from && sent.kind == kind && sent.at >= since)
            .map(|sent| sent.at.since(since).as_secs_f64())
            .collect()
    }

    /// The ids of the packets that came out of `to`'s tunnel from `from`, in order.
    pub(crate) fn delivered_ids(&self, from: HostId, to: HostId) -> Vec<u64> {
        self.delivered
            .iter()
            .filter(|delivered| delivered.from == from && delivered.to == to)
            .map(|delivered| delivered.id)
            .collect()
    }

    fn next_event(&self) -> Option<Instant> {
        let deadlines =
            self.hosts.iter().flat_map(|host| host.peers.values()).filter_map(Peer::deadline);
        self.events.peek().map(|Reverse(event)| event.at).into_iter().chain(deadlines).min()
    }

    fn poll_peers(&mut self) {
        for host in 0..self.hosts.len() {
            let remotes: Vec<_> = self.hosts[host].peers.keys().copied().collect();
            for remote in remotes {
                if self.peer(host, remote).deadline().is_some_and(|at| at <= self.now) {
                    let wanted = self.peer(host, remote).poll(self.now);
                    self.obey(host, remote, wanted);
                    let next = self.peer(host, remote).deadline();
                    assert!(next.is_none_or(|at| at > self.now), "a timer that stays due");
                }
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::UserPacket { from, to, id } => self.send_packet(from, to, &packet(id)),
            Action::Arrival { from, to, datagram } => self.receive(to, from, datagram),
        }
    }

    fn send_packet(&mut self, host: HostId, remote: HostId, packet: &[u8]) {
        let peer = self.peer(host, remote);
        let Some(reservation) = peer.reserve(1, self.now) else {
            if !packet.is_empty() {
                peer.stage(packet);
            }
            self.initiate(host, remote);
            return;
        };
        let mut message = vec![0; padded_len(packet.len(), MTU) + TRANSPORT_OVERHEAD];
        message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
        reservation.keypair.seal(reservation.first, &mut message);
        let wanted = peer.sent(&reservation.keypair, !packet.is_empty(), self.now);
        self.transmit(host, remote, &message);
        self.obey(host, remote, wanted);
    }

    fn initiate(&mut self, host: HostId, remote: HostId) {
        let index = self.new_index(host, remote);
        let wall = Tai64n::from_unix(self.unix());
        let Host { local, peers, .. } = &self.hosts[host];
        let message = peers[&remote].initiate(local, index, self.now, wall, &mut self.rng);
        if let Some(message) = message {
            self.transmit(host, remote, &message);
        }
    }

    fn receive(&mut self, host: HostId, remote: HostId, mut datagram: Vec<u8>) {
        match Message::parse(&datagram) {
            Some(Message::Initiation(_) | Message::Response(_)) => {
                if self.may_answer(host, remote, &datagram) {
                    self.receive_handshake(host, remote, &datagram);
                }
            }
            Some(Message::CookieReply(message)) => {
                let receiver = u32::from_le_bytes([message[4], message[5], message[6], message[7]]);
                if self.hosts[host].indices.owner(receiver) == Some(remote) {
                    let _ = self.peer(host, remote).consume_cookie_reply(message, self.now);
                }
            }
            Some(Message::Transport { receiver, counter }) => {
                self.receive_transport(host, receiver, counter, &mut datagram);
            }
            None => panic!("the network changes nothing"),
        }
    }

    /// Whether a handshake message is worth an answer; sends a cookie reply if it is not yet.
    fn may_answer(&mut self, host: HostId, remote: HostId, datagram: &[u8]) -> bool {
        let source = address(remote);
        let Host { checker, limiter, under_load, .. } = &mut self.hosts[host];
        match checker.check(datagram, source, self.now) {
            MacState::Invalid => panic!("the network changes nothing"),
            MacState::Mac1 if *under_load => {
                let reply = checker.reply(datagram, source, self.now, &mut self.rng);
                self.transmit(host, remote, &reply);
                false
            }
            MacState::Mac1 => true,
            MacState::Mac2 => !*under_load || limiter.allow(source.ip(), self.now),
        }
    }

    fn receive_handshake(&mut self, host: HostId, remote: HostId, datagram: &[u8]) {
        match Message::parse(datagram) {
            Some(Message::Initiation(message)) => {
                let index = self.new_index(host, remote);
                let Host { local, peers, .. } = &self.hosts[host];
                let opened = IncomingInitiation::open(local, message).unwrap();
                let peer = &peers[&remote];
                assert_eq!(opened.public_key(), peer.public_key());
                let response =
                    peer.consume_initiation(local, opened, index, self.now, &mut self.rng);
                if let Ok(response) = response {
                    self.transmit(host, remote, &response);
                }
            }
            Some(Message::Response(message)) => {
                let unix = self.unix();
                let Host { local, peers, .. } = &self.hosts[host];
                let wanted = peers[&remote].consume_response(local, message, self.now, unix);
                if let Ok(wanted) = wanted {
                    self.obey(host, remote, wanted);
                }
            }
            _ => unreachable!("only handshake messages come here"),
        }
    }

    fn receive_transport(&mut self, host: HostId, receiver: u32, counter: u64, data: &mut [u8]) {
        let Some(remote) = self.hosts[host].indices.owner(receiver) else { return };
        let peer = self.peer(host, remote);
        let Some(keypair) = peer.keypair(receiver, self.now) else { return };
        let plaintext = keypair.open(counter, data).expect("the network changes nothing");
        let mut fresh = [true];
        keypair.accept(&[counter], &mut fresh);
        if fresh == [false] {
            return;
        }
        let wanted = peer.received(&keypair, !plaintext.is_empty(), self.now, self.unix());
        if let Some((id, _)) = plaintext.split_first_chunk() {
            let id = u64::from_le_bytes(*id);
            let expected = packet(id);
            assert_eq!(plaintext[..expected.len()], expected, "packet {id} was changed");
            assert!(plaintext[expected.len()..].iter().all(|&byte| byte == 0));
            self.delivered.push(Delivered { at: self.now, from: remote, to: host, id });
        }
        self.obey(host, remote, wanted);
    }

    fn transmit(&mut self, from: HostId, to: HostId, datagram: &[u8]) {
        let kind = match Message::parse(datagram).unwrap() {
            Message::Initiation(_) => Kind::Initiation,
            Message::Response(_) => Kind::Response,
            Message::CookieReply(_) => Kind::CookieReply,
            Message::Transport { .. } if datagram.len() == TRANSPORT_OVERHEAD => Kind::Keepalive,
            Message::Transport { .. } => Kind::Data,
        };
        self.sent.push(Sent { at: self.now, from, kind });
        if self.conditions.blocked.contains(&(from, kind)) || self.chance(self.conditions.loss) {
            return;
        }
        let copies = if self.chance(self.conditions.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now + self.delay();
            self.push(at, Action::Arrival { from, to, datagram: datagram.to_vec() });
        }
    }

    fn push(&mut self, at: Instant, action: Action) {
        let number = self.event_count;
        self.event_count += 1;
        self.events.push(Reverse(Event { at, number, action }));
    }

    fn new_index(&mut self, host: HostId, remote: HostId) -> LocalIndex {
        let table = Arc::clone(&self.hosts[host].indices);
        let index = self.rng.next_u32();
        assert!(table.0.lock().unwrap().insert(index, remote).is_none(), "improbable");
        LocalIndex::new(index, table)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    fn delay(&mut self) -> Duration {
        let Range { start, end } = self.conditions.delay.clone();
        let width = u64::try_from((end - start).as_nanos()).unwrap();
        start + Duration::from_nanos(self.rng.next_u64() % width)
    }

    fn unix(&self) -> Duration {
        self.wall + Duration::from_nanos(self.now.as_nanos())
    }
}

fn peers_of(host: HostId, public_keys: &[PublicKey]) -> BTreeMap<HostId, Peer> {
    let others = public_keys.iter().enumerate().filter(|&(id, _)| id != host);
    others.map(|(id, &public_key)| (id, Peer::new(public_key))).collect()
}

fn address(host: HostId) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, u8::try_from(host).unwrap()]), 51820)
}

/// A packet whose length and contents follow from its id.
fn packet(id: u64) -> Vec<u8> {
    let len = 8 + usize::try_from(id * 37 % 1400).unwrap();
    let filler = (0..).map(|i: u64| (id.wrapping_mul(31).wrapping_add(i) % 255) as u8 | 1);
    id.to_le_bytes().into_iter().chain(filler).take(len).collect()
}
