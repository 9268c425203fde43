//! When a peer has something to do of itself (paper, sections 6.1 to 6.5; kernel: `timers.c`).
//!
//! The data path calls the events below for each batch, so a timer is one atomic that is written
//! only where its value changes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64};
use std::time::Duration;

use crate::constants::{
    KEEPALIVE_TIMEOUT, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT, REKEY_TIMEOUT_JITTER,
    ZERO_KEY_MATERIAL_TIME,
};
use crate::time::Instant;

/// One peer's timers.
#[derive(Default)]
pub(crate) struct Timers {
    /// A handshake that we initiated has had no answer.
    retransmit_handshake: OptionalInstant,
    /// Data came and nothing was sent since.
    send_keepalive: OptionalInstant,
    /// Data was sent and nothing came since.
    new_handshake: OptionalInstant,
    /// Keys are too old to be of any use.
    zero_key_material: OptionalInstant,
    /// The user wants packets to flow.
    persistent_keepalive: OptionalInstant,

    /// Seconds, 0 for none.
    persistent_keepalive_interval: AtomicU16,
    /// More data came while `send_keepalive` was running.
    need_another_keepalive: AtomicBool,
    /// A keypair near its end has asked for a new handshake already.
    sent_lastminute_handshake: AtomicBool,
    /// Since when a handshake is wanted.
    attempts_since: OptionalInstant,
    last_sent_handshake: OptionalInstant,
    /// Nanoseconds, drawn anew for each handshake.
    jitter: AtomicU64,
}

/// What [`Timers::poll`] found due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) initiation: bool,
    pub(crate) keepalive: bool,
    pub(crate) give_up: bool,
    pub(crate) zero_key_material: bool,
}

impl Timers {
    // Events.

    /// A packet with data was sent.
    pub(crate) fn data_sent(&self, now: Instant) {
        if !self.new_handshake.is_set() {
            self.new_handshake.set(now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self.jitter());
        }
    }

    /// A packet with data was received.
    pub(crate) fn data_received(&self, now: Instant) {
        if !self.send_keepalive.is_set() {
            self.send_keepalive.set(now + KEEPALIVE_TIMEOUT);
        } else if !self.need_another_keepalive.load(Relaxed) {
            self.need_another_keepalive.store(true, Relaxed);
        }
    }

    /// Any authenticated packet is sent: data, keepalive or handshake.
    pub(crate) fn any_packet_sent(&self, now: Instant) {
        self.send_keepalive.clear();
        self.any_packet_traversal(now);
    }

    /// Any authenticated packet was received.
    pub(crate) fn any_packet_received(&self, now: Instant) {
        self.new_handshake.clear();
        self.any_packet_traversal(now);
    }

    /// Somebody other than the retransmission timer wants a handshake. `true` when an initiation
    /// may be sent now.
    pub(crate) fn handshake_wanted(&self, now: Instant) -> bool {
        self.attempts_since.set(now);
        self.may_initiate(now)
    }

    /// An initiation is sent.
    pub(crate) fn handshake_initiated(&self, now: Instant) {
        if !self.attempts_since.is_set() {
            self.attempts_since.set(now);
        }
        self.retransmit_handshake.set(now + REKEY_TIMEOUT + self.jitter());
    }

    /// An initiation or a response is about to be made: the next initiation has to wait.
    pub(crate) fn handshake_attempted(&self, now: Instant) {
        self.last_sent_handshake.set(now);
    }

    /// A response was received, or the first data under the keys of one that we sent.
    pub(crate) fn handshake_complete(&self) {
        self.retransmit_handshake.clear();
        self.attempts_since.clear();
        self.sent_lastminute_handshake.store(false, Relaxed);
    }

    /// There are new keys.
    pub(crate) fn session_derived(&self, now: Instant) {
        self.zero_key_material.set(now + ZERO_KEY_MATERIAL_TIME);
    }

    // Questions and settings.

    /// Whether the last handshake message is REKEY_TIMEOUT ago.
    pub(crate) fn may_initiate(&self, now: Instant) -> bool {
        self.last_sent_handshake.get().is_none_or(|last| now.since(last) >= REKEY_TIMEOUT)
    }

    /// Whether this is the first time since the last handshake that a keypair near its end asks.
    pub(crate) fn first_lastminute_handshake(&self) -> bool {
        !self.sent_lastminute_handshake.load(Relaxed)
            && !self.sent_lastminute_handshake.swap(true, Relaxed)
    }

