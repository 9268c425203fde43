//! The keystream of ChaCha20 (RFC 8439, section 2.4), a chunk of up to 24 blocks at a time.

mod columns;
mod rows;

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_xor_si512,
};
use std::hint::black_box;

/// Blocks of keystream in a chunk.
const BLOCKS: usize = 24;
/// Bytes of keystream in a chunk.
pub(super) const CHUNK: usize = BLOCKS * 64;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The words of a state, row by row.
type State = [[u32; 4]; 4];

/// The keystream of one message.
pub(super) struct Keystream {
    /// What the next block begins with.
    state: State,
}

/// Blocks of the keystream; behind those that were asked for may be zeroes.
pub(super) struct Chunk([__m512i; BLOCKS]);

impl Keystream {
    pub(super) fn new(key: &[u32; 8], [n0, n1, n2]: [u32; 3]) -> Self {
        let [a, b, c, d, e, f, g, h] = *key;
        Self { state: [CONSTANTS, [a, b, c, d], [e, f, g, h], [0, n0, n1, n2]] }
    }

    /// Computes the next `length` bytes, at most a chunk; the next call goes on where a whole
    /// chunk would end.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(super) fn next(&mut self, length: usize) -> Chunk {
        let blocks = match length.div_ceil(4 * 64) {
            0 | 1 => rows::blocks::<1>(&self.state),
            2 => rows::blocks::<2>(&self.state),
            3 => rows::blocks::<3>(&self.state),
            _ => columns::blocks(&self.state),
        };
        self.state[3][0] = self.state[3][0].wrapping_add(BLOCKS as u32);
        Chunk(blocks)
    }

    /// Zeroes the key.
    pub(super) fn wipe(&mut self) {
        self.state = [[0; 4]; 4];
        // The compiler must take it that somebody reads the zeroes.
        black_box(self);
    }
}

impl Chunk {
    /// The first block.
    pub(super) fn first(&self) -> __m512i {
        self.0[0]
    }

    /// Adds the keystream from block `from` on to `text`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn apply(&self, from: usize, text: &mut [u8]) {
        let blocks = &self.0[from..][..text.len().div_ceil(64)];
        let (whole, rest) = text.as_chunks_mut::<64>();
        for (text, block) in whole.iter_mut().zip(blocks) {
            let sum = _mm512_xor_si512(load(text), *block);
            store(text, sum);
        }
        if let (Some(block), false) = (blocks.last(), rest.is_empty()) {
            let mask = u64::MAX >> (64 - rest.len());
            // SAFETY: the mask selects the first `rest.len()` bytes, which there are; the others
            // are not touched.
            let old = unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) };
            let sum = _mm512_xor_si512(old, *block);
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), mask, sum) };
        }
    }

    /// Zeroes the keystream.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn wipe(&mut self) {
        self.0 = [_mm512_setzero_si512(); BLOCKS];
        // As above.
        black_box(self);
    }
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

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read where 64 bytes are, at any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: 64 bytes are written where 64 bytes are, at any alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) };
}
