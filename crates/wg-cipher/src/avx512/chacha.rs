//! The keystream of ChaCha20 (RFC 8439, section 2.4), up to 24 blocks at a time.

mod columns;
mod rows;

use std::arch::x86_64::{__m512i, _mm512_setzero_si512, _mm512_shuffle_i32x4};
use std::hint::black_box;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Four blocks of keystream.
pub(super) type Four = [__m512i; 4];

/// The most fours that are computed at once.
pub(super) const FOURS: usize = 6;

/// A nonce: its first word, and the other two. Not an array, which would go through memory in
/// pieces, and come back as a whole only when all that was written before is in the cache.
pub(super) type Nonce = (u32, u64);

/// The keystream of one message. Block 0 is the one-time key; what is added to the text begins
/// with block 1.
pub(super) struct Keystream<'a> {
    key: &'a [u32; 8],
    nonce: Nonce,
    /// The number of the next block for the text.
    block: u32,
}

impl<'a> Keystream<'a> {
    /// Bytes for the text in the longest beginning.
    pub(super) const BEGINNING: usize = (FOURS * 4 - 1) * 64;

    pub(super) fn new(key: &'a [u32; 8], nonce: Nonce) -> Self {
        Self { key, nonce, block: 1 }
    }

    /// Computes what is added to a text of `length` bytes, at most [`Keystream::BEGINNING`]. The
    /// last block of the last four is the one-time key.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(super) fn whole<T>(&self, length: usize, then: impl FnOnce(&mut [Four]) -> T) -> T {
        let Self { key, nonce, block } = *self;
        match (length + 64).div_ceil(4 * 64) {
            1 => then(&mut rows::blocks::<1>(key, block, nonce, -1)),
            2 => then(&mut rows::blocks::<2>(key, block, nonce, -1)),
            3 => then(&mut rows::blocks::<3>(key, block, nonce, -1)),
            _ => then(&mut self.beginning()),
        }
    }

    /// The longest beginning. The last block of the last four is the one-time key.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(super) fn beginning(&self) -> [Four; FOURS] {
        columns::blocks(self.key, self.block, self.nonce, -1)
    }

    /// Goes on behind so many fours, and computes the next, enough for `length` bytes of text if
    /// there is room for them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(super) fn next(&mut self, behind: usize, length: usize, fours: &mut [Four; FOURS]) {
        self.block = self.block.wrapping_add(4 * behind as u32);
        let Self { key, nonce, block } = *self;
        if length <= 3 * 4 * 64 {
            let mut few = rows::blocks::<3>(key, block, nonce, 11);
            fours[..3].copy_from_slice(&few);
            wipe(&mut few);
        } else {
            *fours = columns::blocks(key, block, nonce, 23);
        }
    }
}

/// Zeroes keystream.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn wipe(fours: &mut [Four]) {
    fours.fill([_mm512_setzero_si512(); 4]);
    // The compiler must take it that somebody reads the zeroes.
    black_box(fours);
}

/// From vectors that hold words 0 to 3, 4 to 7 and so on of four blocks: the four blocks.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
    let ab_high = _mm512_shuffle_i32x4::<0xee>(a, b);
    let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
    let cd_high = _mm512_shuffle_i32x4::<0xee>(c, d);
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}
