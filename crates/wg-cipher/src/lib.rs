//! The cipher of transport messages: ChaCha20-Poly1305 (RFC 8439) with a counter for a nonce and
//! no additional data, which is most of what a tunnel's processor time goes into.
//!
//! Where the processor has AVX-512 with IFMA, an implementation of our own is used, which is more
//! than twice as fast for packets as the general ones; elsewhere it is ring's. `cargo bench -p
//! wg-cipher` compares them on the machine at hand. Neither branches nor indexes memory by
//! anything secret.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod ring_cipher;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use ring_cipher::Ring;

/// Bytes of the authenticator.
pub const TAG_LEN: usize = 16;

/// A message that does not authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

/// ChaCha20-Poly1305 under one key. The nonce is 32 bits of zeroes, then the counter,
/// little-endian (WireGuard paper, section 5.4.6).
pub trait Cipher {
    /// Encrypts in place and returns the tag.
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`Forged`] when the tag is wrong; `text` is then as it was, or zeroes.
    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged>;
}

/// A key for transport messages, for whichever implementation is fastest here. Zeroed when
/// dropped.
pub struct TransportKey(Implementation);

enum Implementation {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// Behind a pointer, for it is many times as large.
    Ring(Box<Ring>),
}

impl TransportKey {
    /// Takes a key into use.
    pub fn new(key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(cipher) = Avx512::new(key) {
            return Self(Implementation::Avx512(cipher));
        }
        Self(Implementation::Ring(Box::new(Ring::new(key))))
    }
}

impl Cipher for TransportKey {
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512(cipher) => cipher.seal(counter, text),
            Implementation::Ring(cipher) => cipher.seal(counter, text),
        }
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx512(cipher) => cipher.open(counter, text, tag),
            Implementation::Ring(cipher) => cipher.open(counter, text, tag),
        }
    }
}
