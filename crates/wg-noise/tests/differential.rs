//! We and an independent implementation, boringtun, through random sequences of packets, losses,
//! repetitions, reorderings, bit errors and pauses, on one simulated clock.
//!
//! Whatever happened, no packet may come out twice, changed, or at the side that sent it; what
//! arrives whole and first under keys that we hold must be taken; and when the network is good
//! again, both must reach each other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey as TheirPublicKey, StaticSecret};
use mock_instant::MockClock;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_noise::{
    CookieChecker, IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, MacState,
    Message, Peer, PublicKey, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Tai64n, Wanted, padded_len,
};

#[derive(Debug, Clone)]
enum Step {
    OurPacket,
    TheirPacket,
    /// One of the datagrams on their way arrives.
    Arrive(usize),
    Lose(usize),
    /// A copy of it stays on its way.
    Repeat(usize),
    /// A bit of it changes.
    Damage(usize, usize),
    /// In milliseconds.
    Wait(u64),
    WeForget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::OurPacket),
        8 => Just(Step::TheirPacket),
        20 => any::<usize>().prop_map(Step::Arrive),
        3 => any::<usize>().prop_map(Step::Lose),
        4 => any::<usize>().prop_map(Step::Repeat),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, bit)| Step::Damage(which, bit)),
        // From a millisecond to four minutes: keys are renewed and expire.
        6 => (0..18u32, any::<u64>()).prop_map(|(size, r)| Step::Wait((1 << size) + r % (1 << size))),
        1 => Just(Step::WeForget),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Us,
    Them,
}

#[derive(Clone)]
struct Datagram {
    to: Side,
    bytes: Vec<u8>,
    intact: bool,
    /// Copies have the same.
    number: u64,
}

/// Both, and what is between them.
struct Pair {
    rng: ChaCha20Rng,
    now: Duration,
    local: LocalStatic,
    peer: Peer,
    checker: CookieChecker,
    indices: Arc<Indices>,
    tunn: Tunn,
    flight: Vec<Datagram>,
    datagram_count: u64,
    /// Datagrams that came to us whole.
    arrived: HashSet<u64>,
    /// Who sent the packet of each number, and whether it came out.
    packets: Vec<(Side, bool)>,
}

#[derive(Default)]
struct Indices(Mutex<HashMap<u32, ()>>);

impl IndexTable for Indices {
    fn release(&self, index: u32) {
        self.0.lock().unwrap().remove(&index);
    }
}

