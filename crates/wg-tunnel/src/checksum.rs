//! The Internet checksum (RFC 1071), over many bytes at once.
//!
//! Sums are of 16-bit words in the machine's byte order: the one's complement sum does not care,
//! as long as the result is stored in the same order (RFC 1071, section 2 (B)).

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm256_add_epi64, _mm256_and_si256, _mm256_extract_epi64, _mm256_loadu_si256,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64,
};
use std::ops::Add;

/// A one's complement sum in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, an odd last one counting as the first half of a word.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if bytes.len() >= WIDE && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return Self(unsafe { sum_avx2(bytes) });
        }
        Self(sum(bytes))
    }

    /// The sum of a 16-bit number as it stands in a packet.
    pub(crate) fn of_u16(value: u16) -> Self {
        Self(u64::from(value.to_be()))
    }

    /// What the pseudo header of TCP or UDP adds: the addresses, which stand together in the IP
    /// header, the protocol and the length of header and payload (RFC 9293, section 3.1; RFC
    /// 8200, section 8.1).
    pub(crate) fn of_pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> Self {
        // 65535 and a header fit 32 bits; words of a sum may be added up in any order.
        let length = length as u64;
        Self::of(addresses)
            + Self::of_u16(u16::from(protocol))
            + Self::of_u16((length >> 16) as u16)
            + Self::of_u16(length as u16)
    }

    /// The sum in 16 bits, not inverted: what `VIRTIO_NET_HDR_F_NEEDS_CSUM` wants in the
    /// checksum's place.
    pub(crate) fn folded(self) -> [u8; 2] {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum: the inverted sum.
    pub(crate) fn checksum(self) -> [u8; 2] {
        self.folded().map(|byte| !byte)
    }

    /// Whether the sum of data with its checksum is as it must be.
    pub(crate) fn is_valid(self) -> bool {
        self.folded() == [0xff; 2]
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Each is the sum of less than 2^32 words of 32 bits.
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + u64::from(carry))
    }
}

/// Below this many bytes a wider sum does not pay.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 128;

/// Two 32-bit words from each 64 bits, so that nothing has to change its place.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    let low = _mm256_set1_epi64x(0xffff_ffff);
    let mut sums = [_mm256_setzero_si256(); 4];
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        let (halves, _) = block.as_chunks::<32>();
        for (half, sums) in halves.iter().zip(sums.as_chunks_mut::<2>().0) {
            // SAFETY: 32 bytes are read where 32 bytes are, at any alignment.
            let words = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(words, low));
            sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64::<32>(words));
        }
    }
    let sums =
        _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
    let sums = [
        _mm256_extract_epi64::<0>(sums),
        _mm256_extract_epi64::<1>(sums),
        _mm256_extract_epi64::<2>(sums),
        _mm256_extract_epi64::<3>(sums),
    ];
    sums.map(i64::cast_unsigned).iter().sum::<u64>() + sum(rest)
}

/// Adds 32-bit words in eight sums of 64 bits, which cannot overflow below 2^32 words.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 8];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let (words, rest) = rest.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        *sum += u64::from(u32::from_ne_bytes(*word));
    }
    // Not copied into a word first: a load wider than the stores before it waits for them.
    let last = match *rest {
        [] => 0,
        [a] => u32::from_ne_bytes([a, 0, 0, 0]),
        [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
        [a, b, c, ..] => u32::from_ne_bytes([a, b, c, 0]),
    };
    sums.iter().sum::<u64>() + u64::from(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, section 4.1, word by word.
    pub(crate) fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&data).folded(), [0xdd, 0xf2]);
        assert_eq!(Sum::of(&data).checksum(), [0x22, 0x0d]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..3000),
            at in any::<proptest::sample::Index>(),
        ) {
            let expected = naive(&bytes).to_be_bytes();
            prop_assert_eq!(Sum::of(&bytes).checksum(), expected);
            let at = at.index(bytes.len() + 1) & !1;
            let (head, tail) = bytes.split_at(at);
            prop_assert_eq!((Sum::of(head) + Sum::of(tail)).checksum(), expected);
        }

        #[test]
        fn the_pseudo_header_counts_as_if_it_were_written(
            addresses in any::<[u8; 32]>(), protocol: u8, length in 0..70_000usize,
        ) {
            let mut written = addresses.to_vec();
            written.extend((length as u32).to_be_bytes());
            written.extend([0, 0, 0, protocol]);
            let sum = Sum::of_pseudo_header(&addresses, protocol, length);
            prop_assert_eq!(sum.checksum(), naive(&written).to_be_bytes());
        }
    }
}
