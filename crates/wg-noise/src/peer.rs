//! A peer: handshake, keypairs, staged packets, timers. All methods take `&self`: the data path
//! touches atomics and snapshots only, handshakes take a lock of their own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::constants::{
    INITIATIONS_PER_SECOND, KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER,
};
use crate::handshake::{HandshakeError, IncomingInitiation, SentInitiation, StaticStatic};
use crate::index::LocalIndex;
use crate::key::{LocalStatic, PresharedKey, PublicKey};
use crate::keypair::{Keypair, Reservation};
use crate::keypairs::Keypairs;
use crate::mac::MacWriter;
use crate::message::{COOKIE_REPLY_LEN, INITIATION_LEN, RESPONSE_LEN, read_u32};
use crate::staged::{Staged, StagingBudget};
use crate::time::{Instant, Tai64n};
use crate::timers::Timers;

/// One peer. Shared by threads.
pub struct Peer {
    public_key: PublicKey,
    handshake: Mutex<Handshake>,
    keypairs: Keypairs,
    staged: Staged,
    timers: Timers,
    /// Nanoseconds since the Unix epoch, 0 for never.
    last_handshake: AtomicU64,
}

/// What the caller must do next for this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Wanted {
    /// Call [`Peer::initiate`] and send what it returns.
    pub initiation: bool,
    /// Send the staged packets; if there are none and `keepalive` is set, a keepalive.
    pub staged: bool,
    /// Send an empty transport message.
    pub keepalive: bool,
}

/// What only handshakes touch.
#[derive(Default)]
struct Handshake {
    preshared: PresharedKey,
    /// Of the peer's static key and the local one named.
    static_static: Option<(PublicKey, StaticStatic)>,
    /// Our initiation that waits for its answer.
    /// Apart, since few of many peers have one.
    sent: Option<Box<Initiated>>,
    macs: MacWriter,
    /// Of the last initiation that the peer had answered: its own time, and ours.
    latest_timestamp: Option<Tai64n>,
    latest_initiation: Option<Instant>,
    /// Of our last initiation.
    sent_timestamp: Option<Tai64n>,
}

struct Initiated {
    index: LocalIndex,
    state: SentInitiation,
    at: Instant,
}

impl Peer {
    /// A peer without a session, with a staging budget of its own.
    pub fn new(public_key: PublicKey) -> Self {
        Self::with_budget(public_key, Arc::default())
    }

    /// A peer without a session. The peers of one interface share a budget.
    pub fn with_budget(public_key: PublicKey, budget: Arc<StagingBudget>) -> Self {
        Self {
            public_key,
            handshake: Mutex::default(),
            keypairs: Keypairs::default(),
            staged: Staged::new(budget),
            timers: Timers::default(),
            last_handshake: AtomicU64::new(0),
        }
    }

    /// The peer's static public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Sets or clears the preshared key for the handshakes to come.
    pub fn set_preshared_key(&self, key: Option<PresharedKey>) {
        self.lock().preshared = key.unwrap_or_default();
    }

    /// Seconds between keepalives, 0 for none. Setting it from 0 wants a keepalive now.
    pub fn set_persistent_keepalive(&self, seconds: u16, now: Instant) -> Wanted {
        if self.timers.set_persistent_keepalive(seconds, now) {
            Wanted::STAGED_OR_KEEPALIVE
        } else {
            Wanted::default()
        }
    }

    /// The seconds between keepalives.
    pub fn persistent_keepalive(&self) -> u16 {
        self.timers.persistent_keepalive()
    }

    /// Forgets sessions, handshake, staged packets, timers and what was derived from the local
    /// static key: the interface went down, its private key changed, or the peer is removed.
    ///
    /// Keeps the preshared key, the interval of the persistent keepalive (whose timer starts with
    /// the next packet) and the last timestamps, without which old initiations could be replayed.
    pub fn reset(&self) {
        let mut handshake = self.lock();
        handshake.sent = None;
        handshake.static_static = None;
        self.keypairs.clear();
        self.timers.reset();
        self.staged.take();
    }

