//! Hosts, what travels between them, and the rules that must hold whatever happens.

mod hosts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_noise::{CookieChecker, IndexTable, Instant, LocalIndex, LocalStatic, Message, Peer};

pub(crate) type HostId = usize;

const MTU: usize = 1420;

/// How datagrams fare. Chances are in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) corruption: u64,
    /// To any host, the sender too.
    pub(crate) misrouting: u64,
    /// That some thousand messages of a session were lost just before.
    pub(crate) outage: u64,
    /// The longest delay; the shortest is a millisecond. Longer than a packet's distance to the
    /// next, it reorders.
    pub(crate) delay: Duration,
}

impl Weather {
    pub(crate) const FINE: Self = Self {
        loss: 0,
        duplication: 0,
        corruption: 0,
        misrouting: 0,
        outage: 0,
        delay: Duration::from_millis(20),
    };
}

/// A packet of a user, known by its number alone: the numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    from: HostId,
    to: HostId,
    delivered: bool,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) weather: Weather,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) hosts: Vec<Host>,
    events: BinaryHeap<Reverse<Event>>,
    event_count: u64,
    packets: Vec<Packet>,
}

pub(crate) struct Host {
    local: LocalStatic,
    links: BTreeMap<HostId, Link>,
    checker: CookieChecker,
    under_load: bool,
    /// Asleep until then: nothing is received, and timers fire late.
    asleep_until: Instant,
    indices: Arc<Indices>,
    /// All hosts count from 0, so that what comes to the wrong one names a session there.
    next_index: u32,
}

struct Link {
    peer: Peer,
    /// The ephemeral keys of the initiations that were answered.
    answered: HashSet<[u8; 32]>,
    /// Of the timer event in the heap that counts.
    scheduled: Option<Instant>,
    last_initiation: Option<Instant>,
}

/// Which peer an index belongs to, and what is known of the keypair that has it.
#[derive(Default)]
struct Indices(Mutex<HashMap<u32, Session>>);

#[derive(Clone, Copy)]
struct Session {
    remote: HostId,
    /// `None` before the handshake ended.
    born: Option<Instant>,
    next_counter: u64,
    /// Whether the other side is known to have the keys.
    confirmed: bool,
}

impl Indices {
    /// Also after a rule was broken, so that all ends in good order.
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexTable for Indices {
    fn release(&self, index: u32) {
        let known = self.lock().remove(&index).is_some();
        assert!(known || std::thread::panicking(), "released twice");
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Instant,
    number: u64,
    action: Action,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Arrival { from: HostId, to: HostId, datagram: Vec<u8>, intact: bool },
    UserPacket { from: HostId, to: HostId },
    Timer { host: HostId, remote: HostId },
}

impl World {
    /// Hosts with the links named, in both directions.
    pub(crate) fn new(seed: u64, host_count: usize, links: &[(HostId, HostId)]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut local = || {
            let mut private = [0; 32];
            rng.fill_bytes(&mut private);
            LocalStatic::new(&private)
        };
        let hosts = std::iter::repeat_with(&mut local)
            .take(host_count)
            .map(|local| Host {
                links: BTreeMap::new(),
                checker: CookieChecker::new(local.public_key()),
                under_load: false,
                asleep_until: Instant::from_nanos(0),
                indices: Arc::default(),
                next_index: 0,
                local,
            })
            .collect();
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            weather: Weather::FINE,
            rng,
            hosts,
            events: BinaryHeap::new(),
            event_count: 0,
            packets: Vec::new(),
        };
        for &(a, b) in links {
            world.add_peer(a, b);
            world.add_peer(b, a);
        }
        world
    }

    /// A random number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A user's packet at a later time.
    pub(crate) fn send_in(&mut self, delay: Duration, from: HostId, to: HostId) {
        self.push(self.now + delay, Action::UserPacket { from, to });
    }

    /// A user's packet now; returns its number.
    pub(crate) fn send(&mut self, from: HostId, to: HostId) -> usize {
        self.packets.push(Packet { from, to, delivered: false });
        let number = self.packets.len() - 1;
        self.send_batch(from, to, &[text(number).into()]);
        number
    }

    pub(crate) fn was_delivered(&self, number: usize) -> bool {
        self.packets[number].delivered
    }

    pub(crate) fn set_persistent_keepalive(&mut self, on: HostId, of: HostId, seconds: u16) {
        let wanted = self.peer(on, of).set_persistent_keepalive(seconds, self.now);
        self.obey(on, of, wanted);
    }

    /// The daemon starts anew, without any session.
    pub(crate) fn restart(&mut self, host: HostId) {
        let remotes: Vec<_> = self.hosts[host].links.keys().copied().collect();
        remotes.into_iter().for_each(|remote| self.add_peer(host, remote));
        assert_eq!(self.sessions(host), 0, "what is gone holds no index");
    }

    /// The peer is removed and added again, or the interface goes down and up.
    pub(crate) fn reset(&mut self, host: HostId, remote: HostId) {
        self.peer(host, remote).reset();
        self.link_mut(host, remote).last_initiation = None;
    }

    pub(crate) fn sleep(&mut self, host: HostId, time: Duration) {
        self.hosts[host].asleep_until = self.now + time;
    }

    pub(crate) fn set_under_load(&mut self, host: HostId, under_load: bool) {
        self.hosts[host].under_load = under_load;
    }

    pub(crate) fn neighbours(&self, host: HostId) -> Vec<HostId> {
        self.hosts[host].links.keys().copied().collect()
    }

    /// Handshakes and keypairs that a host holds.
    pub(crate) fn sessions(&self, host: HostId) -> usize {
        self.hosts[host].indices.lock().len()
    }

    /// Whether nothing is left to do, ever.
    pub(crate) fn is_at_rest(&self) -> bool {
        let mut links = self.hosts.iter().flat_map(|host| host.links.values());
        links.all(|link| link.peer.deadline().is_none() && !link.peer.has_staged())
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.events.peek().is_some_and(|Reverse(event)| event.at <= end) {
            let Some(Reverse(event)) = self.events.pop() else { break };
            self.now = self.now.max(event.at);
            self.act(event.action);
        }
        self.now = end;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::UserPacket { from, to } => {
                self.send(from, to);
            }
            Action::Arrival { from, to, datagram, intact } => {
                if self.hosts[to].asleep_until <= self.now {
                    self.receive(to, from, datagram, intact);
                }
            }
            Action::Timer { host, remote } => self.ring(host, remote),
        }
    }

