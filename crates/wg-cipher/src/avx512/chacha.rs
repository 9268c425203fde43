//! ChaCha20 (RFC 8439, section 2.4): a row of four blocks' states in each vector.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_rol_epi32, _mm512_set_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_xor_si512,
};
use std::hint::black_box;

/// Blocks in one vector.
const LANES: usize = 4;
/// Vectors' worth of blocks computed side by side: as many as there are registers for.
const GROUPS: usize = 6;
/// Bytes of keystream computed at once.
pub(super) const CHUNK: usize = GROUPS * LANES * 64;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// A row of the states of four blocks.
type Row = __m512i;

/// The keystream of one message, a chunk at a time.
pub(super) struct Keystream {
    /// The states of the next four blocks.
    rows: [Row; 4],
    chunk: Chunk,
}

#[repr(align(64))]
struct Chunk([u8; CHUNK]);

impl Keystream {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn new(key: &[u8; 32], [n0, n1, n2]: [u32; 3]) -> Self {
        let word = |at: usize| u32::from_le_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
        let rows = [
            same_in_all(CONSTANTS),
            same_in_all([word(0), word(4), word(8), word(12)]),
            same_in_all([word(16), word(20), word(24), word(28)]),
            _mm512_add_epi32(same_in_all([0, n0, n1, n2]), block_numbers([0, 1, 2, 3])),
        ];
        Self { rows, chunk: Chunk([0; CHUNK]) }
    }

    /// Computes the next `length` bytes, at most a chunk, and some more; the next call goes on
    /// where a whole number of chunks would end. Returns the first 32 bytes.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn next(&mut self, length: usize) -> [u8; 32] {
        match length.div_ceil(LANES * 64) {
            0 | 1 => self.compute::<1>(),
            2 => self.compute::<2>(),
            3 => self.compute::<3>(),
            4 => self.compute::<4>(),
            5 => self.compute::<5>(),
            _ => self.compute::<GROUPS>(),
        }
        let mut first = [0; 32];
        first.copy_from_slice(&self.chunk.0[..32]);
        first
    }

    /// Adds the keystream from byte `from` of the chunk to `text`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn apply(&self, from: usize, text: &mut [u8]) {
        let keystream = &self.chunk.0[from..][..text.len()];
        let (whole, rest) = text.as_chunks_mut::<64>();
        let (key_whole, key_rest) = keystream.as_chunks::<64>();
        for (text, key) in whole.iter_mut().zip(key_whole) {
            let sum = _mm512_xor_si512(load(text), load(key));
            store(text, sum);
        }
        if !rest.is_empty() {
            let mask = u64::MAX >> (64 - rest.len());
            // SAFETY: the mask selects the first `rest.len()` bytes, which there are; the others
            // are not touched.
            let old = unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) };
            // SAFETY: as above.
            let key = unsafe { _mm512_maskz_loadu_epi8(mask, key_rest.as_ptr().cast()) };
            let sum = _mm512_xor_si512(old, key);
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), mask, sum) };
        }
    }

    /// Zeroes the key and the keystream.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn wipe(&mut self) {
        self.rows = [_mm512_setzero_si512(); 4];
        let (blocks, _) = self.chunk.0.as_chunks_mut::<64>();
        for block in blocks {
            store(block, _mm512_setzero_si512());
        }
        // The compiler must take it that somebody reads the zeroes.
        black_box(self);
    }

    /// Computes the first `G` groups of four blocks of the next chunk.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn compute<const G: usize>(&mut self) {
        let [a, b, c, d] = self.rows;
        let four = block_numbers([LANES as u32; 4]);
        let mut counters = [d; G];
        for i in 1..G {
            counters[i] = _mm512_add_epi32(counters[i - 1], four);
        }
        let (mut x, mut y, mut z, mut w) = ([a; G], [b; G], [c; G], counters);
        for _ in 0..10 {
            quarter_rounds(&mut x, &mut y, &mut z, &mut w);
            for i in 0..G {
                y[i] = _mm512_shuffle_epi32::<0x39>(y[i]);
                z[i] = _mm512_shuffle_epi32::<0x4e>(z[i]);
                w[i] = _mm512_shuffle_epi32::<0x93>(w[i]);
            }
            quarter_rounds(&mut x, &mut y, &mut z, &mut w);
            for i in 0..G {
                y[i] = _mm512_shuffle_epi32::<0x93>(y[i]);
                z[i] = _mm512_shuffle_epi32::<0x4e>(z[i]);
                w[i] = _mm512_shuffle_epi32::<0x39>(w[i]);
            }
        }
        let (blocks, _) = self.chunk.0.as_chunks_mut::<64>();
        for i in 0..G {
            let rows = [
                _mm512_add_epi32(x[i], a),
                _mm512_add_epi32(y[i], b),
                _mm512_add_epi32(z[i], c),
                _mm512_add_epi32(w[i], counters[i]),
            ];
            for (block, bytes) in transpose(rows).into_iter().zip(&mut blocks[i * LANES..]) {
                store(bytes, block);
            }
        }
        let chunk = block_numbers([(GROUPS * LANES) as u32; 4]);
        self.rows[3] = _mm512_add_epi32(d, chunk);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn quarter_rounds<const G: usize>(
    a: &mut [Row; G],
    b: &mut [Row; G],
    c: &mut [Row; G],
    d: &mut [Row; G],
) {
    // Step by step for all groups, so that the processor has independent work at any time.
    macro_rules! step {
        ($sum:ident, $term:ident, $turned:ident, $bits:literal) => {
            for i in 0..G {
                $sum[i] = _mm512_add_epi32($sum[i], $term[i]);
            }
            for i in 0..G {
                $turned[i] = _mm512_rol_epi32::<$bits>(_mm512_xor_si512($turned[i], $sum[i]));
            }
        };
    }
    step!(a, b, d, 16);
    step!(c, d, b, 12);
    step!(a, b, d, 8);
    step!(c, d, b, 7);
}

/// From rows of four blocks to the four blocks.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose([a, b, c, d]: [Row; 4]) -> [__m512i; 4] {
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
fn same_in_all(words: [u32; 4]) -> Row {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm512_set_epi32(d, c, b, a, d, c, b, a, d, c, b, a, d, c, b, a)
}

/// Numbers to be added to the block counters of four states.
#[target_feature(enable = "avx512f")]
#[inline]
fn block_numbers(numbers: [u32; 4]) -> Row {
    let [a, b, c, d] = numbers.map(u32::cast_signed);
    _mm512_set_epi32(0, 0, 0, d, 0, 0, 0, c, 0, 0, 0, b, 0, 0, 0, a)
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
