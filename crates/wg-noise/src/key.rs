//! Keys of the protocol that outlive a handshake, and the Diffie-Hellman between them.

use std::fmt;

use x25519_dalek::{SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use crate::HandshakeError;

/// A static public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// A preshared key, zeroed when dropped.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; 32]>);

impl PresharedKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Default for PresharedKey {
    /// The key of zeroes, which stands for none (paper, section 5.2).
    fn default() -> Self {
        Self::from([0; 32])
    }
}

impl From<[u8; 32]> for PresharedKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

/// The interface's own static key pair.
pub struct LocalStatic {
    public: PublicKey,
    private: StaticSecret,
}

impl LocalStatic {
    /// From the private key's bytes (clamped on use).
    pub fn new(private: &[u8; 32]) -> Self {
        let private = StaticSecret::from(*private);
        Self { public: public_of(&private), private }
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn diffie_hellman(&self, public: &[u8; 32]) -> Result<SharedSecret, HandshakeError> {
        diffie_hellman(&self.private, public)
    }
}

impl fmt::Debug for LocalStatic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStatic").field("public", &self.public).finish_non_exhaustive()
    }
}

pub(crate) fn public_of(private: &StaticSecret) -> PublicKey {
    PublicKey(x25519_dalek::PublicKey::from(private).to_bytes())
}

/// X25519 (RFC 7748). Refuses a public key of low order, whose shared secret is all zeroes.
pub(crate) fn diffie_hellman(
    private: &StaticSecret,
    public: &[u8; 32],
) -> Result<SharedSecret, HandshakeError> {
    let shared = private.diffie_hellman(&x25519_dalek::PublicKey::from(*public));
    if shared.was_contributory() { Ok(shared) } else { Err(HandshakeError::InvalidKey) }
}

#[cfg(test)]
mod tests {
    use testbed::memory::is_left_of_dropped;

    use super::*;
    use crate::hash::tests::hex;

    const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    const SHARED: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

    #[test]
    fn diffie_hellman_of_rfc_7748_section_6_1() {
        let (alice, bob) = (LocalStatic::new(&hex(ALICE)), LocalStatic::new(&hex(BOB)));
        assert_eq!(alice.public_key().as_bytes(), &hex(ALICE_PUBLIC));
        assert_eq!(bob.public_key().as_bytes(), &hex(BOB_PUBLIC));
        let shared = alice.diffie_hellman(bob.public_key().as_bytes()).unwrap();
        assert_eq!(shared.as_bytes(), &hex(SHARED));
        let shared = bob.diffie_hellman(alice.public_key().as_bytes()).unwrap();
        assert_eq!(shared.as_bytes(), &hex(SHARED));
    }

    #[test]
    fn points_of_low_order_are_refused() {
        let alice = LocalStatic::new(&hex(ALICE));
        let mut one = [0; 32];
        one[0] = 1;
        // A point of order eight (RFC 7748 leaves the list to <https://cr.yp.to/ecdh.html>).
        let order_eight = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        for point in [[0; 32], one, order_eight] {
            assert_eq!(alice.diffie_hellman(&point).err(), Some(HandshakeError::InvalidKey));
        }
    }

    #[test]
    fn nothing_is_left_of_secrets() {
        let secret = hex(ALICE);
        assert!(!is_left_of_dropped(LocalStatic::new(&secret), &secret));
        assert!(!is_left_of_dropped(PresharedKey::from(secret), &secret));
    }

    #[test]
    fn debug_hides_secrets() {
        let shown = format!("{:?} {:?}", LocalStatic::new(&[7; 32]), PresharedKey::from([7; 32]));
        assert!(!shown.contains("07, 07") && !shown.contains("0707"), "{shown}");
        assert!(shown.contains("hidden"));
    }
}