/// How often a daemon calls their timers.
const TICK: Duration = Duration::from_millis(250);
const MTU: usize = 1420;
const OUR_ADDRESS: [u8; 4] = [192, 0, 2, 1];
const THEIR_ADDRESS: [u8; 4] = [192, 0, 2, 2];

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut ours);
        rng.fill_bytes(&mut theirs);
        MockClock::set_time(Duration::ZERO);
        let local = LocalStatic::new(&ours);
        let their_public = TheirPublicKey::from(&StaticSecret::from(theirs));
        let our_public = TheirPublicKey::from(*local.public_key().as_bytes());
        Self {
            rng,
            now: Duration::ZERO,
            peer: Peer::new(PublicKey::from(their_public.to_bytes())),
            checker: CookieChecker::new(local.public_key()),
            indices: Arc::default(),
            tunn: Tunn::new(theirs.into(), our_public, None, None, 5, None),
            flight: Vec::new(),
            datagram_count: 0,
            arrived: HashSet::new(),
            packets: Vec::new(),
            local,
        }
    }

    fn take(&mut self, step: &Step) {
        let which =
            |index: usize, flight: &[Datagram]| (!flight.is_empty()).then(|| index % flight.len());
        match *step {
            Step::OurPacket => {
                self.our_packet();
            }
            Step::TheirPacket => {
                self.their_packet();
            }
            Step::Arrive(index) => {
                if let Some(at) = which(index, &self.flight) {
                    let datagram = self.flight.remove(at);
                    self.arrive(datagram);
                }
            }
            Step::Lose(index) => {
                if let Some(at) = which(index, &self.flight) {
                    self.flight.remove(at);
                }
            }
            Step::Repeat(index) => {
                if let Some(at) = which(index, &self.flight) {
                    self.flight.push(self.flight[at].clone());
                }
            }
            Step::Damage(index, bit) => {
                if let Some(at) = which(index, &self.flight) {
                    let datagram = &mut self.flight[at];
                    let byte = bit / 8 % datagram.bytes.len();
                    datagram.bytes[byte] ^= 1 << (bit % 8);
                    datagram.intact = false;
                }
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis)),
            Step::WeForget => self.peer.reset(),
        }
    }

    fn our_packet(&mut self) -> usize {
        self.packets.push((Side::Us, false));
        let number = self.packets.len() - 1;
        self.send_ours(&packet(number));
        number
    }

    fn their_packet(&mut self) -> usize {
        self.packets.push((Side::Them, false));
        let number = self.packets.len() - 1;
        let mut buffer = vec![0; 2048];
        let result = self.tunn.encapsulate(&packet(number), &mut buffer);
        self.send_to_us(&result);
        number
    }

    fn arrive(&mut self, datagram: Datagram) {
        match datagram.to {
            Side::Us => self.we_receive(datagram),
            Side::Them => self.they_receive(&datagram.bytes),
        }
    }

    fn they_receive(&mut self, bytes: &[u8]) {
        let mut buffer = vec![0; 2048];
        let result = self.tunn.decapsulate(Some(OUR_ADDRESS.into()), bytes, &mut buffer);
        let mut more = matches!(result, TunnResult::WriteToNetwork(_));
        self.send_to_us(&result);
        if let TunnResult::WriteToTunnelV4(packet, _) = result {
            let packet = packet.to_vec();
            self.came_out(Side::Them, &packet);
        }
        // What they have waiting comes one by one.
        while more {
            let result = self.tunn.decapsulate(None, &[], &mut buffer);
            more = matches!(result, TunnResult::WriteToNetwork(_));
            self.send_to_us(&result);
        }
    }

    fn we_receive(&mut self, mut datagram: Datagram) {
        let (now, unix) = (self.instant(), self.unix());
        let intact = datagram.intact;
        let first = intact && self.arrived.insert(datagram.number);
        match Message::parse(&datagram.bytes) {
            Some(Message::Initiation(message)) => {
                let source = (THEIR_ADDRESS, 51820).into();
                if self.checker.check(&datagram.bytes, source, now) == MacState::Invalid {
                    assert!(!intact, "their mac1 is right");
                    return;
                }
                let Ok(opened) = IncomingInitiation::open(&self.local, message) else {
                    assert!(!intact, "their initiation is for us");
                    return;
                };
                let index = self.index();
                let rng = &mut self.rng;
                let response = self.peer.consume_initiation(&self.local, opened, index, now, rng);
                if let Ok(response) = response {
                    self.send_to_them(&response);
                }
            }
            Some(Message::Response(message)) => {
                let wanted = self.peer.consume_response(&self.local, message, now, unix);
                self.obey(wanted.unwrap_or_default());
            }
            Some(Message::CookieReply(message)) => {
                let _ = self.peer.consume_cookie_reply(message, now);
            }
            Some(Message::Transport { receiver, counter }) => {
                let Some(keypair) = self.peer.keypair(receiver, now) else { return };
                let Ok(plaintext) = keypair.open(counter, &mut datagram.bytes) else {
                    assert!(!intact, "we hold the keys of what they sent");
                    return;
                };
                let mut fresh = [true];
                keypair.accept(&[counter], &mut fresh);
                assert!(fresh[0] || !first, "it came for the first time");
                if fresh[0] {
                    let plaintext = plaintext.to_vec();
                    let wanted = self.peer.received(&keypair, !plaintext.is_empty(), now, unix);
                    if !plaintext.is_empty() {
                        self.came_out(Side::Us, &plaintext);
                    }
                    self.obey(wanted);
                }
            }
            None => assert!(!intact, "their messages are of the four types"),
        }
    }

    fn came_out(&mut self, at: Side, plaintext: &[u8]) {
        let mut number = [0; 8];
        number.copy_from_slice(&plaintext[20..28]);
        let number = u64::from_be_bytes(number) as usize;
        let (from, came) = &mut self.packets[number];
        assert_ne!(*from, at, "packet {number} came back");
        assert!(!*came, "packet {number} came twice");
        *came = true;
        let expected = packet(number);
        assert_eq!(plaintext[..expected.len()], expected, "packet {number} was changed");
    }

    /// Does what our peer asked for, as an engine would.
    fn obey(&mut self, wanted: Wanted) {
        if wanted.initiation {
            self.initiate();
        }
        let staged = if wanted.staged { self.peer.take_staged() } else { Vec::new() };
        if staged.is_empty() && wanted.keepalive {
            self.send_ours(&[]);
        }
        for packet in &staged {
            self.send_ours(packet);
        }
    }

    fn send_ours(&mut self, packet: &[u8]) {
        let now = self.instant();
        let Some(reservation) = self.peer.reserve(1, now) else {
            if !packet.is_empty() {
                self.peer.stage(packet);
            }
            self.initiate();
            return;
        };
        let mut message = vec![0; padded_len(packet.len(), MTU) + TRANSPORT_OVERHEAD];
        message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
        reservation.keypair.seal(reservation.first, &mut message);
        let wanted = self.peer.sent(&reservation.keypair, !packet.is_empty(), now);
        self.send_to_them(&message);
        self.obey(wanted);
    }

    fn initiate(&mut self) {
        let (now, wall) = (self.instant(), Tai64n::from_unix(self.unix()));
        let index = self.index();
        let message = self.peer.initiate(&self.local, index, now, wall, &mut self.rng);
        if let Some(message) = message {
            self.send_to_them(&message);
        }
    }

    fn send_to_them(&mut self, bytes: &[u8]) {
        self.transmit(Side::Them, bytes);
    }

    fn send_to_us(&mut self, result: &TunnResult<'_>) {
        if let TunnResult::WriteToNetwork(bytes) = result {
            self.transmit(Side::Us, bytes);
        }
    }

    fn transmit(&mut self, to: Side, bytes: &[u8]) {
        self.datagram_count += 1;
        let (bytes, number) = (bytes.to_vec(), self.datagram_count);
        self.flight.push(Datagram { to, bytes, intact: true, number });
    }

    /// Lets time pass, with the timers of both.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            MockClock::set_time(self.now);
            let now = self.instant();
            if self.peer.deadline().is_some_and(|at| at <= now) {
                let wanted = self.peer.poll(now);
                self.obey(wanted);
            }
            let mut buffer = vec![0; 2048];
            let result = self.tunn.update_timers(&mut buffer);
            self.send_to_us(&result);
        }
    }

    /// A good network: what was on its way is lost, from now on all arrives at once.
    fn recover(&mut self) {
        self.flight.clear();
        // Attempts that were just made in vain are made again.
        let (ours, theirs) = (self.our_packet(), self.their_packet());
        let mut waiting = vec![ours, theirs];
        for round in 0..200 {
            while !self.flight.is_empty() {
                let datagram = self.flight.remove(0);
                self.arrive(datagram);
            }
            waiting.retain(|number| !self.packets[*number].1);
            if waiting.is_empty() {
                return;
            }
            self.wait(TICK);
            match round {
                // Who has just answered an initiation that came to nothing sends no own for 5 s;
                // the packet waits for the next one, as in the kernel.
                60 => waiting = vec![self.our_packet()],
                // Theirs went out under a session that only they still had.
                120 => waiting = vec![self.our_packet(), self.their_packet()],
                _ => {}
            }
        }
        panic!("on a good network {waiting:?} did not arrive");
    }

    fn index(&mut self) -> LocalIndex {
        // Theirs begin with 24 random bits, and have nothing to do with ours.
        let value = self.rng.next_u32();
        self.indices.0.lock().unwrap().insert(value, ());
        LocalIndex::new(value, self.indices.clone())
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(1_000_000_000) + self.now
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.now
    }
}

/// A packet with a header that boringtun believes, whose length follows from its number.
fn packet(number: usize) -> Vec<u8> {
    let length = 28 + number * 7 % 1300;
    let mut packet: Vec<u8> = (0..length).map(|i| (number + i) as u8).collect();
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[20..28].copy_from_slice(&(number as u64).to_be_bytes());
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn both_agree_whatever_the_network_does(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut pair = Pair::new(seed);
        steps.iter().for_each(|step| pair.take(step));
        pair.recover();
    }
}
