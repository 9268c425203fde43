//! Poly1305 (RFC 8439, section 2.5) of a message without additional data, in eight lanes.
//!
//! Numbers modulo 2^130 - 5 are in three limbs of 44, 44 and 42 bits, as in poly1305-donna-64;
//! the instructions multiply 52 bits by 52 and add the lower or the upper half of the product.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_or_si512, _mm512_reduce_add_epi64, _mm512_set1_epi64,
    _mm512_setr_epi64, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

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
const ORDER: [usize; LANES] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The tag of `text` under a one-time key: `text` padded to whole blocks, then the lengths.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tag(one_time: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let powers = powers(&clamped(one_time));
    let blocks = text.len().div_ceil(BLOCK) + 1;
    // Blocks of zeroes before the message change nothing, so the first group is the short one.
    let in_first = (blocks - 1) % LANES + 1;
    let (first, rest) = text.split_at(text.len().min(in_first * BLOCK));

    let mut group = [0; GROUP];
    let skipped = GROUP - in_first * BLOCK;
    group[skipped..][..first.len()].copy_from_slice(first);
    if blocks <= LANES {
        write_lengths(&mut group, text.len());
    }
    let high = |lane: usize| if ORDER[lane] >= LANES - in_first { HIGH_BIT } else { 0 };
    let mut sum = split(&group, lanes(high));
    if blocks > LANES {
        let step =
            Multiplier::new(powers[LANES - 1].map(|limb| _mm512_set1_epi64(limb.cast_signed())));
        let high = _mm512_set1_epi64(HIGH_BIT.cast_signed());
        // The last of these groups has room for the lengths behind its seventh block.
        let (whole, last) = rest.split_at((rest.len() - 1) / GROUP * GROUP);
        let (whole, _) = whole.as_chunks::<GROUP>();
        for group in whole {
            sum = add(step.multiply(sum), split(group, high));
        }
        let mut group = [0; GROUP];
        group[..last.len()].copy_from_slice(last);
        write_lengths(&mut group, text.len());
        sum = add(step.multiply(sum), split(&group, high));
    }
    // Each lane by the power of its distance from the end.
    let by_lane = |limb: usize| lanes(|lane| powers[LANES - 1 - ORDER[lane]][limb]);
    let sum = Multiplier::new([by_lane(0), by_lane(1), by_lane(2)]).multiply(sum);
    finish(sum.map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned()), one_time)
}

/// The second half of the key added to the sum, modulo 2^128.
fn finish(sum: Limbs, one_time: &[u8; 32]) -> [u8; 16] {
    let [h0, h1, h2] = carry(carry(sum));
    // Minus the modulus, if the number is not below it.
    let g0 = h0 + 5;
    let g1 = h1 + (g0 >> 44);
    let g2 = (h2 + (g1 >> 44)).wrapping_sub(1 << 42);
    let keep = (g2 >> 63).wrapping_neg();
    let choose = |h: u64, g: u64| (h & keep) | (g & !keep);
    let h = [choose(h0, g0 & MASK_44), choose(h1, g1 & MASK_44), choose(h2, g2 & MASK_42)];
    // The second limb may still have a bit too many: they are added, not put side by side.
    let number =
        u128::from(h[0]).wrapping_add(u128::from(h[1]) << 44).wrapping_add(u128::from(h[2]) << 88);
    let mut pad = [0; 16];
    pad.copy_from_slice(&one_time[16..]);
    number.wrapping_add(u128::from_le_bytes(pad)).to_le_bytes()
}

/// No additional data, and so many bytes of text.
fn write_lengths(group: &mut [u8; GROUP], text: usize) {
    group[GROUP - 8..].copy_from_slice(&(text as u64).to_le_bytes());
}

/// The first half of the key as RFC 8439 wants it.
fn clamped(one_time: &[u8; 32]) -> Limbs {
    let mut r = [0; 16];
    r.copy_from_slice(&one_time[..16]);
    let r = u128::from_le_bytes(r) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    [r as u64 & MASK_44, (r >> 44) as u64 & MASK_44, (r >> 88) as u64]
}

