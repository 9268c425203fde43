//! A whole chunk: each vector holds one word of 16 blocks' states, or, half as long, of eight
//! blocks'. That fills all 32 registers, and no round needs a shuffle.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_rol_epi32, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_castsi256_si512, _mm512_inserti64x4,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_shuffle_i32x4,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};
use std::array::from_fn;
use std::hint::black_box;

use super::{CONSTANTS, FOURS, Four, Nonce, transpose};

/// The words of 16 states.
type Long = [__m512i; 16];
/// The words of eight states.
type Short = [__m256i; 16];

/// A quarter of a quarter round, in two columns or diagonals of all states. Of each three places
/// the word in the second is added to that in the first, and this to that in the third, which is
/// turned by so many bits.
///
/// Two by two: all at once, or one by one, is slower, and needs more registers than there are.
macro_rules! step {
    ($long:ident $short:ident $bits:literal $(($a:literal $b:literal $c:literal))*) => {
        $($long[$a] = _mm512_add_epi32($long[$a], $long[$b]);)*
        $($long[$c] = _mm512_xor_si512($long[$c], $long[$a]);)*
        $($long[$c] = _mm512_rol_epi32::<$bits>($long[$c]);)*
        $($short[$a] = _mm256_add_epi32($short[$a], $short[$b]);)*
        $($short[$c] = _mm256_xor_si256($short[$c], $short[$a]);)*
        $($short[$c] = _mm256_rol_epi32::<$bits>($short[$c]);)*
    };
}

/// 24 blocks from number `block` on, but that the last one's number is `block` plus `last`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn blocks(key: &[u32; 8], block: u32, (n0, n12): Nonce, last: i32) -> [Four; FOURS] {
    // In the order in which the transpositions below put them right.
    let long_numbers = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let short_numbers = _mm256_setr_epi32(16, 18, 20, 22, 17, 19, 21, last);
    let last_row = [block, n0, n12 as u32, (n12 >> 32) as u32];
    let word = |key: &[u32; 8], i: usize| match i {
        0..4 => CONSTANTS[i].cast_signed(),
        4..12 => key[i - 4].cast_signed(),
        _ => last_row[i - 12].cast_signed(),
    };
    let mut long: Long = from_fn(|i| _mm512_set1_epi32(word(key, i)));
    let mut short: Short = from_fn(|i| _mm256_set1_epi32(word(key, i)));
    long[12] = _mm512_add_epi32(long[12], long_numbers);
    short[12] = _mm256_add_epi32(short[12], short_numbers);
    for _ in 0..10 {
        step!(long short 16 (0 4 12)(1 5 13));
        step!(long short 16 (2 6 14)(3 7 15));
        step!(long short 12 (8 12 4)(9 13 5));
        step!(long short 12 (10 14 6)(11 15 7));
        step!(long short 8 (0 4 12)(1 5 13));
        step!(long short 8 (2 6 14)(3 7 15));
        step!(long short 7 (8 12 4)(9 13 5));
        step!(long short 7 (10 14 6)(11 15 7));

        step!(long short 16 (0 5 15)(1 6 12));
        step!(long short 16 (2 7 13)(3 4 14));
        step!(long short 12 (10 15 5)(11 12 6));
        step!(long short 12 (8 13 7)(9 14 4));
        step!(long short 8 (0 5 15)(1 6 12));
        step!(long short 8 (2 7 13)(3 4 14));
        step!(long short 7 (10 15 5)(11 12 6));
        step!(long short 7 (8 13 7)(9 14 4));
    }

    // The compiler must take it from memory again: there are no registers to keep it in.
    let key = black_box(key);
    long[12] = _mm512_add_epi32(long[12], long_numbers);
    short[12] = _mm256_add_epi32(short[12], short_numbers);
    let row = |row: usize| {
        from_fn(|i| {
            let start = _mm512_set1_epi32(word(key, row * 4 + i));
            _mm512_add_epi32(long[row * 4 + i], start)
        })
    };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)].map(|row| long_quads(row));
    let [e, f, g, h] = from_fn(|i| transpose([a[i], b[i], c[i], d[i]]));
    let row = |row: usize| {
        from_fn(|i| {
            let start = _mm256_set1_epi32(word(key, row * 4 + i));
            _mm256_add_epi32(short[row * 4 + i], start)
        })
    };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)].map(|row| short_quads(row));
    let [s, t, u, v] = from_fn(|i| {
        let ab = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a[i]), b[i]);
        let cd = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(c[i]), d[i]);
        [_mm512_shuffle_i32x4::<0x88>(ab, cd), _mm512_shuffle_i32x4::<0xdd>(ab, cd)]
    });
    [e, f, g, h, [s[0], s[1], t[0], t[1]], [u[0], u[1], v[0], v[1]]]
}

/// From four words of 16 blocks, a vector each, to vectors that hold the four words of the blocks
/// in lanes 0, 4, 8 and 12, in lanes 1, 5, 9 and 13, and so on.
#[target_feature(enable = "avx512f")]
#[inline]
fn long_quads([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let [ab_low, ab_high] = [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)];
    let [cd_low, cd_high] = [_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d)];
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The same of eight blocks: in lanes 0 and 4, 1 and 5, and so on.
#[target_feature(enable = "avx512vl")]
#[inline]
fn short_quads([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let [ab_low, ab_high] = [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)];
    let [cd_low, cd_high] = [_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d)];
    [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}
