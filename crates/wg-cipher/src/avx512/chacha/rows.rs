//! A few blocks: each vector holds one row of four blocks' states.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_rol_epi32, _mm512_set_epi32, _mm512_shuffle_epi32,
    _mm512_xor_si512,
};
use std::array::from_fn;

use super::{CONSTANTS, Four, Nonce, transpose};

/// Blocks in one vector.
const LANES: usize = 4;

/// `G` times four blocks from number `block` on, but that the last one's number is `block` plus
/// `last`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn blocks<const G: usize>(
    key: &[u32; 8],
    block: u32,
    (n0, n12): Nonce,
    last: i32,
) -> [Four; G] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [a, b, c] = [CONSTANTS, [k0, k1, k2, k3], [k4, k5, k6, k7]].map(|row| same_in_all(row));
    let d = same_in_all([block, n0, n12 as u32, (n12 >> 32) as u32]);
    let counters: [_; G] = from_fn(|i| {
        let mut numbers = from_fn(|lane| (i * LANES + lane) as i32);
        if i == G - 1 {
            numbers[LANES - 1] = last;
        }
        _mm512_add_epi32(d, block_numbers(numbers))
    });
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
    from_fn(|i| {
        transpose([
            _mm512_add_epi32(x[i], a),
            _mm512_add_epi32(y[i], b),
            _mm512_add_epi32(z[i], c),
            _mm512_add_epi32(w[i], counters[i]),
        ])
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn quarter_rounds<const G: usize>(
    a: &mut [__m512i; G],
    b: &mut [__m512i; G],
    c: &mut [__m512i; G],
    d: &mut [__m512i; G],
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

#[target_feature(enable = "avx512f")]
#[inline]
fn same_in_all(words: [u32; 4]) -> __m512i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm512_set_epi32(d, c, b, a, d, c, b, a, d, c, b, a, d, c, b, a)
}

/// Numbers to be added to the block counters of four states.
#[target_feature(enable = "avx512f")]
#[inline]
fn block_numbers([a, b, c, d]: [i32; 4]) -> __m512i {
    _mm512_set_epi32(0, 0, 0, d, 0, 0, 0, c, 0, 0, 0, b, 0, 0, 0, a)
}
