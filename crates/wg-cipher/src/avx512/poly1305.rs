//! Poly1305 (RFC 8439, section 2.5) of a message without additional data, in eight lanes.
//!
//! Numbers modulo 2^130 - 5 are in three limbs of 44, 44 and 42 bits, as in poly1305-donna-64;
//! the instructions multiply 52 bits by 52 and add the lower or the upper half of the product.

use std::arch::x86_64::{
    __m512i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x, _mm512_add_epi64,
    _mm512_and_si512, _mm512_castsi512_si128, _mm512_cmplt_epu64_mask, _mm512_extracti32x4_epi32,
    _mm512_mask_blend_epi64, _mm512_mask_broadcast_i32x4, _mm512_maskz_loadu_epi8,
    _mm512_maskz_set1_epi64, _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_reduce_add_epi64,
    _mm512_set1_epi64, _mm512_setr_epi64, _mm512_setzero_si512, _mm512_slli_epi64,
    _mm512_srli_epi64, _mm512_sub_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::array::from_fn;
use std::hint::black_box;

use multiplier::{Multiplier, Products};

mod multiplier;
#[cfg(test)]
mod tests;

const BLOCK: usize = 16;
const LANES: usize = 8;
const GROUP: usize = LANES * BLOCK;

const MASK_44: u64 = (1 << 44) - 1;
const MASK_42: u64 = (1 << 42) - 1;
/// 2^128 in the third limb: every block of this construction is a whole one.
const HIGH_BIT: u64 = 1 << 40;

/// One number.
type Limbs = [u64; 3];
/// Eight numbers.
type Wide = [__m512i; 3];

/// Which block of a group each lane holds: unpacking puts them in this order.
const ORDER: [u64; LANES] = [0, 4, 1, 5, 2, 6, 3, 7];

/// A one-time key, ready for use.
pub(super) struct Authenticator {
    /// The first eight powers of the key's first half, one in each lane.
    powers: Wide,
    power_8: Limbs,
    /// The key's second half.
    pad: u128,
}

impl Authenticator {
    /// Takes the first half of a block of keystream for a key.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn new(block: __m512i) -> Self {
        let half = |half| {
            let low = _mm_cvtsi128_si64(half).cast_unsigned();
            u128::from(_mm_extract_epi64::<1>(half).cast_unsigned()) << 64 | u128::from(low)
        };
        let r = clamped(half(_mm512_castsi512_si128(block)));
        let pad = half(_mm512_extracti32x4_epi32::<1>(block));
        let power_2 = multiply(&r, &r);
        let power_4 = multiply(&power_2, &power_2);
        let power_8 = multiply(&power_4, &power_4);
        // The first and second power in turn, then the first four in turn, then all eight.
        let two = choose(0b1010_1010, in_all_lanes(&r), in_all_lanes(&power_2));
        let four = choose(0b1100_1100, two, Multiplier::new(in_all_lanes(&power_2)).multiply(two));
        let eight =
            choose(0b1111_0000, four, Multiplier::new(in_all_lanes(&power_4)).multiply(four));
        Self { powers: eight, power_8, pad }
    }

    /// The tag of `text` padded to whole blocks, and a last block behind it.
    ///
    /// Each lane sums up one block of every group of eight. A sum is multiplied by the 8th power
    /// of the key for the next group, or by the 16th for the next two, of which the first then
    /// takes the 8th.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    pub(super) fn tag(&self, text: &[u8], last: u128) -> [u8; 16] {
        let low = self.powers;
        let (groups, rest) = text.as_chunks::<GROUP>();
        // With the last block there may be one more whole group, and no block of text behind it.
        let rest_blocks = rest.len().div_ceil(BLOCK) % LANES;
        let (more, rest) = rest.split_at(if rest_blocks == 0 { rest.len() } else { 0 });
        let blocks = rest_blocks + 1;
        let end = with_last(load(rest), rest_blocks, last);
        let end = split(end, high_bits(blocks));
        let mut products = Products::none();
        products.add(&Multiplier::new(power_by_lane(blocks, low, low)), end);
        if text.len() > GROUP - BLOCK {
            let all = high_bits(LANES);
            let step = Multiplier::new(in_all_lanes(&self.power_8));
            let mut sum = [_mm512_setzero_si512(); 3];
            let mut groups = groups;
            if let Some((first, others)) = groups.split_first() {
                groups = others;
                sum = split(load(first), all);
            }
            let (pairs, odd) = groups.as_chunks::<2>();
            if !pairs.is_empty() {
                let power_16 = multiply(&self.power_8, &self.power_8);
                let double_step = Multiplier::new(in_all_lanes(&power_16));
                for [first, second] in pairs {
                    let mut products = Products::none();
                    products.add(&step, split(load(first), all));
                    products.add(&double_step, sum);
                    sum = add(products.reduce(), split(load(second), all));
                }
            }
            for group in
                odd.iter().map(|group| &group[..]).chain((!more.is_empty()).then_some(more))
            {
                sum = add(step.multiply(sum), split(load(group), all));
            }
            let high = step.multiply(low);
            products.add(&Multiplier::new(power_by_lane(blocks + LANES, low, high)), sum);
        }
        let sum = products.reduce();
        finish(sum.map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned()), self.pad)
    }
}

