//! What handshake messages cost a responder: initiations that are answered, and junk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wg_noise::{
    CookieChecker, INITIATION_LEN, IncomingInitiation, IndexTable, Instant, LocalIndex,
    LocalStatic, MacState, Peer, Tai64n,
};

struct Released;

impl IndexTable for Released {
    fn release(&self, _: u32) {}
}

fn index() -> LocalIndex {
    LocalIndex::new(7, Arc::new(Released))
}

/// The responder, and a peer of it.
struct Hosts {
    responder: LocalStatic,
    cookies: CookieChecker,
    initiator: LocalStatic,
    source: SocketAddr,
    rng: ChaCha20Rng,
    /// The time, which each initiation moves on.
    unix: Duration,
}

impl Hosts {
    fn new() -> Self {
        let responder = LocalStatic::new(&[1; 32]);
        Self {
            cookies: CookieChecker::new(responder.public_key()),
            responder,
            initiator: LocalStatic::new(&[2; 32]),
            source: SocketAddr::from(([192, 0, 2, 1], 51820)),
            rng: ChaCha20Rng::seed_from_u64(1),
            unix: Duration::from_secs(1_700_000_000),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.unix.as_nanos() as u64)
    }

    fn initiation(&mut self) -> [u8; INITIATION_LEN] {
        self.unix += Duration::from_secs(1);
        let peer = Peer::new(*self.responder.public_key());
        let (now, wall) = (self.now(), Tai64n::from_unix(self.unix));
        peer.initiate(&self.initiator, index(), now, wall, &mut self.rng).expect("the first one")
    }

    /// All that is done with an initiation; whether it is answered.
    fn receive(&mut self, peer: &Peer, message: &[u8; INITIATION_LEN]) -> bool {
        let now = self.now();
        if self.cookies.check(message, self.source, now) == MacState::Invalid {
            return false;
        }
        let Ok(opened) = IncomingInitiation::open(&self.responder, message) else { return false };
        opened.public_key() == peer.public_key()
            && peer.consume_initiation(&self.responder, opened, index(), now, &mut self.rng).is_ok()
    }
}

fn handshakes(criterion: &mut Criterion) {
    let mut hosts = Hosts::new();
    let peer = Peer::new(*hosts.initiator.public_key());
    let mut group = criterion.benchmark_group("initiation");

    let known = std::cell::RefCell::new(Hosts::new());
    group.bench_function("answered", |bencher| {
        bencher.iter_batched_ref(
            || known.borrow_mut().initiation(),
            |initiation| assert!(known.borrow_mut().receive(&peer, initiation)),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("answered, the first of its peer", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut known = known.borrow_mut();
                (Peer::new(*known.initiator.public_key()), known.initiation())
            },
            |(peer, initiation)| assert!(known.borrow_mut().receive(peer, initiation)),
            BatchSize::PerIteration,
        );
    });

    let mut bad_mac = hosts.initiation();
    bad_mac[120] ^= 1;
    group.bench_function("mac1 is wrong", |bencher| {
        bencher.iter(|| assert!(!hosts.receive(&peer, &bad_mac)));
    });

    // Whoever knows our public key can make a mac1, and name a peer that we do not have.
    let good = hosts.initiation();
    let stranger = Peer::new(*LocalStatic::new(&[3; 32]).public_key());
    group.bench_function("from a stranger", |bencher| {
        bencher.iter(|| assert!(!hosts.receive(&stranger, &good)));
    });

    let replayed = Peer::new(*hosts.initiator.public_key());
    assert!(hosts.receive(&replayed, &good));
    group.bench_function("replayed", |bencher| {
        bencher.iter(|| assert!(!hosts.receive(&replayed, &good)));
    });
    group.finish();
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
