//! Poly1305 (RFC 8439, section 2.5) of a message without additional data, in eight lanes.
//!
//! Numbers modulo 2^130 - 5 are in three limbs of 44, 44 and 42 bits, as in poly1305-donna-64;
//! the instructions multiply 52 bits by 52 and add the lower or the upper half of the product.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpge_epu64_mask, _mm512_loadu_si512,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_maskz_set1_epi64, _mm512_or_si512,
    _mm512_reduce_add_epi64, _mm512_set1_epi64, _mm512_setr_epi64, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::hint::black_box;

const BLOCK: usize = 16;
const LANES: usize = 8;
const GROUP: usize = LANES * BLOCK;
const PAIR: usize = 2 * GROUP;

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

/// The tag under a one-time key of `text` padded to whole blocks, and a last block behind it.
///
/// A sum for the first and one for the second half of each pair of groups: a multiplication
/// waits for the one before it, so that two chains take hardly longer than one.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn tag(one_time: &[u8; 32], text: &[u8], last: [u8; BLOCK]) -> [u8; 16] {
    let powers = powers(&clamped(one_time));
    // Each lane by the power of its distance from the end.
    let by_lane = |limb: usize| lanes(|lane| powers[LANES - 1 - ORDER[lane]][limb]);
    let last_step = Multiplier::new([by_lane(0), by_lane(1), by_lane(2)]);
    let blocks = text.len().div_ceil(BLOCK) + 1;
    // Blocks of zeroes before the message change nothing, so the first pair is the short one.
    let in_first = (blocks - 1) % (2 * LANES) + 1;
    let (first, rest) = text.split_at(text.len().min(in_first * BLOCK));

    let mut pair = [0; PAIR];
    pair[PAIR - in_first * BLOCK..][..first.len()].copy_from_slice(first);
    if blocks <= 2 * LANES {
        pair[PAIR - BLOCK..].copy_from_slice(&last);
    }
    let [front, back] = halves(&pair);
    let mut sum = split(back, high_bits(LANES.saturating_sub(in_first)));
    if blocks > LANES {
        let power_8 = powers[LANES - 1];
        let mut front = split(front, high_bits((2 * LANES - in_first).min(LANES)));
        if blocks > 2 * LANES {
            let step = Multiplier::in_all_lanes(&multiply(&power_8, &power_8));
            let high = high_bits(0);
            // The last of these pairs has room for the last block behind its last but one.
            let (whole, end) = rest.split_at(rest.len() / PAIR * PAIR);
            let (whole, _) = whole.as_chunks::<PAIR>();
            for pair in whole {
                let next = halves(pair);
                front = add(step.multiply(front), split(next[0], high));
                sum = add(step.multiply(sum), split(next[1], high));
            }
            let mut pair = [0; PAIR];
            pair[..end.len()].copy_from_slice(end);
            pair[PAIR - BLOCK..].copy_from_slice(&last);
            let next = halves(&pair);
            front = add(step.multiply(front), split(next[0], high));
            sum = add(step.multiply(sum), split(next[1], high));
        }
        sum = add(Multiplier::in_all_lanes(&power_8).multiply(front), sum);
    }
    let sum = last_step.multiply(sum);
    finish(sum.map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned()), one_time)
}

