//! mac1 and mac2 of the messages we send, and the cookie that mac2 needs (paper, sections 5.4.4
//! and 5.4.7).

use zeroize::Zeroizing;

use crate::HandshakeError;
use crate::aead::xopen;
use crate::constants::{COOKIE_SECRET_LATENCY, COOKIE_SECRET_TIME};
use crate::hash::{hash, mac};
use crate::key::PublicKey;
use crate::message::COOKIE_REPLY_LEN;
use crate::time::Instant;

/// Bytes of both MACs at the end of a handshake message.
pub(crate) const MACS_LEN: usize = 32;

/// The key of mac1 in messages to the owner of `receiver`.
pub(crate) fn mac1_key(receiver: &PublicKey) -> [u8; 32] {
    hash(&[b"mac1----", receiver.as_bytes()])
}

/// The key that seals cookies from the owner of `sender`.
pub(crate) fn cookie_key(sender: &PublicKey) -> [u8; 32] {
    hash(&[b"cookie--", sender.as_bytes()])
}

/// What the sender of handshake messages to one peer remembers (kernel: `struct cookie`).
#[derive(Default)]
pub(crate) struct MacWriter {
    /// mac1 of the last message, until a cookie reply to it came.
    last_mac1: Option<[u8; 16]>,
    cookie: Option<(Zeroizing<[u8; 16]>, Instant)>,
}

impl MacWriter {
    /// Fills in both MACs of a handshake message; mac2 stays zero without a fresh cookie.
    pub(crate) fn add_macs(&mut self, remote: &PublicKey, message: &mut [u8], now: Instant) {
        let (rest, macs) = message.split_at_mut(message.len() - MACS_LEN);
        let mac1 = mac(&mac1_key(remote), &[rest]);
        macs[..16].copy_from_slice(&mac1);
        self.last_mac1 = Some(mac1);
        if let Some(cookie) = self.fresh_cookie(now) {
            let mac2 = mac(cookie, &[rest, &mac1]);
            macs[16..].copy_from_slice(&mac2);
        }
    }

    /// Keeps the cookie of a reply to the last message.
    pub(crate) fn consume_reply(
        &mut self,
        remote: &PublicKey,
        reply: &[u8; COOKIE_REPLY_LEN],
        now: Instant,
    ) -> Result<(), HandshakeError> {
        let mac1 = self.last_mac1.ok_or(HandshakeError::Unexpected)?;
        let (mut nonce, mut cookie, mut tag) = ([0; 24], Zeroizing::new([0; 16]), [0; 16]);
        nonce.copy_from_slice(&reply[8..32]);
        cookie.copy_from_slice(&reply[32..48]);
        tag.copy_from_slice(&reply[48..64]);
        xopen(&cookie_key(remote), &nonce, &mac1, &mut *cookie, &tag)
            .map_err(|_| HandshakeError::Authentication)?;
        self.cookie = Some((cookie, now));
        self.last_mac1 = None;
        Ok(())
    }

    fn fresh_cookie(&self, now: Instant) -> Option<&[u8; 16]> {
        let (cookie, received) = self.cookie.as_ref()?;
        let fresh = now.since(*received) < COOKIE_SECRET_TIME - COOKIE_SECRET_LATENCY;
        fresh.then_some(&**cookie)
    }
}

#[cfg(test)]
mod tests {
    use testbed::memory::is_left_of_dropped;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_cookie() {
        let secret = std::array::from_fn(|i| i as u8 + 100);
        let cookie = Some((Zeroizing::new(secret), Instant::from_nanos(0)));
        assert!(!is_left_of_dropped(MacWriter { last_mac1: None, cookie }, &secret));
    }
}
