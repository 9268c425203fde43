//! A session's two keys, shared by threads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wg_cipher::{Cipher, Forged};

use crate::constants::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME};
use crate::handshake::SessionKeys;
use crate::index::LocalIndex;
use crate::message::{TAG_LEN, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, message_type};
use crate::replay::ReplayWindow;
use crate::time::Instant;

/// Sending key, receiving key, counters and replay window of one session.
pub struct Keypair {
    local_index: LocalIndex,
    keys: SessionKeys,
    initiator: bool,
    born: Instant,
    send_counter: AtomicU64,
    replay: Mutex<ReplayWindow>,
}

/// Send counters of one keypair for a batch.
#[derive(Debug)]
pub struct Reservation {
    /// The keypair to seal with.
    pub keypair: Arc<Keypair>,
    /// The first counter; the batch uses this one and those after it.
    pub first: u64,
}

/// A transport message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The authenticator is wrong, or the message is too short.
    #[error("authentication failed")]
    Authentication,
    /// The counter is one that no sender may use (REJECT_AFTER_MESSAGES).
    #[error("session expired")]
    Expired,
}

impl Keypair {
    pub(crate) fn new(
        local_index: LocalIndex,
        keys: SessionKeys,
        initiator: bool,
        born: Instant,
    ) -> Self {
        Self {
            local_index,
            keys,
            initiator,
            born,
            send_counter: AtomicU64::new(0),
            replay: Mutex::new(ReplayWindow::new()),
        }
    }

    /// Our index: what the peer writes into its transport messages.
    pub fn local_index(&self) -> u32 {
        self.local_index.value()
    }

    /// The peer's index.
    pub fn remote_index(&self) -> u32 {
        self.keys.remote_index
    }

    /// Writes the header of a transport message and seals it in place.
    ///
    /// `message` is 16 bytes for the header, then the padded plaintext, then 16 bytes for the
    /// tag. The counter comes from a [`Reservation`].
    ///
    /// # Panics
    ///
    /// When `message` is shorter than [`TRANSPORT_OVERHEAD`].
    pub fn seal(&self, counter: u64, message: &mut [u8]) {
        let (header, rest) = message.split_at_mut(TRANSPORT_HEADER_LEN);
        header[0..4].copy_from_slice(&message_type::TRANSPORT.to_le_bytes());
        header[4..8].copy_from_slice(&self.keys.remote_index.to_le_bytes());
        header[8..16].copy_from_slice(&counter.to_le_bytes());
        let (text, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
        tag.copy_from_slice(&self.keys.sending.seal(counter, text));
    }

    /// Opens a transport message in place; returns the plaintext (still padded), which is empty
    /// for a keepalive. Authenticates only: see [`Keypair::accept`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the message's contents are then undefined.
    pub fn open<'a>(&self, counter: u64, message: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(OpenError::Expired);
        }
        if message.len() < TRANSPORT_OVERHEAD {
            return Err(OpenError::Authentication);
        }
        let (text, tag) = message[TRANSPORT_HEADER_LEN..]
            .split_last_chunk_mut()
            .ok_or(OpenError::Authentication)?;
        match self.keys.receiving.open(counter, text, tag) {
            Ok(()) => Ok(text),
            Err(Forged) => Err(OpenError::Authentication),
        }
    }

    /// Marks authenticated counters in the replay window, one lock for the batch; clears the
    /// entry of `fresh` for those seen before or too old. A counter whose entry is clear already
    /// did not authenticate and is left alone.
    pub fn accept(&self, counters: &[u64], fresh: &mut [bool]) {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        for (&counter, fresh) in counters.iter().zip(fresh) {
            *fresh = *fresh && replay.accept(counter);
        }
    }

    /// Takes `count` send counters, `None` when the session is too old or that many are not left.
    pub(crate) fn reserve(&self, count: u64, now: Instant) -> Option<u64> {
        if self.is_expired(now) {
            return None;
        }
        self.send_counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                first.checked_add(count).filter(|&end| end <= REJECT_AFTER_MESSAGES)
            })
            .ok()
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        now.since(self.born) >= REJECT_AFTER_TIME
    }

    /// When the session was derived.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// Whether this side began the handshake.
    pub(crate) fn is_initiator(&self) -> bool {
        self.initiator
    }

    /// How many send counters were taken.
    pub(crate) fn sent_messages(&self) -> u64 {
        self.send_counter.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keypair")
            .field("local_index", &self.local_index())
            .field("remote_index", &self.remote_index())
            .field("initiator", &self.initiator)
            .finish_non_exhaustive()
    }
}
