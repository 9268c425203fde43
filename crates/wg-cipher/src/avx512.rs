//! The cipher with AVX-512: ChaCha20 for 24 blocks at a time, which is a packet of up to 1472
//! bytes and its one-time key in one go, and Poly1305 in eight lanes with IFMA.

mod chacha;
mod poly1305;
#[cfg(test)]
mod tests;

use std::hint::black_box;

use zeroize::Zeroizing;

use crate::{Cipher, Forged, TAG_LEN};
use chacha::{CHUNK, Keystream};

/// A key, on a processor that has the instructions. Zeroed when dropped.
///
/// In a box, because a move would leave a copy behind.
pub struct Avx512 {
    key: Box<Zeroizing<[u8; 32]>>,
}

impl Avx512 {
    /// Takes a key into use; `None` where the processor lacks the instructions, or the system
    /// does not keep their registers.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let has_all = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512ifma");
        has_all.then(|| Self { key: Box::new(Zeroizing::new(*key)) })
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

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn seal(key: &[u8; 32], counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut keystream = Keystream::new(key, nonce(counter));
    let one_time = begin(&mut keystream, text.len());
    apply(&mut keystream, text);
    keystream.wipe();
    poly1305::tag(&one_time, text, lengths(0, text.len()))
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn open(key: &[u8; 32], counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
    let mut keystream = Keystream::new(key, nonce(counter));
    let one_time = begin(&mut keystream, text.len());
    let expected = poly1305::tag(&one_time, text, lengths(0, text.len()));
    let difference = u128::from_ne_bytes(expected) ^ u128::from_ne_bytes(*tag);
    // The compiler must not look at a part of the difference first, and stop there.
    let result = if black_box(difference) == 0 {
        apply(&mut keystream, text);
        Ok(())
    } else {
        Err(Forged)
    };
    keystream.wipe();
    result
}

/// 32 bits of zeroes, then the counter.
fn nonce(counter: u64) -> [u32; 3] {
    [0, counter as u32, (counter >> 32) as u32]
}

/// Computes the first chunk of keystream for a text of so many bytes. Its first block is the
/// one-time key, which is returned.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn begin(keystream: &mut Keystream, text: usize) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keystream.next(64 + text.min(CHUNK - 64)))
}

/// Adds the keystream to the text, from behind the one-time key's block on.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn apply(keystream: &mut Keystream, text: &mut [u8]) {
    let (first, rest) = text.split_at_mut(text.len().min(CHUNK - 64));
    keystream.apply(64, first);
    for chunk in rest.chunks_mut(CHUNK) {
        keystream.next(chunk.len());
        keystream.apply(0, chunk);
    }
}

/// The last block that is authenticated (RFC 8439, section 2.8).
fn lengths(additional: usize, text: usize) -> [u8; 16] {
    ((text as u128) << 64 | additional as u128).to_le_bytes()
}