    /// When the latest handshake ended, since the Unix epoch.
    pub fn last_handshake(&self) -> Option<Duration> {
        let nanos = self.last_handshake.load(Ordering::Relaxed);
        (nanos != 0).then_some(Duration::from_nanos(nanos))
    }
}

/// Sending.
impl Peer {
    /// Takes `count` send counters of the current session; `None` when there is no session that
    /// may still send: stage the packets and initiate.
    pub fn reserve(&self, count: u64, now: Instant) -> Option<Reservation> {
        let reservation = self.keypairs.current().and_then(|keypair| {
            let first = keypair.reserve(count, now)?;
            Some(Reservation { keypair, first })
        });
        if reservation.is_none() {
            // Somebody wants to send: the attempts at a handshake start over.
            self.timers.handshake_wanted(now);
        }
        reservation
    }

    /// A batch of transport messages left; `data` unless all were keepalives.
    pub fn sent(&self, keypair: &Keypair, data: bool, now: Instant) -> Wanted {
        self.timers.any_packet_sent(now);
        if data {
            self.timers.data_sent(now);
        }
        Wanted {
            initiation: self.wants_successor(keypair, now) && self.timers.handshake_wanted(now),
            // A packet may have been staged just when the session came.
            staged: self.staged.any(),
            keepalive: false,
        }
    }

    /// Keeps a copy of a packet until there is a session; the oldest of 128 gives way, and so do
    /// those for whom the [`StagingBudget`] has no room. One that comes just after the session
    /// took the others is reported by the next [`Peer::sent`].
    pub fn stage(&self, packet: &[u8]) {
        self.staged.push(packet);
    }

    /// The staged packets, oldest first.
    pub fn take_staged(&self) -> Vec<Box<[u8]>> {
        self.staged.take()
    }

    /// Whether packets are staged.
    pub fn has_staged(&self) -> bool {
        self.staged.any()
    }

    /// Whether [`Peer::initiate`] would make a message now: the last handshake message is
    /// REKEY_TIMEOUT (5 s) ago. To be asked before work is queued (kernel:
    /// `wg_packet_send_queued_handshake_initiation`).
    pub fn may_initiate(&self, now: Instant) -> bool {
        self.timers.may_initiate(now)
    }

    /// The first message of a new handshake, `None` when one was sent less than REKEY_TIMEOUT
    /// (5 s) ago or the peer's key is invalid. `index` is dropped when not used.
    ///
    /// Its timestamp is `wall`, or a little later than that of the last initiation if that is not
    /// earlier: the peer refuses a timestamp that does not rise, and a clock that was set back
    /// would stop handshakes until it is where it was (as it does in the kernel, which sends what
    /// the clock shows).
    pub fn initiate(
        &self,
        local: &LocalStatic,
        index: LocalIndex,
        now: Instant,
        wall: Tai64n,
        rng: &mut impl CryptoRng,
    ) -> Option<[u8; INITIATION_LEN]> {
        let mut handshake = self.lock();
        if !self.timers.may_initiate(now) {
            return None;
        }
        self.timers.handshake_attempted(now);
        let static_static = handshake.static_static(local, &self.public_key).ok()?;
        let wall = handshake.sent_timestamp.map_or(wall, |last| wall.max(last.successor()));
        handshake.sent_timestamp = Some(wall);
        let (state, mut message) = SentInitiation::create(
            local,
            &self.public_key,
            &static_static,
            index.value(),
            wall,
            rng,
        )
        .ok()?;
        handshake.sent = Some(Box::new(Initiated { index, state, at: now }));
        handshake.macs.add_macs(&self.public_key, &mut message, now);
        self.timers.draw_jitter(rng.next_u64());
        self.timers.handshake_initiated(now);
        self.timers.any_packet_sent(now);
        Some(message)
    }

