//! The cipher with AVX-512: ChaCha20 for 24 blocks at a time, which is a packet of up to 1472
//! bytes and its one-time key in one go, and Poly1305 in eight lanes with IFMA.

mod chacha;
mod poly1305;
#[cfg(test)]
mod tests;

use std::hint::black_box;

use zeroize::Zeroizing;

use crate::{Cipher, Forged, TAG_LEN};
use chacha::{CHUNK, Chunk, Keystream};
use poly1305::Authenticator;

/// A key, on a processor that has the instructions. Zeroed when dropped.
///
/// In a box, because a move would leave a copy behind.
pub struct Avx512 {
    key: Box<Zeroizing<[u32; 8]>>,
}

impl Avx512 {
    /// Takes a key into use; `None` where the processor lacks the instructions, or the system
    /// does not keep their registers.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let has_all = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512ifma");
        has_all.then(|| {
            let mut words = Box::new(Zeroizing::new([0; 8]));
            let (bytes, _) = key.as_chunks();
            for (word, bytes) in words.iter_mut().zip(bytes) {
                *word = u32::from_le_bytes(*bytes);
            }
            Self { key: words }
        })
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal(key: &[u32; 8], counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut keystream = Keystream::new(key, nonce(counter));
    let mut chunk = begin(&mut keystream, text.len());
    let authenticator = Authenticator::new(chunk.first());
    apply(&mut keystream, &mut chunk, text);
    chunk.wipe();
    keystream.wipe();
    authenticator.tag(text, lengths(0, text.len()))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open(key: &[u32; 8], counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
    let mut keystream = Keystream::new(key, nonce(counter));
    let mut chunk = begin(&mut keystream, text.len());
    let expected = Authenticator::new(chunk.first()).tag(text, lengths(0, text.len()));
    let difference = u128::from_ne_bytes(expected) ^ u128::from_ne_bytes(*tag);
    // The compiler must not look at a part of the difference first, and stop there.
    let result = if black_box(difference) == 0 {
        apply(&mut keystream, &mut chunk, text);
        Ok(())
    } else {
        Err(Forged)
    };
    chunk.wipe();
    keystream.wipe();
    result
}

/// 32 bits of zeroes, then the counter.
fn nonce(counter: u64) -> [u32; 3] {
    [0, counter as u32, (counter >> 32) as u32]
}

/// Computes the first chunk of keystream for a text of so many bytes. Its first block is the
/// one-time key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn begin(keystream: &mut Keystream, text: usize) -> Chunk {
    keystream.next(64 + text.min(CHUNK - 64))
}

/// Adds the keystream to the text, from behind the one-time key's block on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn apply(keystream: &mut Keystream, chunk: &mut Chunk, text: &mut [u8]) {
    let (first, rest) = text.split_at_mut(text.len().min(CHUNK - 64));
    chunk.apply(1, first);
    for text in rest.chunks_mut(CHUNK) {
        *chunk = keystream.next(text.len());
        chunk.apply(0, text);
    }
}

/// The last block that is authenticated (RFC 8439, section 2.8).
fn lengths(additional: usize, text: usize) -> u128 {
    (text as u128) << 64 | additional as u128
}
