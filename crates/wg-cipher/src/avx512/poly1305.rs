//! Poly1305 (RFC 8439, section 2.5) of a message without additional data, in eight lanes.
//!
//! Numbers modulo 2^130 - 5 are in three limbs of 44, 44 and 42 bits, as in poly1305-donna-64;
//! the instructions multiply 52 bits by 52 and add the lower or the upper half of the product.

use std::arch::x86_64::{
    __m512i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x, _mm512_add_epi64,
    _mm512_and_si512, _mm512_castsi512_si128, _mm512_cmplt_epu64_mask, _mm512_extracti32x4_epi32,
    _mm512_mask_blend_epi64, _mm512_mask_broadcast_i32x4, _mm512_maskz_set1_epi64, _mm512_or_si512,
    _mm512_permutex2var_epi64, _mm512_reduce_add_epi64, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_sub_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::array::from_fn;
use std::hint::black_box;

use multiplier::{Multiplier, Products};

mod multiplier;
#[cfg(test)]
pub(super) mod tests;

const BLOCK: usize = 16;
const LANES: usize = 8;
/// Bytes that are taken together: two groups of a block for each lane.
pub(super) const PAIR: usize = 2 * LANES * BLOCK;

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

/// The authenticator of a message whose beginning was taken.
///
/// Each lane sums up one block of every group of eight. A sum is multiplied by the 8th power of r
/// for the next group; or by the 16th for the next two, the first of which takes the 8th, so that
/// both products are reduced together.
pub(super) struct Authenticator {
    sum: Option<Wide>,
    /// The first eight powers of r, the first half of the key: one in each lane.
    powers: Wide,
    power_8: Limbs,
    power_16: Limbs,
    /// The key's second half.
    pad: u128,
}

impl Authenticator {
    /// Takes the first half of a block of keystream for a one-time key. Unless it `has_pairs`, the
    /// text ends before the first.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn new(block: __m512i, has_pairs: bool) -> Self {
        let half = |half| {
            let low = _mm_cvtsi128_si64(half).cast_unsigned();
            u128::from(_mm_extract_epi64::<1>(half).cast_unsigned()) << 64 | u128::from(low)
        };
        let r = clamped(half(_mm512_castsi512_si128(block)));
        let pad = half(_mm512_extracti32x4_epi32::<1>(block));
        let square_2 = square(r);
        let (power_2, power_4) = (carry(square_2), carry(square(square_2)));
        let square_8 = square(power_4);
        let power_8 = carry(square_8);
        let power_16 = if has_pairs { carry(square(square_8)) } else { [0; 3] };
        // The first and second power in turn, then the first four in turn, then all eight.
        let two = choose(0b1010_1010, in_all_lanes(&r), in_all_lanes(&power_2));
        let four = choose(0b1100_1100, two, Multiplier::new(in_all_lanes(&power_2)).multiply(two));
        let eight =
            choose(0b1111_0000, four, Multiplier::new(in_all_lanes(&power_4)).multiply(four));
        Self { sum: None, powers: eight, power_8, power_16, pad }
    }

    /// Takes the next pair.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn take(&mut self, [a, b, c, d]: [__m512i; 4]) {
        let all = high_bits(LANES);
        let mut products = Products::none();
        products.add(&Multiplier::new(in_all_lanes(&self.power_8)), split([a, b], all));
        if let Some(sum) = self.sum {
            products.add(&Multiplier::new(in_all_lanes(&self.power_16)), sum);
        }
        self.sum = Some(add(products.reduce(), split([c, d], all)));
    }

    /// Takes the rest of the text, which has so many bytes, less than a pair, then zeroes; and a
    /// last block behind it. Returns the tag, and zeroes the key held here.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    pub(super) fn end(
        &mut self,
        [a, b, c, d]: [__m512i; 4],
        length: usize,
        last: u128,
    ) -> [u8; 16] {
        let all = high_bits(LANES);
        let power_8 = Multiplier::new(in_all_lanes(&self.power_8));
        let blocks = length.div_ceil(BLOCK);
        let mut sum = self.sum;
        let mut end = [a, b];
        if blocks >= LANES {
            sum = Some(step(&power_8, sum, split(end, all)));
            end = [c, d];
        }
        if blocks == 2 * LANES {
            sum = Some(step(&power_8, sum, split(end, all)));
            end = [_mm512_setzero_si512(); 2];
        }
        let before = blocks % LANES;
        let low = self.powers;
        let end = split(with_last(end, before, last), high_bits(before + 1));
        let mut products = Products::none();
        products.add(&Multiplier::new(power_by_lane(before + 1, low, low)), end);
        if let Some(sum) = sum {
            let high = power_8.multiply(low);
            let power = power_by_lane(before + 1 + LANES, low, high);
            products.add(&Multiplier::new(power), sum);
        }
        let sum = products.reduce();
        let tag = finish(sum.map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned()), self.pad);
        self.wipe();
        tag
    }

    /// Zeroes what would be enough to forge another message under the same counter.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn wipe(&mut self) {
        let powers = [_mm512_setzero_si512(); 3];
        *self = Self { sum: None, powers, power_8: [0; 3], power_16: [0; 3], pad: 0 };
        // The compiler must take it that somebody reads the zeroes.
        black_box(self);
    }
}

/// The sum behind one more group.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn step(power_8: &Multiplier, sum: Option<Wide>, group: Wide) -> Wide {
    match sum {
        Some(sum) => add(power_8.multiply(sum), group),
        None => group,
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

/// The square of carried limbs as limbs below 2^49, or of such as limbs below 2^60. To carry takes
/// longer than to multiply, and the next square can do without.
fn square([a, b, c]: Limbs) -> Limbs {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let d0 = product(a, a) + product(40 * b, c);
    let d1 = product(2 * a, b) + product(20 * c, c);
    let d2 = product(2 * a, c) + product(b, b);
    [
        (d0 as u64 & MASK_44) + 5 * (d2 >> 42) as u64,
        (d1 as u64 & MASK_44) + (d0 >> 44) as u64,
        (d2 as u64 & MASK_42) + (d1 >> 44) as u64,
    ]
}

/// From limbs below 2^60: limbs of their proper length, but that the second may be 2^44.
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
