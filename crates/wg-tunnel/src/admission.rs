//! Which handshake messages are worth curve arithmetic. Decided where they are received, before
//! the queue: what a flood brings costs a hash each and takes no place from a peer's message.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use wg_noise::{CookieChecker, Instant, MacState, Message, RateLimiter};

use crate::datagrams::{Datagram, Sender};
use crate::endpoint::Endpoint;
use crate::engine::{Engine, FIRST_LANE, Identity};
use crate::handshakes::Incoming;
use crate::per_second::PerSecond;

/// What is shared by the threads that receive.
#[derive(Default)]
pub(crate) struct Admission {
    /// Initiations and responses from addresses that are proven.
    limiter: Mutex<RateLimiter>,
    replies: ReplyLimit,
}

/// Hands a handshake message to the thread that does the arithmetic, if it is worth the while:
/// mac1 comes first, and under load the sender must have proven its address with a cookie
/// (paper, section 5.3; kernel: `wg_receive_handshake_packet`).
pub(crate) fn admit(engine: &Engine, bytes: &[u8], from: Endpoint, now: Instant) {
    let Some(message) = Message::parse(bytes) else { return };
    let identity = engine.identity.load();
    let Some(identity) = identity.as_deref() else { return };
    if message.receiver().is_some_and(|index| engine.indices.find(index).is_none()) {
        return;
    }
    // A cookie reply has no MACs.
    if !matches!(message, Message::CookieReply(_)) {
        // Nothing would come of the hash.
        let is_under_load = engine.handshakes.is_under_load(now);
        if is_under_load
            && !CookieChecker::has_mac2(bytes)
            && engine.admission.replies.is_used_up(from.address.ip(), now)
        {
            return;
        }
        let mac = identity.cookies.check(bytes, from.address, now);
        if mac == MacState::Invalid {
            if engine.limits.handshakes.allow(now) {
                log::debug!("handshake message from {} refused: invalid mac1", from.address);
            }
            return;
        }
        if is_under_load
            && !engine.admission.passes_under_load(engine, identity, bytes, &from, mac, now)
        {
            return;
        }
    }
    if !engine.handshakes.receive(Incoming::new(bytes, from), now)
        && engine.limits.handshakes.allow(now)
    {
        log::warn!("too many handshakes: messages are dropped");
    }
}

impl Admission {
    /// Lets a proven address through at a limited rate, and sends others a cookie.
    fn passes_under_load(
        &self,
        engine: &Engine,
        identity: &Identity,
        bytes: &[u8],
        from: &Endpoint,
        mac: MacState,
        now: Instant,
    ) -> bool {
        if mac == MacState::Mac2 {
            let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
            return limiter.allow(from.address.ip(), now);
        }
        if self.replies.allow(from.address.ip(), now) {
            let reply = identity.cookies.reply(bytes, from.address, now, &mut UnwrapErr(SysRng));
            if let Some(sockets) = engine.sockets.load().as_deref() {
                let datagram = Datagram { bytes: &reply, endpoint: *from, segment: false, tos: 0 };
                let datagrams = std::iter::once(datagram);
                sockets.send(FIRST_LANE, &mut Sender::default(), &datagrams, |_, _| {});
            }
        }
        false
    }
}

/// Places for sources in a [`ReplyLimit`].
const PLACES: usize = 1024;
/// Cookie replies for each place in a second.
const REPLIES: u64 = 32;

/// How many cookie replies go to one source, so that a flood from there leaves time for others.
///
/// Forged sources make others share a place with theirs, but take no memory; a peer then waits
/// for its next attempt.
struct ReplyLimit {
    places: Box<[PerSecond]>,
    /// Keyed at random, so that nobody can choose whose place to take.
    hasher: RandomState,
}

impl Default for ReplyLimit {
    fn default() -> Self {
        let places = std::iter::repeat_with(PerSecond::default).take(PLACES).collect();
        Self { places, hasher: RandomState::new() }
    }
}

impl ReplyLimit {
    /// Whether this source may have a reply, which is counted.
    fn allow(&self, source: IpAddr, now: Instant) -> bool {
        self.place(source).allow(REPLIES, now)
    }

    /// Whether [`ReplyLimit::allow`] would refuse.
    fn is_used_up(&self, source: IpAddr, now: Instant) -> bool {
        self.place(source).is_used_up(REPLIES, now)
    }

    fn place(&self, source: IpAddr) -> &PerSecond {
        let source = match source.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        &self.places[self.hasher.hash_one(source) as usize % PLACES]
    }
}

/// Remembers that the queue was long (kernel: `wg_receive_handshake_packet`).
#[derive(Default)]
pub(crate) struct Load {
    /// Nanoseconds, 0 for never.
    last: AtomicU64,
}

/// How long senders must prove their address after the queue has become shorter.
const LOAD_MEMORY: Duration = Duration::from_secs(1);

impl Load {
    pub(crate) fn note(&self, now: Instant) {
        self.last.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn is_present(&self, now: Instant) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last != 0 && now.since(Instant::from_nanos(last)) < LOAD_MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_secs(100) + Duration::from_millis(millis)
    }

    #[test]
    fn a_source_gets_some_replies_a_second_and_others_theirs() {
        let limit = ReplyLimit::default();
        let allowed = |source: &str, now| {
            let source = source.parse().unwrap();
            (0..1000).filter(|_| limit.allow(source, now)).count() as u64
        };
        assert!(!limit.is_used_up("192.0.2.1".parse().unwrap(), at(0)));
        assert_eq!(allowed("192.0.2.1", at(0)), REPLIES);
        assert!(limit.is_used_up("192.0.2.1".parse().unwrap(), at(999)));
        assert_eq!(allowed("192.0.2.1", at(999)), 0);
        assert_eq!(allowed("192.0.2.1", at(1000)), REPLIES);
        assert_eq!(allowed("2001:db8::1", at(1000)) + allowed("2001:db8::2", at(1000)), REPLIES);
        // A thousand sources: of a hundred others nearly all have a place of their own.
        let others = (0..100).filter(|i| allowed(&format!("198.51.100.{i}"), at(1000)) > 0).count();
        assert!(others > 80, "{others}");
    }

    #[test]
    fn load_is_remembered_for_a_second() {
        let load = Load::default();
        assert!(!load.is_present(at(0)));
        load.note(at(0));
        assert!(load.is_present(at(999)));
        assert!(!load.is_present(at(1000)));
    }
}