    fn transmit(&mut self, from: HostId, to: HostId, datagram: &[u8]) {
        let weather = self.weather;
        if self.chance(weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.chance(weather.duplication));
        for _ in 0..copies {
            let mut datagram = datagram.to_vec();
            let corrupt = self.chance(weather.corruption);
            if corrupt {
                self.corrupt(&mut datagram, to);
            }
            let stray = self.chance(weather.misrouting);
            let reached = if stray { self.below(self.hosts.len() as u64) as usize } else { to };
            let intact = !corrupt && reached == to;
            let delay = Duration::from_millis(1) + weather.delay.mul_f64(self.unit());
            let arrival = Action::Arrival { from, to: reached, datagram, intact };
            self.push(self.now + delay, arrival);
        }
    }

    /// Changes a bit; or, in a handshake message, one of what its receiver alone can judge, with a
    /// mac1 that is right again: anybody who knows the receiver's public key can do that.
    fn corrupt(&mut self, datagram: &mut [u8], to: HostId) {
        let is_handshake =
            matches!(Message::parse(datagram), Some(Message::Initiation(_) | Message::Response(_)));
        let forge = is_handshake && self.chance(50);
        let length = datagram.len();
        let (start, end) = match (is_handshake, forge) {
            (_, true) => (12, length - 32),
            // Nobody looks at mac2 who is not under load.
            (true, false) => (0, length - 16),
            (false, _) => (0, length),
        };
        let position = start + self.below((end - start) as u64) as usize;
        datagram[position] ^= 1 << self.below(8);
        if forge {
            let (rest, macs) = datagram.split_at_mut(end);
            let public = self.hosts[to].local.public_key().as_bytes();
            let key = Blake2s256::new().chain_update(b"mac1----").chain_update(public).finalize();
            let mac1 = Blake2sMac::<U16>::new_from_slice(&key).unwrap().chain_update(rest);
            macs[..16].copy_from_slice(&mac1.finalize_fixed());
        }
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    fn push(&mut self, at: Instant, action: Action) {
        self.event_count += 1;
        self.events.push(Reverse(Event { at, number: self.event_count, action }));
    }

    fn add_peer(&mut self, on: HostId, of: HostId) {
        let peer = Peer::new(*self.hosts[of].local.public_key());
        let answered = HashSet::new();
        let link = Link { peer, answered, scheduled: None, last_initiation: None };
        self.hosts[on].links.insert(of, link);
    }

    fn peer(&self, on: HostId, of: HostId) -> &Peer {
        &self.hosts[on].links[&of].peer
    }

    fn link_mut(&mut self, on: HostId, of: HostId) -> &mut Link {
        self.hosts[on].links.get_mut(&of).expect("they are peers")
    }

    fn new_index(&mut self, host: HostId, remote: HostId) -> LocalIndex {
        let Host { indices, next_index, .. } = &mut self.hosts[host];
        let (table, index) = (Arc::clone(indices), *next_index);
        *next_index += 1;
        let session = Session { remote, born: None, next_counter: 0, confirmed: false };
        assert!(table.lock().insert(index, session).is_none(), "each is new");
        LocalIndex::new(index, table)
    }

    fn owner(&self, host: HostId, index: u32) -> Option<HostId> {
        self.hosts[host].indices.lock().get(&index).map(|session| session.remote)
    }

    fn with_session<T>(
        &self,
        host: HostId,
        index: u32,
        change: impl FnOnce(&mut Session) -> T,
    ) -> T {
        let mut sessions = self.hosts[host].indices.lock();
        change(sessions.get_mut(&index).expect("an index in use is in the table"))
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + Duration::from_nanos(self.now.as_nanos())
    }
}

/// Links between hosts: a ring, so that nobody is alone, and some others.
pub(crate) fn links(rng: &mut ChaCha8Rng, host_count: usize) -> Vec<(HostId, HostId)> {
    let mut links = HashSet::new();
    let mut ordered = Vec::new();
    let ring = (0..host_count).map(|i| (i, (i + 1) % host_count));
    let others = (0..host_count / 4)
        .map(|_| [rng.next_u64(), rng.next_u64()].map(|random| random as usize % host_count))
        .map(|[a, b]| (a, b));
    for (a, b) in ring.chain(others) {
        if a != b && links.insert((a.min(b), a.max(b))) {
            ordered.push((a, b));
        }
    }
    ordered
}

fn address(host: HostId) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, u8::try_from(host).unwrap()]), 51820)
}

/// A packet whose length and contents follow from its number.
fn text(number: usize) -> Vec<u8> {
    let filler = (0..number % 23).map(|i| (number * 31 + i) as u8);
    (number as u64).to_le_bytes().into_iter().chain(filler).collect()
}