    /// Whether a keypair that was just sent with is due for a new handshake (kernel:
    /// `keep_key_fresh` in `send.c`).
    ///
    /// A responder asks too, later than any initiator that has its keys in use. After both sides
    /// initiated at once and messages overtook each other, each may be the responder of what it
    /// sends with; nobody would renew then, and both keypairs would expire.
    fn wants_successor(&self, keypair: &Keypair, now: Instant) -> bool {
        let responders_turn = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT;
        let turn = if keypair.is_initiator() { REKEY_AFTER_TIME } else { responders_turn };
        let old = now.since(keypair.born()) >= turn;
        let worn = keypair.sent_messages() > REKEY_AFTER_MESSAGES;
        (old || worn) && self.keypairs.is_current(keypair)
    }
}

/// Receiving.
impl Peer {
    /// Answers an initiation: checks the peer's static key and timestamp, derives the next
    /// keypair under `index`, returns the response to send.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; nothing has changed then.
    pub fn consume_initiation(
        &self,
        local: &LocalStatic,
        initiation: IncomingInitiation,
        index: LocalIndex,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) -> Result<[u8; RESPONSE_LEN], HandshakeError> {
        let mut handshake = self.lock();
        let static_static = handshake.static_static(local, &self.public_key)?;
        let initiation = initiation.authenticate(&static_static)?;
        handshake.check_freshness(initiation.timestamp, now)?;
        let timestamp = initiation.timestamp;
        let (keys, mut response) = initiation.respond(&handshake.preshared, index.value(), rng)?;
        // One that crossed the peer's on the way is younger.
        handshake.sent.take_if(|sent| sent.is_overdue(now));
        handshake.latest_timestamp = Some(timestamp);
        handshake.latest_initiation = Some(now);
        handshake.macs.add_macs(&self.public_key, &mut response, now);

        self.keypairs.add_answered(&Arc::new(Keypair::new(index, keys, false, now)));
        self.timers.draw_jitter(rng.next_u64());
        self.timers.handshake_attempted(now);
        self.timers.session_derived(now);
        self.timers.any_packet_sent(now);
        self.timers.any_packet_received(now);
        Ok(response)
    }

    /// Finishes our handshake; then the staged packets or a keepalive go out to confirm it.
    /// `unix` is the time since the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; the handshake goes on waiting for the true response, unless it is so
    /// old that the next initiation is due.
    pub fn consume_response(
        &self,
        local: &LocalStatic,
        message: &[u8; RESPONSE_LEN],
        now: Instant,
        unix: Duration,
    ) -> Result<Wanted, HandshakeError> {
        let mut handshake = self.lock();
        let sent = handshake
            .sent
            .take_if(|sent| sent.index.value() == read_u32(message, 8))
            .filter(|sent| !sent.is_overdue(now))
            .ok_or(HandshakeError::Unexpected)?;
        let keys = match sent.state.finish(local, &handshake.preshared, message) {
            Ok(keys) => keys,
            Err(error) => {
                handshake.sent = Some(sent);
                return Err(error);
            }
        };
        let keypair = Arc::new(Keypair::new(sent.index, keys, true, now));
        let yields = *local.public_key() < self.public_key;
        self.keypairs.add_initiated(&keypair, sent.at, yields);
        self.timers.session_derived(now);
        self.handshake_complete(unix);
        self.timers.any_packet_received(now);
        Ok(Wanted::STAGED_OR_KEEPALIVE)
    }

    /// Keeps the cookie for the next initiation.
    ///
    /// # Errors
    ///
    /// `Unexpected` when no message of ours waits for a cookie, `Authentication` when the reply
    /// is not one to the last message.
    pub fn consume_cookie_reply(
        &self,
        message: &[u8; COOKIE_REPLY_LEN],
        now: Instant,
    ) -> Result<(), HandshakeError> {
        self.lock().macs.consume_reply(&self.public_key, message, now)
    }

    /// The keypair (previous, current or next) with this local index, if it may still receive.
    pub fn keypair(&self, local_index: u32, now: Instant) -> Option<Arc<Keypair>> {
        self.keypairs.with_local_index(local_index).filter(|keypair| !keypair.is_expired(now))
    }