/// The second half of the key added to the sum, modulo 2^128.
fn finish(sum: Limbs, pad: u128) -> [u8; 16] {
    let [h0, h1, h2] = carry(sum);
    // Minus the modulus, if the number is not below it.
    let g0 = h0 + 5;
    let g1 = h1 + (g0 >> 44);
    let g2 = (h2 + (g1 >> 44)).wrapping_sub(1 << 42);
    // The compiler must not make a branch of it.
    let keep = black_box((g2 >> 63).wrapping_neg());
    let choose = |h: u64, g: u64| (h & keep) | (g & !keep);
    let h = [choose(h0, g0 & MASK_44), choose(h1, g1 & MASK_44), choose(h2, g2 & MASK_42)];
    // The second limb may be 2^44: they are added, not put side by side.
    let number =
        u128::from(h[0]).wrapping_add(u128::from(h[1]) << 44).wrapping_add(u128::from(h[2]) << 88);
    number.wrapping_add(pad).to_le_bytes()
}

/// The first half of the key as RFC 8439 wants it.
fn clamped(r: u128) -> Limbs {
    let r = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    [r as u64 & MASK_44, (r >> 44) as u64 & MASK_44, (r >> 88) as u64]
}

fn multiply(a: &Limbs, b: &Limbs) -> Limbs {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let [s1, s2] = [b[1] * 20, b[2] * 20];
    let d0 = product(a[0], b[0]) + product(a[1], s2) + product(a[2], s1);
    let d1 = product(a[0], b[1]) + product(a[1], b[0]) + product(a[2], s2) + (d0 >> 44);
    let d2 = product(a[0], b[2]) + product(a[1], b[1]) + product(a[2], b[0]) + (d1 >> 44);
    let h0 = (d0 as u64 & MASK_44) + (d2 >> 42) as u64 * 5;
    [h0 & MASK_44, (d1 as u64 & MASK_44) + (h0 >> 44), d2 as u64 & MASK_42]
}

/// From limbs below 2^48: limbs of their proper length, but that the second may be 2^44.
fn carry([h0, h1, h2]: Limbs) -> Limbs {
    let h1 = h1 + (h0 >> 44);
    let h2 = h2 + (h1 >> 44);
    let h0 = (h0 & MASK_44) + (h2 >> 42) * 5;
    let h1 = (h1 & MASK_44) + (h0 >> 44);
    [h0 & MASK_44, h1, h2 & MASK_42]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn in_all_lanes(number: &Limbs) -> Wide {
    number.map(|limb| _mm512_set1_epi64(limb.cast_signed()))
}

/// The numbers of `b` in the lanes that the mask tells, those of `a` in the others.
#[target_feature(enable = "avx512f")]
#[inline]
fn choose(mask: u8, a: Wide, b: Wide) -> Wide {
    from_fn(|limb| _mm512_mask_blend_epi64(mask, a[limb], b[limb]))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: Wide, b: Wide) -> Wide {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

/// The power that the block in each lane takes when so many blocks, at most 16, are left with the
/// first of the group; any other in lanes for which none is left. `low` are the first eight
/// powers, `high` the next.
#[target_feature(enable = "avx512f")]
#[inline]
fn power_by_lane(blocks: usize, low: Wide, high: Wide) -> Wide {
    let index = _mm512_sub_epi64(_mm512_set1_epi64(blocks as i64 - 1), order());
    let choose = |limb: usize| _mm512_permutex2var_epi64(low[limb], index, high[limb]);
    [choose(0), choose(1), choose(2)]
}

/// The bit above a block, for the first so many blocks of a group.
#[target_feature(enable = "avx512f")]
#[inline]
fn high_bits(blocks: usize) -> __m512i {
    let present = _mm512_cmplt_epu64_mask(order(), _mm512_set1_epi64(blocks as i64));
    _mm512_maskz_set1_epi64(present, HIGH_BIT.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn order() -> __m512i {
    let [a, b, c, d, e, f, g, h] = ORDER.map(u64::cast_signed);
    _mm512_setr_epi64(a, b, c, d, e, f, g, h)
}

/// Up to eight blocks, then zeroes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(text: &[u8]) -> [__m512i; 2] {
    let mask = |from: usize| match text.len().saturating_sub(from) {
        0 => 0,
        length => u64::MAX >> 64_usize.saturating_sub(length),
    };
    // SAFETY: the mask selects bytes that there are; no others are read.
    let first = unsafe { _mm512_maskz_loadu_epi8(mask(0), text.as_ptr().cast()) };
    let second = text.as_ptr().wrapping_add(64);
    // SAFETY: as above.
    let second = unsafe { _mm512_maskz_loadu_epi8(mask(64), second.cast()) };
    [first, second]
}

/// A block put into a group, behind so many.
#[target_feature(enable = "avx512f")]
#[inline]
fn with_last([a, b]: [__m512i; 2], blocks: usize, last: u128) -> [__m512i; 2] {
    let last = _mm_set_epi64x((last >> 64) as i64, last as i64);
    let words = 0xf_u32 << (4 * blocks);
    [
        _mm512_mask_broadcast_i32x4(a, words as u16, last),
        _mm512_mask_broadcast_i32x4(b, (words >> 16) as u16, last),
    ]
}

/// Eight blocks as numbers, with what is to be in their third limbs above them.
#[target_feature(enable = "avx512f")]
#[inline]
fn split([a, b]: [__m512i; 2], high: __m512i) -> Wide {
    let low = _mm512_unpacklo_epi64(a, b);
    let upper = _mm512_unpackhi_epi64(a, b);
    let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(upper));
    [
        _mm512_and_si512(low, mask_44),
        _mm512_and_si512(middle, mask_44),
        _mm512_or_si512(_mm512_srli_epi64::<24>(upper), high),
    ]
}
