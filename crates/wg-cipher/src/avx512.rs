//! The cipher with AVX-512: ChaCha20 for 24 blocks at a time, which is a packet of up to 1472
//! bytes and its one-time key in one go, and Poly1305 in eight lanes with IFMA.

mod chacha;
mod poly1305;

use zeroize::Zeroize;

use crate::{Cipher, Forged, TAG_LEN};
use chacha::{CHUNK, Keystream};

/// A key, on a processor that has the instructions.
pub struct Avx512 {
    key: [u8; 32],
}

impl Avx512 {
    /// Takes a key into use; `None` where the processor lacks the instructions.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let has_all = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512ifma");
        has_all.then_some(Self { key: *key })
    }
}

impl Cipher for Avx512 {
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        // SAFETY: `new` makes a key only where the processor has the instructions.
        unsafe { seal(&self.key, counter, text) }
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        // SAFETY: `new` makes a key only where the processor has the instructions.
        unsafe { open(&self.key, counter, text, tag) }
    }
}

impl Drop for Avx512 {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn seal(key: &[u8; 32], counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut keystream = Keystream::new(key, counter);
    // The first block is the one-time key.
    let (first, rest) = text.split_at_mut(text.len().min(CHUNK - 64));
    let one_time = keystream.next(64 + first.len());
    keystream.apply(64, first);
    for chunk in rest.chunks_mut(CHUNK) {
        keystream.next(chunk.len());
        keystream.apply(0, chunk);
    }
    poly1305::tag(&one_time, text)
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn open(key: &[u8; 32], counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
    let mut keystream = Keystream::new(key, counter);
    let first = text.len().min(CHUNK - 64);
    let one_time = keystream.next(64 + first);
    let expected = poly1305::tag(&one_time, text);
    // One comparison of 128 bits, so that it takes the same time wherever they differ.
    if u128::from_ne_bytes(expected) != u128::from_ne_bytes(*tag) {
        return Err(Forged);
    }
    let (first, rest) = text.split_at_mut(first);
    keystream.apply(64, first);
    for chunk in rest.chunks_mut(CHUNK) {
        keystream.next(chunk.len());
        keystream.apply(0, chunk);
    }
    Ok(())
}
