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

/// The tag of `text` padded to whole blocks, and a last block.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(in super::super) fn tag(one_time: [i64; 4], text: &[u8], last: u128) -> [u8; 16] {
    let load = |text: &[u8]| {
        let mut words = [[0; 8]; 4];
        for (word, bytes) in words.iter_mut().flatten().zip(text.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = i64::from_le_bytes(whole);
        }
        words.map(|[a, b, c, d, e, f, g, h]| _mm512_setr_epi64(a, b, c, d, e, f, g, h))
    };
    let [a, b, c, d] = one_time;
    let one_time = _mm512_setr_epi64(a, b, c, d, -1, -1, -1, -1);
    let mut authenticator = Authenticator::new(one_time, text.len() >= PAIR);
    let (pairs, rest) = text.as_chunks::<PAIR>();
    for pair in pairs {
        authenticator.take(load(pair));
    }
    let tag = authenticator.end(load(rest), rest.len(), last);
    let Authenticator { sum, powers, power_8, power_16, pad } = authenticator;
    assert!(sum.is_none() && (power_8, power_16, pad) == ([0; 3], [0; 3], 0), "it is wiped");
    assert!(powers.iter().all(|limb| _mm512_reduce_add_epi64(*limb) == 0), "it is wiped");
    tag
}

fn ours(one_time: &[u8; 32], text: &[u8], last: [u8; BLOCK]) -> [u8; 16] {
    let (words, _) = one_time.as_chunks::<8>();
    let one_time = std::array::from_fn(|i| i64::from_le_bytes(words[i]));
    // SAFETY: each test returns at its beginning where the processor lacks the instructions.
    unsafe { tag(one_time, text, u128::from_le_bytes(last)) }
}

fn is_missing() -> bool {
    let is_missing = super::super::Avx512::new(&[0; 32]).is_none();
    if is_missing {
        eprintln!("this processor has no AVX-512 with IFMA: not tested");
    }
    is_missing
}

/// Lengths around the ends of blocks and groups.
const LENGTHS: [usize; 20] =
    [0, 1, 15, 16, 17, 96, 111, 112, 113, 127, 128, 129, 223, 224, 225, 239, 240, 241, 256, 383];

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
        (4 << 64 | 1, &[0xb943_5e50_d794_35e3, 0x01_cd79_435e_50d7_9433, 0], 1, 0x55 << 64 | 0x14),
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
