//! Two hosts that are each other's only peer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_noise::{
    HandshakeError, INITIATION_LEN, IncomingInitiation, IndexTable, Instant, LocalIndex,
    LocalStatic, Message, OpenError, Peer, RESPONSE_LEN, Reservation, TRANSPORT_OVERHEAD, Tai64n,
    Wanted,
};

pub(crate) const START: Instant = Instant::from_nanos(1_000_000_000);
pub(crate) const UNIX: Duration = Duration::from_secs(1_700_000_000);

pub(crate) fn after(millis: u64) -> Instant {
    START + Duration::from_millis(millis)
}

/// One of two hosts and its view of the other.
pub(crate) struct Side {
    pub(crate) rng: ChaCha20Rng,
    pub(crate) local: LocalStatic,
    pub(crate) peer: Peer,
    pub(crate) indices: Arc<Indices>,
}

#[derive(Default)]
pub(crate) struct Indices(Mutex<HashSet<u32>>);

impl IndexTable for Indices {
    fn release(&self, index: u32) {
        assert!(self.0.lock().unwrap().remove(&index), "released twice");
    }
}

impl Side {
    pub(crate) fn index(&mut self) -> LocalIndex {
        let value = self.rng.next_u32();
        assert!(self.indices.0.lock().unwrap().insert(value));
        LocalIndex::new(value, self.indices.clone())
    }

    pub(crate) fn indices_in_use(&self) -> usize {
        self.indices.0.lock().unwrap().len()
    }

    pub(crate) fn initiate(&mut self, now: Instant) -> Option<[u8; INITIATION_LEN]> {
        let index = self.index();
        let wall = Tai64n::from_unix(UNIX + now.since(START));
        self.peer.initiate(&self.local, index, now, wall, &mut self.rng)
    }

    pub(crate) fn answer(
        &mut self,
        message: &[u8; INITIATION_LEN],
        now: Instant,
    ) -> Result<[u8; RESPONSE_LEN], HandshakeError> {
        let opened = IncomingInitiation::open(&self.local, message)?;
        let index = self.index();
        self.peer.consume_initiation(&self.local, opened, index, now, &mut self.rng)
    }

    pub(crate) fn finish(
        &self,
        message: &[u8; RESPONSE_LEN],
        now: Instant,
    ) -> Result<Wanted, HandshakeError> {
        self.peer.consume_response(&self.local, message, now, UNIX)
    }

    pub(crate) fn seal(&self, text: &[u8], now: Instant) -> Option<Vec<u8>> {
        let Reservation { keypair, first } = self.peer.reserve(1, now)?;
        let mut message = vec![0; TRANSPORT_OVERHEAD + text.len()];
        message[16..16 + text.len()].copy_from_slice(text);
        keypair.seal(first, &mut message);
        Some(message)
    }

    /// Whether a transport message is authentic and new.
    pub(crate) fn accept(&self, message: &[u8], now: Instant) -> bool {
        let Some(Message::Transport { receiver, counter }) = Message::parse(message) else {
            panic!("not a transport message");
        };
        let mut fresh = [self.open(message, now).is_ok()];
        self.peer.keypair(receiver, now).unwrap().accept(&[counter], &mut fresh);
        fresh[0]
    }

    pub(crate) fn open(&self, message: &[u8], now: Instant) -> Result<Vec<u8>, OpenError> {
        let mut message = message.to_vec();
        let Some(Message::Transport { receiver, counter }) = Message::parse(&message) else {
            panic!("not a transport message");
        };
        let keypair = self.peer.keypair(receiver, now).unwrap();
        let text = keypair.open(counter, &mut message)?.to_vec();
        let _ = self.peer.received(&keypair, !text.is_empty(), now, UNIX);
        Ok(text)
    }
}

pub(crate) fn sides() -> (Side, Side) {
    let privates = [[0x11; 32], [0x22; 32]];
    let publics = privates.map(|private| *LocalStatic::new(&private).public_key());
    let side = |seed: u8| Side {
        rng: ChaCha20Rng::seed_from_u64(seed.into()),
        local: LocalStatic::new(&privates[usize::from(seed)]),
        peer: Peer::new(publics[usize::from(1 - seed)]),
        indices: Arc::default(),
    };
    (side(0), side(1))
}

/// Both sides after a handshake that the first one initiated, confirmed.
pub(crate) fn connected() -> (Side, Side) {
    let (mut a, mut b) = sides();
    let initiation = a.initiate(START).unwrap();
    let response = b.answer(&initiation, START).unwrap();
    let _ = a.finish(&response, START).unwrap();
    assert_eq!(b.open(&a.seal(&[], START).unwrap(), START), Ok(Vec::new()));
    (a, b)
}

/// `message` with one bit changed, for each byte in `range`.
pub(crate) fn tampered<const N: usize>(
    message: [u8; N],
    range: std::ops::Range<usize>,
) -> impl Iterator<Item = (usize, [u8; N])> {
    range.map(move |position| {
        let mut message = message;
        message[position] ^= 0x04;
        (position, message)
    })
}
