//! The handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, as functions of keys and bytes
//! (paper, sections 5.4.1 to 5.4.5). The MACs at the end of the messages are left zero.

use std::fmt;

use rand_core::CryptoRng;
use wg_cipher::TransportKey;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::aead::AeadKey;
use crate::hash::{hash, kdf1, kdf2, kdf3};
use crate::key::{LocalStatic, PresharedKey, PublicKey, diffie_hellman, public_of};
use crate::message::{INITIATION_LEN, RESPONSE_LEN, TAG_LEN, message_type, read_u32};
use crate::time::Tai64n;

/// Why a handshake message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A field does not decrypt.
    #[error("authentication failed")]
    Authentication,
    /// The timestamp is not newer than the last one accepted.
    #[error("replayed initiation")]
    Replay,
    /// The peer initiates too often (50 a second).
    #[error("initiation flood")]
    Flood,
    /// There is no handshake that this message could answer.
    #[error("unexpected message")]
    Unexpected,
    /// A public key gives an all-zero shared secret.
    #[error("invalid public key")]
    InvalidKey,
}

/// The shared secret of both static keys, which a peer keeps: it costs as much as all else that
/// is needed to refuse a replayed initiation.
pub(crate) type StaticStatic = Zeroizing<[u8; 32]>;

/// What both sides have once the handshake is done.
pub(crate) struct SessionKeys {
    pub(crate) sending: TransportKey,
    pub(crate) receiving: TransportKey,
    pub(crate) remote_index: u32,
}

/// The initiator's state between its message and the answer.
pub(crate) struct SentInitiation {
    transcript: Transcript,
    ephemeral: StaticSecret,
}

impl SentInitiation {
    /// Writes the first message, to `remote`.
    pub(crate) fn create(
        local: &LocalStatic,
        remote: &PublicKey,
        static_static: &StaticStatic,
        sender: u32,
        timestamp: Tai64n,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, [u8; INITIATION_LEN]), HandshakeError> {
        let ephemeral = StaticSecret::random_from_rng(rng);
        let ephemeral_public = public_of(&ephemeral);
        let mut message = [0; INITIATION_LEN];
        message[0..4].copy_from_slice(&message_type::INITIATION.to_le_bytes());
        message[4..8].copy_from_slice(&sender.to_le_bytes());
        message[8..40].copy_from_slice(ephemeral_public.as_bytes());

        let mut transcript = Transcript::new(remote);
        transcript.mix_ephemeral(ephemeral_public.as_bytes());
        let shared = diffie_hellman(&ephemeral, remote.as_bytes())?;
        let key = transcript.mix_key(shared.as_bytes());
        message[40..72].copy_from_slice(local.public_key().as_bytes());
        transcript.seal(&key, &mut message[40..88]);
        let key = transcript.mix_key(static_static);
        message[88..100].copy_from_slice(timestamp.as_bytes());
        transcript.seal(&key, &mut message[88..116]);
        Ok((Self { transcript, ephemeral }, message))
    }

    /// Reads the answer. A forged one leaves this state as it was, for the true one.
    pub(crate) fn finish(
        &self,
        local: &LocalStatic,
        preshared: &PresharedKey,
        message: &[u8; RESPONSE_LEN],
    ) -> Result<SessionKeys, HandshakeError> {
        let mut remote_ephemeral = [0; 32];
        remote_ephemeral.copy_from_slice(&message[12..44]);
        let mut nothing = [0; TAG_LEN];
        nothing.copy_from_slice(&message[44..60]);

        let mut transcript = self.transcript.clone();
        transcript.mix_ephemeral(&remote_ephemeral);
        transcript.mix_secret(diffie_hellman(&self.ephemeral, &remote_ephemeral)?.as_bytes());
        transcript.mix_secret(local.diffie_hellman(&remote_ephemeral)?.as_bytes());
        let key = transcript.mix_preshared(preshared);
        transcript.open(&key, &mut nothing)?;

        let [sending, receiving] = transcript.split();
        Ok(SessionKeys { sending, receiving, remote_index: read_u32(message, 4) })
    }
}

/// An initiation whose sender's static key is known, not yet matched to a peer.
pub struct IncomingInitiation {
    transcript: Transcript,
    remote_static: PublicKey,
    remote_ephemeral: [u8; 32],
    sender: u32,
    sealed_timestamp: [u8; 28],
}

impl IncomingInitiation {
    /// Decrypts the static key of an initiation with a valid mac1 (one Diffie-Hellman).
    ///
    /// # Errors
    ///
    /// `Authentication` when the static key does not decrypt, `InvalidKey` when the sender's
    /// ephemeral key is one of low order.
    pub fn open(
        local: &LocalStatic,
        message: &[u8; INITIATION_LEN],
    ) -> Result<Self, HandshakeError> {
        let mut remote_ephemeral = [0; 32];
        remote_ephemeral.copy_from_slice(&message[8..40]);
        let mut sealed_static = [0; 48];
        sealed_static.copy_from_slice(&message[40..88]);
        let mut sealed_timestamp = [0; 28];
        sealed_timestamp.copy_from_slice(&message[88..116]);

        let mut transcript = Transcript::new(local.public_key());
        transcript.mix_ephemeral(&remote_ephemeral);
        let shared = local.diffie_hellman(&remote_ephemeral)?;
        let key = transcript.mix_key(shared.as_bytes());
        let mut remote_static = [0; 32];
        remote_static.copy_from_slice(transcript.open(&key, &mut sealed_static)?);
        Ok(Self {
            transcript,
            remote_static: PublicKey::from(remote_static),
            remote_ephemeral,
            sender: read_u32(message, 4),
            sealed_timestamp,
        })
    }