    /// A batch of fresh, authenticated transport messages of `keypair` arrived; `data` unless
    /// all were keepalives. Confirms a `next` keypair. `unix` is the time since the Unix epoch.
    pub fn received(
        &self,
        keypair: &Arc<Keypair>,
        data: bool,
        now: Instant,
        unix: Duration,
    ) -> Wanted {
        let confirmed = self.keypairs.confirm(keypair);
        if confirmed {
            self.handshake_complete(unix);
        }
        let initiation = self.is_near_its_end(keypair, now)
            && self.timers.first_lastminute_handshake()
            && self.timers.handshake_wanted(now);
        self.timers.any_packet_received(now);
        if data {
            self.timers.data_received(now);
        }
        Wanted { initiation, staged: confirmed && self.staged.any(), keepalive: false }
    }

    /// Whether our own keypair would expire before an answer to a packet received now, and a
    /// handshake after that, were due (kernel: `keep_key_fresh` in `receive.c`).
    fn is_near_its_end(&self, keypair: &Keypair, now: Instant) -> bool {
        keypair.is_initiator()
            && now.since(keypair.born()) >= REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
            && self.keypairs.is_current(keypair)
    }

    fn handshake_complete(&self, unix: Duration) {
        self.timers.handshake_complete();
        let nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        self.last_handshake.store(nanos, Ordering::Relaxed);
    }
}

/// Timers.
impl Peer {
    /// When [`Peer::poll`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    /// Runs the timers that are due.
    pub fn poll(&self, now: Instant) -> Wanted {
        let due = self.timers.poll(now);
        if due.give_up {
            self.staged.take();
        }
        if due.zero_key_material {
            self.lock().sent = None;
            self.keypairs.clear();
        }
        let keepalive = if due.keepalive { Wanted::STAGED_OR_KEEPALIVE } else { Wanted::default() };
        Wanted { initiation: due.initiation, ..keepalive }
    }

    fn lock(&self) -> MutexGuard<'_, Handshake> {
        self.handshake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    const STAGED_OR_KEEPALIVE: Self = Self { initiation: false, staged: true, keepalive: true };
}

impl Initiated {
    /// Whether it has waited for longer than until the next initiation: its ephemeral key must
    /// not live on to make a session much later.
    fn is_overdue(&self, now: Instant) -> bool {
        now.since(self.at) > REKEY_TIMEOUT + REKEY_TIMEOUT_JITTER
    }
}

impl Handshake {
    /// Both static keys' shared secret, computed on first use: a hundred thousand peers are
    /// configured without a Diffie-Hellman each.
    fn static_static(
        &mut self,
        local: &LocalStatic,
        remote: &PublicKey,
    ) -> Result<StaticStatic, HandshakeError> {
        if let Some((of, secret)) = &self.static_static
            && of == local.public_key()
        {
            return Ok(secret.clone());
        }
        let secret = Zeroizing::new(local.diffie_hellman(remote.as_bytes())?.to_bytes());
        self.static_static = Some((*local.public_key(), secret.clone()));
        Ok(secret)
    }

    fn check_freshness(&self, timestamp: Tai64n, now: Instant) -> Result<(), HandshakeError> {
        if self.latest_timestamp.is_some_and(|latest| timestamp <= latest) {
            return Err(HandshakeError::Replay);
        }
        let interval = Duration::from_secs(1) / INITIATIONS_PER_SECOND;
        if self.latest_initiation.is_some_and(|latest| now.since(latest) < interval) {
            return Err(HandshakeError::Flood);
        }
        Ok(())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use testbed::memory::is_left_of_dropped;

    use super::*;

    #[test]
    fn reset_forgets_the_secret_of_both_static_keys() {
        let (local, remote) = (LocalStatic::new(&[1; 32]), LocalStatic::new(&[2; 32]));
        let peer = Peer::new(*remote.public_key());
        assert!(peer.lock().static_static(&local, remote.public_key()).is_ok());
        peer.reset();
        assert!(peer.lock().static_static.is_none());
    }

    #[test]
    fn nothing_is_left_of_the_secret_of_both_static_keys() {
        let (local, remote) = (LocalStatic::new(&[1; 32]), LocalStatic::new(&[2; 32]));
        let peer = Peer::new(*remote.public_key());
        let secret = peer.lock().static_static(&local, remote.public_key()).unwrap();
        assert!(!is_left_of_dropped(peer, &*secret));
    }
}
