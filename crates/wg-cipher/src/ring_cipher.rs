//! The cipher by ring, for every processor.

use std::hint::black_box;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

use crate::{Cipher, Forged, TAG_LEN};

/// A key for ring.
pub struct Ring(LessSafeKey);

impl Ring {
    /// Takes a key into use.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
        Self(LessSafeKey::new(key))
    }
}

impl Cipher for Ring {
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), text)
            .expect("no message comes near the cipher's limit of 256 GiB");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let tag = Tag::from(*tag);
        match self.0.open_in_place_separate_tag(nonce(counter), Aad::empty(), tag, text, 0..) {
            Ok(_) => Ok(()),
            Err(_) => Err(Forged),
        }
    }
}

impl Drop for Ring {
    /// ring does not zero its keys: this writes another one over it, and `black_box` keeps the
    /// compiler from leaving that out.
    fn drop(&mut self) {
        let zeroes = UnboundKey::new(&CHACHA20_POLY1305, &[0; 32]).expect("the key has 32 bytes");
        self.0 = LessSafeKey::new(zeroes);
        black_box(&mut self.0);
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
