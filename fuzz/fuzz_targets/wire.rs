//! Datagrams from the network to a peer with a live counterpart: junk, messages of the
//! counterpart as they are, late, twice or changed, while time passes. What comes out was sent by
//! the counterpart, as it was, and only once.

#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wg_noise::{
    CookieChecker, IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, MacState,
    Message, Peer, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Tai64n,
};

/// Messages of the counterpart that are remembered.
const REMEMBERED: usize = 64;

fuzz_target!(|script: &[u8]| {
    let mut scene = Scene::new();
    let mut rest = script;
    while let [command, argument, more @ ..] = rest {
        rest = scene.step(*command, *argument, more);
    }
});

struct Indices;

impl IndexTable for Indices {
    fn release(&self, _index: u32) {}
}

/// One of the two, each the other's only peer.
struct Side {
    local: &'static LocalStatic,
    cookies: CookieChecker,
    peer: Peer,
    /// Plaintexts that came out.
    received: Vec<u8>,
}

struct Scene {
    us: Side,
    them: Side,
    /// What they have sent, to us.
    messages: Vec<Vec<u8>>,
    /// The plaintexts they have sent, each one byte that no other is.
    sent: u8,
    now: Instant,
    next_index: u32,
    rng: ChaCha8Rng,
}

fn keys() -> &'static [LocalStatic; 2] {
    static KEYS: OnceLock<[LocalStatic; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [LocalStatic::new(&[1; 32]), LocalStatic::new(&[2; 32])])
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51820))
}

impl Scene {
    fn new() -> Self {
        let side = |own: usize| Side {
            local: &keys()[own],
            cookies: CookieChecker::new(keys()[own].public_key()),
            peer: Peer::new(*keys()[1 - own].public_key()),
            received: Vec::new(),
        };
        Self {
            us: side(0),
            them: side(1),
            messages: Vec::new(),
            sent: 0,
            now: Instant::from_nanos(1_000_000_000),
            next_index: 1,
            rng: ChaCha8Rng::seed_from_u64(0),
        }
    }

