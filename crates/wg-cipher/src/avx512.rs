//! The cipher with AVX-512: ChaCha20 for up to 24 blocks at a time, which is a packet of up to 1472
//! bytes and its one-time key in one go, and Poly1305 in eight lanes with IFMA.

mod chacha;
mod pass;
mod poly1305;
#[cfg(test)]
mod tests;

use std::hint::black_box;

use zeroize::Zeroizing;

use crate::{Cipher, Forged, TAG_LEN};

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
    let lengths = lengths(0, text.len());
    pass::pass::<true>(key, (0, counter), text, lengths)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn open(key: &[u32; 8], counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
    let lengths = lengths(0, text.len());
    let expected = pass::pass::<false>(key, (0, counter), text, lengths);
    let difference = u128::from_ne_bytes(expected) ^ u128::from_ne_bytes(*tag);
    // The compiler must not look at a part of the difference first, and stop there.
    if black_box(difference) == 0 {
        Ok(())
    } else {
        // It was deciphered already, and nobody may see that.
        text.fill(0);
        Err(Forged)
    }
}

/// The last block that is authenticated (RFC 8439, section 2.8).
fn lengths(additional: usize, text: usize) -> u128 {
    (text as u128) << 64 | additional as u128
}