    /// Who says to be the sender; proven only by [`Peer::consume_initiation`].
    ///
    /// [`Peer::consume_initiation`]: crate::Peer::consume_initiation
    pub fn public_key(&self) -> &PublicKey {
        &self.remote_static
    }

    /// Decrypts the timestamp, which proves the sender's static key.
    pub(crate) fn authenticate(
        mut self,
        static_static: &StaticStatic,
    ) -> Result<AuthenticInitiation, HandshakeError> {
        let key = self.transcript.mix_key(static_static);
        let mut timestamp = [0; 12];
        timestamp.copy_from_slice(self.transcript.open(&key, &mut self.sealed_timestamp)?);
        Ok(AuthenticInitiation { timestamp: Tai64n::from_bytes(timestamp), initiation: self })
    }
}

impl fmt::Debug for IncomingInitiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingInitiation")
            .field("public_key", &self.remote_static)
            .finish_non_exhaustive()
    }
}

/// An initiation by the peer itself, or a replay of one.
pub(crate) struct AuthenticInitiation {
    pub(crate) timestamp: Tai64n,
    initiation: IncomingInitiation,
}

impl AuthenticInitiation {
    /// Writes the second message, which ends the handshake for the responder.
    pub(crate) fn respond(
        self,
        preshared: &PresharedKey,
        sender: u32,
        rng: &mut impl CryptoRng,
    ) -> Result<(SessionKeys, [u8; RESPONSE_LEN]), HandshakeError> {
        let IncomingInitiation { mut transcript, remote_static, remote_ephemeral, .. } =
            self.initiation;
        let ephemeral = StaticSecret::random_from_rng(rng);
        let ephemeral_public = public_of(&ephemeral);
        let mut message = [0; RESPONSE_LEN];
        message[0..4].copy_from_slice(&message_type::RESPONSE.to_le_bytes());
        message[4..8].copy_from_slice(&sender.to_le_bytes());
        message[8..12].copy_from_slice(&self.initiation.sender.to_le_bytes());
        message[12..44].copy_from_slice(ephemeral_public.as_bytes());

        transcript.mix_ephemeral(ephemeral_public.as_bytes());
        transcript.mix_secret(diffie_hellman(&ephemeral, &remote_ephemeral)?.as_bytes());
        transcript.mix_secret(diffie_hellman(&ephemeral, remote_static.as_bytes())?.as_bytes());
        let key = transcript.mix_preshared(preshared);
        transcript.seal(&key, &mut message[44..60]);

        let [receiving, sending] = transcript.split();
        Ok((SessionKeys { sending, receiving, remote_index: self.initiation.sender }, message))
    }
}

/// Noise's symmetric state: the chaining key and the hash of all that was said.
#[derive(Clone)]
struct Transcript {
    chaining_key: Zeroizing<[u8; 32]>,
    hash: [u8; 32],
}

impl Transcript {
    fn new(responder: &PublicKey) -> Self {
        let chaining_key = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let hash_of_names = hash(&[&chaining_key, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        Self {
            chaining_key: Zeroizing::new(chaining_key),
            hash: hash(&[&hash_of_names, responder.as_bytes()]),
        }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix_secret(&mut self, secret: &[u8; 32]) {
        self.chaining_key = kdf1(&*self.chaining_key, secret);
    }

    fn mix_ephemeral(&mut self, ephemeral: &[u8; 32]) {
        self.mix_hash(ephemeral);
        self.mix_secret(ephemeral);
    }

    fn mix_key(&mut self, secret: &[u8; 32]) -> AeadKey {
        let [chaining_key, key] = kdf2(&*self.chaining_key, secret);
        self.chaining_key = chaining_key;
        AeadKey::new(&key)
    }

    fn mix_preshared(&mut self, preshared: &PresharedKey) -> AeadKey {
        let [chaining_key, temporary, key] = kdf3(&*self.chaining_key, preshared.as_bytes());
        self.chaining_key = chaining_key;
        self.mix_hash(&*temporary);
        AeadKey::new(&key)
    }

    /// Encrypts all but the last 16 bytes of `field`, where the tag goes.
    fn seal(&mut self, key: &AeadKey, field: &mut [u8]) {
        let (text, tag) = field.split_at_mut(field.len() - TAG_LEN);
        tag.copy_from_slice(&key.seal(0, &self.hash, text));
        self.mix_hash(field);
    }

    fn open<'a>(&mut self, key: &AeadKey, field: &'a mut [u8]) -> Result<&'a [u8], HandshakeError> {
        let hash_after = hash(&[&self.hash, field]);
        let text = key.open(0, &self.hash, field).map_err(|_| HandshakeError::Authentication)?;
        self.hash = hash_after;
        Ok(text)
    }

    /// The keys for transport: the initiator sends with the first, receives with the second.
    fn split(&self) -> [TransportKey; 2] {
        kdf2(&*self.chaining_key, &[]).map(|key| TransportKey::new(&key))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use testbed::memory::is_left_of_dropped;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_handshake() {
        let (local, remote) = (LocalStatic::new(&[1; 32]), LocalStatic::new(&[2; 32]));
        let static_static = StaticStatic::new([3; 32]);
        let wall = Tai64n::from_unix(std::time::Duration::ZERO);
        let sent = || {
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            let remote = remote.public_key();
            SentInitiation::create(&local, remote, &static_static, 4, wall, &mut rng).unwrap().0
        };
        let ephemeral = sent().ephemeral.to_bytes();
        assert!(!is_left_of_dropped(sent(), &ephemeral));
        let chaining_key = *sent().transcript.chaining_key;
        assert!(!is_left_of_dropped(sent(), &chaining_key));
    }
}
