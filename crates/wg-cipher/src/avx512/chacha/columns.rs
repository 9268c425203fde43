//! A whole chunk: each vector holds one word of 16 blocks' states, or, half as long, of eight
//! blocks'. That fills all 32 registers, and no round needs a shuffle.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_rol_epi32, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_castsi256_si512, _mm512_inserti64x4,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use std::array::from_fn;
use std::hint::black_box;

use super::{BLOCKS, State, transpose};

/// The words of 16 states.
type Long = [[__m512i; 4]; 4];
/// The words of eight states.
type Short = [[__m256i; 4]; 4];

/// The blocks from a state on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn blocks(first: &State) -> [__m512i; BLOCKS] {
    // In the order in which the transpositions below put them right.
    let long_numbers = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let short_numbers = _mm256_setr_epi32(16, 18, 20, 22, 17, 19, 21, 23);
    let first_long = |first: &State| -> Long {
        let mut words = first.map(|row| row.map(|word| _mm512_set1_epi32(word.cast_signed())));
        words[3][0] = _mm512_add_epi32(words[3][0], long_numbers);
        words
    };
    let first_short = |first: &State| -> Short {
        let mut words = first.map(|row| row.map(|word| _mm256_set1_epi32(word.cast_signed())));
        words[3][0] = _mm256_add_epi32(words[3][0], short_numbers);
        words
    };
    let (mut long, mut short) = (first_long(first), first_short(first));
    for _ in 0..10 {
        round::<0>(&mut long, &mut short);
        round::<1>(&mut long, &mut short);
    }

    let mut blocks = [_mm512_setzero_si512(); BLOCKS];
    let first = black_box(first);
    let start = first_long(first);
    let [a, b, c, d] =
        from_fn(|row| long_quads(from_fn(|i| _mm512_add_epi32(long[row][i], start[row][i]))));
    for i in 0..4 {
        blocks[4 * i..][..4].copy_from_slice(&transpose([a[i], b[i], c[i], d[i]]));
    }
    let start = first_short(first);
    let [a, b, c, d] =
        from_fn(|row| short_quads(from_fn(|i| _mm256_add_epi32(short[row][i], start[row][i]))));
    for i in 0..4 {
        let ab = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a[i]), b[i]);
        let cd = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(c[i]), d[i]);
        blocks[16 + 2 * i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        blocks[17 + 2 * i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    blocks
}

/// A round of columns, each row of which begins at word 0; or one of diagonals, each row of which
/// begins one word behind the one above.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn round<const SHIFT: usize>(long: &mut Long, short: &mut Short) {
    // Two by two: all at once, or one by one, is slower, and needs more registers than there are.
    macro_rules! step {
        ($sum:literal += $term:literal, $turned:literal <<< $bits:literal) => {
            for two in [[0, 1], [2, 3]] {
                let places = two.map(|i| [$sum, $term, $turned].map(|row| (i + row * SHIFT) % 4));
                for [sum, term, _] in places {
                    long[$sum][sum] = _mm512_add_epi32(long[$sum][sum], long[$term][term]);
                }
                for [sum, _, turned] in places {
                    long[$turned][turned] =
                        _mm512_xor_si512(long[$turned][turned], long[$sum][sum]);
                }
                for [_, _, turned] in places {
                    long[$turned][turned] = _mm512_rol_epi32::<$bits>(long[$turned][turned]);
                }
                for [sum, term, _] in places {
                    short[$sum][sum] = _mm256_add_epi32(short[$sum][sum], short[$term][term]);
                }
                for [sum, _, turned] in places {
                    short[$turned][turned] =
                        _mm256_xor_si256(short[$turned][turned], short[$sum][sum]);
                }
                for [_, _, turned] in places {
                    short[$turned][turned] = _mm256_rol_epi32::<$bits>(short[$turned][turned]);
                }
            }
        };
    }
    step!(0 += 1, 3 <<< 16);
    step!(2 += 3, 1 <<< 12);
    step!(0 += 1, 3 <<< 8);
    step!(2 += 3, 1 <<< 7);
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