    /// Sets the jitter of the timers to come from 64 random bits.
    pub(crate) fn draw_jitter(&self, random: u64) {
        let max = u64::try_from(REKEY_TIMEOUT_JITTER.as_nanos()).unwrap_or(u64::MAX);
        self.jitter.store(random % max, Relaxed);
    }

    pub(crate) fn persistent_keepalive(&self) -> u16 {
        self.persistent_keepalive_interval.load(Relaxed)
    }

    /// `true` when there was none and now there is.
    pub(crate) fn set_persistent_keepalive(&self, seconds: u16, now: Instant) -> bool {
        let before = self.persistent_keepalive_interval.swap(seconds, Relaxed);
        if before == seconds {
            // Who applies the same configuration every few seconds must not hold it back.
            return false;
        }
        self.persistent_keepalive.clear();
        self.any_packet_traversal(now);
        before == 0 && seconds != 0
    }

    // Time.

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.all().into_iter().filter_map(OptionalInstant::get).min()
    }

    /// Stops the timers that are due and says what they ask for.
    pub(crate) fn poll(&self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.retransmit_handshake.take_due(now) {
            self.retransmit(now, &mut due);
        }
        if self.send_keepalive.take_due(now) {
            due.keepalive = true;
            if self.need_another_keepalive.swap(false, Relaxed) {
                self.send_keepalive.set(now + KEEPALIVE_TIMEOUT);
            }
        }
        if self.new_handshake.take_due(now) {
            due.initiation |= self.handshake_wanted(now);
        }
        if self.persistent_keepalive.take_due(now) {
            due.keepalive = true;
            self.any_packet_traversal(now);
        }
        due.zero_key_material = self.zero_key_material.take_due(now);
        due
    }

    /// Stops all timers. The persistent keepalive stays configured.
    pub(crate) fn reset(&self) {
        self.all().into_iter().for_each(OptionalInstant::clear);
        self.attempts_since.clear();
        self.last_sent_handshake.clear();
        self.need_another_keepalive.store(false, Relaxed);
        self.sent_lastminute_handshake.store(false, Relaxed);
    }

    fn retransmit(&self, now: Instant, due: &mut Due) {
        if self.attempts_since.get().is_none_or(|since| now.since(since) >= REKEY_ATTEMPT_TIME) {
            due.give_up = true;
            self.attempts_since.clear();
            self.send_keepalive.clear();
            if !self.zero_key_material.is_set() {
                self.zero_key_material.set(now + ZERO_KEY_MATERIAL_TIME);
            }
        } else if self.may_initiate(now) {
            due.initiation = true;
        } else {
            // A response that we sent meanwhile holds the initiation back; the handshake is still
            // wanted, and nothing else would come back to it.
            self.retransmit_handshake.set(now + REKEY_TIMEOUT + self.jitter());
        }
    }

    fn any_packet_traversal(&self, now: Instant) {
        let seconds = self.persistent_keepalive();
        if seconds != 0 {
            self.persistent_keepalive.set(now + Duration::from_secs(seconds.into()));
        }
    }

    fn jitter(&self) -> Duration {
        Duration::from_nanos(self.jitter.load(Relaxed))
    }

    fn all(&self) -> [&OptionalInstant; 5] {
        [
            &self.retransmit_handshake,
            &self.send_keepalive,
            &self.new_handshake,
            &self.zero_key_material,
            &self.persistent_keepalive,
        ]
    }
}

/// An `Option<Instant>` that threads share; the end of time stands for `None`.
struct OptionalInstant(AtomicU64);

impl OptionalInstant {
    const NONE: u64 = u64::MAX;

    fn get(&self) -> Option<Instant> {
        let nanos = self.0.load(Relaxed);
        (nanos != Self::NONE).then_some(Instant::from_nanos(nanos))
    }

    fn is_set(&self) -> bool {
        self.get().is_some()
    }

    fn set(&self, at: Instant) {
        self.0.store(at.as_nanos(), Relaxed);
    }

    fn clear(&self) {
        if self.is_set() {
            self.0.store(Self::NONE, Relaxed);
        }
    }

    /// Clears it if it is not later than `now`; one caller only sees `true`.
    fn take_due(&self, now: Instant) -> bool {
        let nanos = self.0.load(Relaxed);
        nanos <= now.as_nanos()
            && nanos != Self::NONE
            && self.0.compare_exchange(nanos, Self::NONE, Relaxed, Relaxed).is_ok()
    }
}

impl Default for OptionalInstant {
    fn default() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }
}

#[cfg(test)]
mod tests;