/// The second half of the key added to the sum, modulo 2^128.
fn finish(sum: Limbs, one_time: &[u8; 32]) -> [u8; 16] {
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
    let mut pad = [0; 16];
    pad.copy_from_slice(&one_time[16..]);
    number.wrapping_add(u128::from_le_bytes(pad)).to_le_bytes()
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

/// From limbs below 2^48: limbs of their proper length, but that the second may be 2^44.
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

    /// The same number in each lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn in_all_lanes(r: &Limbs) -> Self {
        Self::new(r.map(|limb| _mm512_set1_epi64(limb.cast_signed())))
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

/// The bit above a block, for all blocks of a group but the first `missing`.
#[target_feature(enable = "avx512f")]
#[inline]
fn high_bits(missing: usize) -> __m512i {
    let numbers = lanes(|lane| ORDER[lane] as u64);
    let present = _mm512_cmpge_epu64_mask(numbers, _mm512_set1_epi64(missing as i64));
    _mm512_maskz_set1_epi64(present, HIGH_BIT.cast_signed())
}

/// The two groups of a pair.
fn halves(pair: &[u8; PAIR]) -> [&[u8; GROUP]; 2] {
    let (groups, _) = pair.as_chunks::<GROUP>();
    [&groups[0], &groups[1]]
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

    /// A number modulo 2^130 - 5: what is above its 128th bit, and the bits below.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
    struct Residue(u8, u128);

    const MODULUS: Residue = Residue(3, u128::MAX - 4);

    impl Residue {
        fn plus(self, other: Self) -> Self {
            let (low, carry) = self.1.overflowing_add(other.1);
            let mut sum = Self(self.0 + other.0 + u8::from(carry), low);
            while sum >= MODULUS {
                let (low, borrow) = sum.1.overflowing_sub(MODULUS.1);
                sum = Self(sum.0 - MODULUS.0 - u8::from(borrow), low);
            }
            sum
        }

        fn minus(self, other: Self) -> Self {
            let (low, borrow) = MODULUS.1.overflowing_sub(other.1);
            self.plus(Self(MODULUS.0 - other.0 - u8::from(borrow), low))
        }

        fn times(self, other: Self) -> Self {
            other.bits().fold(Self(0, 0), |product, bit| {
                let double = product.plus(product);
                if bit { double.plus(self) } else { double }
            })
        }

        /// By Fermat's little theorem.
        fn inverse(self) -> Self {
            let exponent = Self(MODULUS.0, MODULUS.1 - 2);
            exponent.bits().fold(Self(0, 1), |power, bit| {
                let square = power.times(power);
                if bit { square.times(self) } else { square }
            })
        }

        /// From the highest.
        fn bits(self) -> impl Iterator<Item = bool> {
            let high = (0..2).rev().map(move |bit| self.0 >> bit & 1 == 1);
            high.chain((0..128).rev().map(move |bit| self.1 >> bit & 1 == 1))
        }
    }

    /// RFC 8439, section 2.5.
    fn r_of(one_time: &[u8; 32]) -> Residue {
        let mut r = [0; 16];
        r.copy_from_slice(&one_time[..16]);
        for at in [3, 7, 11, 15] {
            r[at] &= 15;
        }
        for at in [4, 8, 12] {
            r[at] &= 252;
        }
        Residue(0, u128::from_le_bytes(r))
    }

    /// The sum over whole blocks, as in a textbook.
    fn naive_sum(r: Residue, text: &[u8]) -> Residue {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut padded = [0; BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        let rest = if rest.is_empty() { None } else { Some(&padded) };
        blocks.iter().chain(rest).fold(Residue(0, 0), |sum, block| {
            sum.plus(Residue(1, u128::from_le_bytes(*block))).times(r)
        })
    }

    fn tag_of_sum(sum: Residue, one_time: &[u8; 32]) -> [u8; 16] {
        let mut pad = [0; 16];
        pad.copy_from_slice(&one_time[16..]);
        sum.1.wrapping_add(u128::from_le_bytes(pad)).to_le_bytes()
    }

    fn ours(one_time: &[u8; 32], text: &[u8], last: [u8; BLOCK]) -> [u8; 16] {
        // SAFETY: each test returns at its beginning where the processor lacks the instructions.
        unsafe { tag(one_time, text, last) }
    }

    fn is_missing() -> bool {
        let is_missing = super::super::Avx512::new(&[0; 32]).is_none();
        if is_missing {
            eprintln!("this processor has no AVX-512 with IFMA: not tested");
        }
        is_missing
    }

    /// Lengths around the ends of blocks and groups.
    const LENGTHS: [usize; 20] = [
        0, 1, 15, 16, 17, 96, 111, 112, 113, 127, 128, 129, 223, 224, 225, 239, 240, 241, 256, 383,
    ];

    /// One-time keys that no ChaCha20 key is known for: r of 0, 1, 2 and the greatest there is,
    /// texts of the greatest and the least limbs.
    #[test]
    fn the_greatest_and_the_least_limbs_agree_with_the_textbook() {
        if is_missing() {
            return;
        }
        for length in LENGTHS.into_iter().chain([1424]) {
            for text in [0x00, 0xff, 0xfb, 0xfa, 0x01].map(|byte| vec![byte; length]) {
                for (first, fill) in [(0, 0), (1, 0), (2, 0), (0x80, 0), (0xff, 0), (0xff, 0xff)] {
                    for other in [0, 0xff] {
                        let mut one_time = [fill; 32];
                        one_time[0] = first;
                        one_time[16..].fill(other);
                        let last = [other; BLOCK];
                        let r = r_of(&one_time);
                        let sum = naive_sum(r, &[&*padded(&text), &last].concat());
                        let expected = tag_of_sum(sum, &one_time);
                        assert_eq!(ours(&one_time, &text, last), expected, "{first} {text:?}");
                    }
                }
            }
        }
    }

    /// Sums that are about to leave the field, or a limb: the last block is made such that the
    /// sum is what we want.
    #[test]
    fn sums_at_the_ends_of_the_field_and_of_the_limbs_are_reduced() {
        if is_missing() {
            return;
        }
        let mut sums: Vec<Residue> = (0..9).map(|low| Residue(0, low)).collect();
        sums.extend((1..9).map(|below| Residue(0, 0).minus(Residue(0, below))));
        for bit in [44, 88, 127] {
            sums.extend([(1 << bit) - 1, 1 << bit, (1 << bit) + 1].map(|low| Residue(0, low)));
        }
        sums.extend([1, 2, 3].map(|high| Residue(high, 0)));
        sums.extend([0, 1, 2].map(|high| Residue(high, u128::MAX)));
        let keys = [
            [1; 32],
            [0xff; 32],
            std::array::from_fn(|i| u8::from(i == 0)),
            std::array::from_fn(|i| (i * 151 + 77) as u8),
        ];
        let (mut tried, mut reached) = (0, 0);
        for one_time in keys {
            let r = r_of(&one_time);
            let inverse = r.inverse();
            assert_eq!(r.times(inverse), Residue(0, 1));
            for length in LENGTHS.into_iter().filter(|length| *length > 0) {
                for &sum in &sums {
                    let before = sum.times(inverse).minus(Residue(1, 0));
                    // One block in four is short enough to be one.
                    let found = (0u8..=255).find_map(|first| {
                        let mut text = vec![0xff; length];
                        text[0] = first;
                        let Residue(high, last) = before.minus(naive_sum(r, &text));
                        (high == 0).then_some((text, last.to_le_bytes()))
                    });
                    tried += 1;
                    let Some((text, last)) = found else { continue };
                    reached += 1;
                    let expected = tag_of_sum(sum, &one_time);
                    assert_eq!(ours(&one_time, &text, last), expected, "{length} {sum:?}");
                }
            }
        }
        assert!(reached * 4 > tried * 3, "{reached} of {tried}");
    }

    /// RFC 8439, appendix A.3, vectors 7 to 11, whose texts are whole blocks.
    #[test]
    fn the_reductions_of_rfc_8439_are_done() {
        if is_missing() {
            return;
        }
        // r, the text but its last block, that, the tag; the second half of the keys is zero.
        let vectors: [(u128, &[u128], u128, u128); 5] = [
            (1, &[u128::MAX, u128::MAX - 0xf], 0x11, 5),
            (1, &[u128::MAX, !0 / 0xff * 0xfe - 3], !0 / 0xff, 0),
            (2, &[], u128::MAX - 2, u128::MAX - 5),
            (
                4 << 64 | 1,
                &[0xb943_5e50_d794_35e3, 0x01_cd79_435e_50d7_9433, 0],
                1,
                0x55 << 64 | 0x14,
            ),
            (4 << 64 | 1, &[0xb943_5e50_d794_35e3, 0x01_cd79_435e_50d7_9433], 0, 0x13),
        ];
        for (r, text, last, expected) in vectors {
            let mut one_time = [0; 32];
            one_time[..BLOCK].copy_from_slice(&r.to_le_bytes());
            let text: Vec<u8> = text.iter().flat_map(|block| block.to_le_bytes()).collect();
            assert_eq!(ours(&one_time, &text, last.to_le_bytes()), expected.to_le_bytes());
        }
    }

    fn padded(text: &[u8]) -> Vec<u8> {
        let mut padded = text.to_vec();
        padded.resize(text.len().next_multiple_of(BLOCK), 0);
        padded
    }
}
