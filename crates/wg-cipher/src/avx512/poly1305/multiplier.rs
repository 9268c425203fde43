//! Multiplication of eight numbers at once: products are summed up, then reduced together.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64,
};

use super::{MASK_42, MASK_44, Wide};

/// What eight numbers are multiplied by.
pub(super) struct Multiplier {
    r: Wide,
    /// 20 times the second and the third limb: what wraps around 2^130 comes back five times,
    /// two bits higher.
    s: [__m512i; 2],
}

impl Multiplier {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn new(r: Wide) -> Self {
        let times_20 = |limb: __m512i| {
            _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb))
        };
        Self { r, s: [times_20(r[1]), times_20(r[2])] }
    }

    /// The products with eight numbers.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn multiply(&self, h: Wide) -> Wide {
        let mut products = Products::none();
        products.add(self, h);
        products.reduce()
    }
}

/// Sums of products of 52 bits by 52: their lower and upper halves, for each limb of the result.
pub(super) struct Products {
    low: Wide,
    high: Wide,
}

impl Products {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn none() -> Self {
        let zero = [_mm512_setzero_si512(); 3];
        Self { low: zero, high: zero }
    }

    /// Adds eight products. There may be two of each lane before [`Products::reduce`].
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn add(&mut self, multiplier: &Multiplier, h: Wide) {
        let Multiplier { r, s } = multiplier;
        let rows = [[r[0], r[1], r[2]], [s[1], r[0], r[1]], [s[0], s[1], r[0]]];
        for (h, factors) in h.into_iter().zip(rows) {
            let sums = self.low.iter_mut().zip(&mut self.high);
            for ((low, high), factor) in sums.zip(factors) {
                *low = _mm512_madd52lo_epu64(*low, h, factor);
                *high = _mm512_madd52hi_epu64(*high, h, factor);
            }
        }
    }

    /// The sums modulo 2^130 - 5, nearly: the second limb may have 45 bits.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn reduce(self) -> Wide {
        let ([d0, d1, d2], [e0, e1, e2]) = (self.low, self.high);
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