    /// Does one command and returns the bytes that it has left.
    fn step<'a>(&mut self, command: u8, argument: u8, more: &'a [u8]) -> &'a [u8] {
        match command % 10 {
            // Junk.
            0 => {
                let (datagram, rest) = more.split_at(usize::from(argument).min(more.len()));
                self.deliver(datagram);
                return rest;
            }
            // Junk that says to be a message: short of its MACs, nothing else is known of it.
            1 => {
                let kind = argument % 4 + 1;
                let length = [148, 92, 64, 48][usize::from(kind) - 1].min(more.len());
                let (body, rest) = more.split_at(length);
                let mut datagram = body.to_vec();
                datagram.splice(..4.min(length), [kind, 0, 0, 0]);
                self.deliver(&datagram);
                return rest;
            }
            2 => {
                let index = self.index();
                let (now, wall) = (self.now, Tai64n::from_unix(self.unix()));
                let message =
                    self.them.peer.initiate(self.them.local, index, now, wall, &mut self.rng);
                self.remember(message);
            }
            3 => {
                let index = self.index();
                let (now, wall) = (self.now, Tai64n::from_unix(self.unix()));
                let message = self.us.peer.initiate(self.us.local, index, now, wall, &mut self.rng);
                if let Some(message) = message {
                    self.answer(&message);
                }
            }
            4 => self.they_send_data(),
            // One of their messages, as it is.
            5 => {
                if let Some(message) = self.messages.get(usize::from(argument)).cloned() {
                    self.deliver(&message);
                }
            }
            // The latest of them, changed.
            6 => {
                if let (Some(mut message), [at, rest @ ..]) = (self.messages.last().cloned(), more)
                {
                    let at = usize::from(*at) % message.len();
                    message[at] ^= argument.max(1);
                    self.deliver(&message);
                    return rest;
                }
            }
            // The latest of them, cut short.
            7 => {
                if let Some(message) = self.messages.last().cloned() {
                    let length = usize::from(argument) % message.len();
                    self.deliver(&message[..length]);
                }
            }
            8 => self.now = self.now + Duration::from_millis(250 * u64::from(argument)),
            _ => {
                let _ = self.us.peer.poll(self.now);
                let _ = self.them.peer.poll(self.now);
                // What is due later is not in the past, or nobody would ever wake for it.
                let _ = self.us.peer.deadline();
            }
        }
        more
    }

    fn index(&mut self) -> LocalIndex {
        self.next_index += 1;
        LocalIndex::new(self.next_index, Arc::new(Indices))
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + Duration::from_nanos(self.now.as_nanos())
    }

    fn remember<const N: usize>(&mut self, message: Option<[u8; N]>) {
        if let Some(message) = message
            && self.messages.len() < REMEMBERED
        {
            self.messages.push(message.to_vec());
        }
    }

    /// They get our initiation.
    fn answer(&mut self, message: &[u8; 148]) {
        let opened = IncomingInitiation::open(self.them.local, message).expect("it is ours");
        let index = self.index();
        let (local, now) = (self.them.local, self.now);
        let answer = self.them.peer.consume_initiation(local, opened, index, now, &mut self.rng);
        self.remember(answer.ok());
        let reply = self.them.cookies.reply(message, source(), self.now, &mut self.rng);
        self.remember(Some(reply));
    }

    fn they_send_data(&mut self) {
        let Some(reservation) = self.them.peer.reserve(1, self.now) else { return };
        if self.messages.len() == REMEMBERED {
            return;
        }
        self.sent += 1;
        let mut message = vec![0; TRANSPORT_OVERHEAD + 16];
        message[TRANSPORT_HEADER_LEN] = self.sent;
        reservation.keypair.seal(reservation.first, &mut message);
        let _ = self.them.peer.sent(&reservation.keypair, true, self.now);
        self.messages.push(message);
    }

    /// We get a datagram, as the engine would handle it.
    fn deliver(&mut self, datagram: &[u8]) {
        let Some(message) = Message::parse(datagram) else { return };
        if matches!(message, Message::Initiation(_) | Message::Response(_))
            && self.us.cookies.check(datagram, source(), self.now) == MacState::Invalid
        {
            return;
        }
        let now = self.now;
        match message {
            Message::Initiation(initiation) => {
                let Ok(opened) = IncomingInitiation::open(self.us.local, initiation) else {
                    return;
                };
                assert_eq!(opened.public_key(), self.us.peer.public_key(), "nobody else is there");
                let index = self.index();
                let local = self.us.local;
                let answer =
                    self.us.peer.consume_initiation(local, opened, index, now, &mut self.rng);
                if let Ok(answer) = answer
                    && let Some(Message::Response(response)) = Message::parse(&answer)
                {
                    // They may have given up on it meanwhile.
                    let (local, unix) = (self.them.local, self.unix());
                    let _ = self.them.peer.consume_response(local, response, now, unix);
                }
            }
            Message::Response(response) => {
                let (local, unix) = (self.us.local, self.unix());
                let _ = self.us.peer.consume_response(local, response, now, unix);
            }
            Message::CookieReply(reply) => {
                let _ = self.us.peer.consume_cookie_reply(reply, now);
            }
            Message::Transport { receiver, counter } => self.open(receiver, counter, datagram),
        }
    }

    fn open(&mut self, receiver: u32, counter: u64, datagram: &[u8]) {
        let Some(keypair) = self.us.peer.keypair(receiver, self.now) else { return };
        let mut datagram = datagram.to_vec();
        let Ok(plaintext) = keypair.open(counter, &mut datagram) else { return };
        let byte = *plaintext.first().expect("they send no keepalives");
        assert!(plaintext.len() == 16 && plaintext[1..] == [0; 15] && byte <= self.sent);
        let mut fresh = [true];
        keypair.accept(&[counter], &mut fresh);
        if fresh == [true] {
            assert!(!self.us.received.contains(&byte), "delivered twice");
            self.us.received.push(byte);
            let _ = self.us.peer.received(&keypair, true, self.now, self.unix());
        }
    }
}