/// The first eight powers of a number, the number itself first.
fn powers(r: &Limbs) -> [Limbs; LANES] {
    let r2 = multiply(r, r);
    let r3 = multiply(&r2, r);
    let r4 = multiply(&r2, &r2);
    [*r, r2, r3, r4, multiply(&r4, r), multiply(&r4, &r2), multiply(&r4, &r3), multiply(&r4, &r4)]
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

/// Limbs of their proper length, but that the second may have a bit more.
fn carry([h0, h1, h2]: Limbs) -> Limbs {
    let h1 = h1 + (h0 >> 44);
    let h2 = h2 + (h1 >> 44);
    let h0 = (h0 & MASK_44) + (h2 >> 42) * 5;
    let h1 = (h1 & MASK_44) + (h0 >> 44);
    [h0 & MASK_44, h1, h2 & MASK_42]
}

/// What eight numbers are multiplied by.
struct Multiplier {
    r: Wide,
    /// 20 times the second and the third limb: what wraps around 2^130 comes back five times,
    /// two bits higher.
    s: [__m512i; 2],
}

impl Multiplier {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn new(r: Wide) -> Self {
        let times_20 = |limb: __m512i| {
            _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb))
        };
        Self { r, s: [times_20(r[1]), times_20(r[2])] }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn multiply(&self, h: Wide) -> Wide {
        let Self { r, s } = self;
        let zero = _mm512_setzero_si512();
        let sum = |factors: [__m512i; 3]| {
            let mut low = zero;
            let mut high = zero;
            for (h, factor) in h.into_iter().zip(factors) {
                low = _mm512_madd52lo_epu64(low, h, factor);
                high = _mm512_madd52hi_epu64(high, h, factor);
            }
            (low, high)
        };
        let (d0, e0) = sum([r[0], s[1], s[0]]);
        let (d1, e1) = sum([r[1], r[0], s[1]]);
        let (d2, e2) = sum([r[2], r[1], r[0]]);
        let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
        let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());
        // The upper halves begin at bit 52: 8 bits above the next limb, 10 above the third's end.
        let c0 = _mm512_add_epi64(_mm512_srli_epi64::<44>(d0), _mm512_slli_epi64::<8>(e0));
        let d1 = _mm512_add_epi64(d1, c0);
        let c1 = _mm512_add_epi64(_mm512_srli_epi64::<44>(d1), _mm512_slli_epi64::<8>(e1));
        let d2 = _mm512_add_epi64(d2, c1);
        let c2 = _mm512_add_epi64(_mm512_srli_epi64::<42>(d2), _mm512_slli_epi64::<10>(e2));
        let c2 = _mm512_add_epi64(c2, _mm512_slli_epi64::<2>(c2));
        let h0 = _mm512_add_epi64(_mm512_and_si512(d0, mask_44), c2);
        let h1 = _mm512_and_si512(d1, mask_44);
        [
            _mm512_and_si512(h0, mask_44),
            _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0)),
            _mm512_and_si512(d2, mask_42),
        ]
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: Wide, b: Wide) -> Wide {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

/// Eight blocks as numbers, with what is to be in their third limbs above them.
#[target_feature(enable = "avx512f")]
#[inline]
fn split(group: &[u8; GROUP], high: __m512i) -> Wide {
    let (halves, _) = group.as_chunks::<64>();
    // SAFETY: 64 bytes are read where 64 bytes are, at any alignment.
    let a = unsafe { _mm512_loadu_si512(halves[0].as_ptr().cast()) };
    // SAFETY: as above.
    let b = unsafe { _mm512_loadu_si512(halves[1].as_ptr().cast()) };
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

#[target_feature(enable = "avx512f")]
#[inline]
fn lanes(value: impl Fn(usize) -> u64) -> __m512i {
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|lane| value(lane).cast_signed());
    _mm512_setr_epi64(a, b, c, d, e, f, g, h)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439, section 2.5.1, as in a textbook: numbers of any length, byte by byte.
    fn naive(one_time: &[u8; 32], text: &[u8]) -> [u8; 16] {
        let mut message = text.to_vec();
        message.resize(text.len().next_multiple_of(16), 0);
        message.extend([0; 8]);
        message.extend((text.len() as u64).to_le_bytes());
        let mut r = [0; 17];
        r[..16].copy_from_slice(&one_time[..16]);
        for at in [3, 7, 11, 15] {
            r[at] &= 15;
        }
        for at in [4, 8, 12] {
            r[at] &= 252;
        }
        let mut h = [0u32; 17];
        for block in message.chunks(16) {
            // h = (h + block) * r, in base 256, 2^136 being 5 * 2^6.
            for (h, byte) in h.iter_mut().zip(block.iter().chain([&1])) {
                *h += u32::from(*byte);
            }
            let mut product = [0u32; 17];
            for i in 0..17 {
                for j in 0..=i {
                    product[i] += h[j] * u32::from(r[i - j]);
                }
                for j in i + 1..17 {
                    product[i] += 320 * h[j] * u32::from(r[i + 17 - j]);
                }
            }
            // Down to below 2^130 and a little.
            for _ in 0..2 {
                let mut carry = 0;
                for limb in &mut product {
                    *limb += carry;
                    carry = *limb >> 8;
                    *limb &= 255;
                }
                let above = (product[16] >> 2) + (carry << 6);
                product[16] &= 3;
                product[0] += above * 5;
            }
            h = product;
        }
        let mut carry = 0;
        for limb in &mut h {
            *limb += carry;
            carry = *limb >> 8;
            *limb &= 255;
        }
        // h - p, if that is not negative: add 5 and look at bit 130.
        let mut less = h;
        let mut carry = 5;
        for limb in &mut less {
            *limb += carry;
            carry = *limb >> 8;
            *limb &= 255;
        }
        let h = if less[16] >= 4 { less } else { h };
        let bytes: [u8; 16] = std::array::from_fn(|i| h[i] as u8);
        let mut pad = [0; 16];
        pad.copy_from_slice(&one_time[16..]);
        u128::from_le_bytes(bytes).wrapping_add(u128::from_le_bytes(pad)).to_le_bytes()
    }

    /// One-time keys that no ChaCha20 key is known for: r of 0, 1, 2 and the greatest there is,
    /// with texts that bring the sum to the modulus and around it.
    #[test]
    fn the_edges_of_the_field_agree_with_the_naive_tag() {
        if super::super::Avx512::new(&[0; 32]).is_none() {
            return;
        }
        let mut texts = Vec::new();
        for length in [0, 1, 15, 16, 17, 96, 111, 112, 113, 128, 239, 240, 241, 256, 1424] {
            texts.extend([0x00, 0xff, 0xfb, 0xfa, 0x01].map(|byte| vec![byte; length]));
        }
        // RFC 8439, appendix A.3, vectors 7 to 9.
        let mut near = vec![0xff; 48];
        near[16] = 0xf0;
        texts.push(near.clone());
        near[16..32].fill(0xfe);
        near[16] = 0xfb;
        near[32..].fill(0x01);
        texts.push(near);
        texts.push([vec![0xfd], vec![0xff; 15]].concat());
        for first in [0, 1, 2, 4, 0x80, 0xff] {
            for fill in [0, 0xff] {
                for pad in [0, 0xff] {
                    let mut one_time = [fill; 32];
                    one_time[0] = first;
                    one_time[16..].fill(pad);
                    for text in &texts {
                        // SAFETY: the processor has the instructions, or we would not be here.
                        let tag = unsafe { tag(&one_time, text) };
                        assert_eq!(tag, naive(&one_time, text), "{first} {fill} {pad} {text:?}");
                    }
                }
            }
        }
    }
}
