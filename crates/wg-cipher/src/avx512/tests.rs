use std::arch::x86_64::{
    _mm_cvtsi128_si64, _mm_extract_epi64, _mm512_castsi512_si128, _mm512_extracti32x4_epi32,
};
use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use testbed::memory::Place;

use super::chacha::{Keystream, Nonce};
use super::pass::pass;
use super::*;
use crate::tests::hex;

/// As RFC 8439 has it, with any nonce and with additional data, from the same parts.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn seal_with(key: &[u8], nonce: Nonce, additional: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let key = std::array::from_fn(|i| u32::from_le_bytes(key[i * 4..][..4].try_into().unwrap()));
    let lengths = lengths(additional.len(), text.len());
    let alone = pass::<true>(&key, nonce, text, lengths);
    let mut authenticated = additional.to_vec();
    authenticated.resize(additional.len().next_multiple_of(16), 0);
    authenticated.extend_from_slice(text);
    let tag = Keystream::new(&key, nonce).whole(0, |fours| {
        let [low, high] = [0, 1].map(|half| match half {
            0 => _mm512_castsi512_si128(fours[0][3]),
            _ => _mm512_extracti32x4_epi32::<1>(fours[0][3]),
        });
        let words = [
            _mm_cvtsi128_si64(low),
            _mm_extract_epi64::<1>(low),
            _mm_cvtsi128_si64(high),
            _mm_extract_epi64::<1>(high),
        ];
        poly1305::tests::tag(words, &authenticated, lengths)
    });
    assert!(!additional.is_empty() || alone == tag);
    tag
}

#[test]
fn the_vectors_of_wycheproof_hold() {
    if Avx512::new(&[0; 32]).is_none() {
        return;
    }
    let vectors = include_str!("../../testdata/wycheproof_chacha20_poly1305.txt");
    let mut seen = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [key, nonce, additional, text, sealed, result] = fields[..] else { panic!("{line}") };
        let [key, nonce, additional, mut text, sealed] =
            [key, nonce, additional, text, sealed].map(|field| hex(field.trim_matches('-')));
        let (first, rest) = nonce.split_at(4);
        let nonce = (
            u32::from_le_bytes(first.try_into().unwrap()),
            u64::from_le_bytes(rest.try_into().unwrap()),
        );
        // SAFETY: the processor has the instructions, or we would not be here.
        let tag = unsafe { seal_with(&key, nonce, &additional, &mut text) };
        let is_same = [&*text, &tag].concat() == sealed;
        assert_eq!(is_same, result == "valid", "{line}");
        seen += 1;
    }
    assert_eq!(seen, 293);
}

/// A text that ends where memory ends, or begins where it begins.
#[test]
fn nothing_beside_the_text_is_touched() {
    const PAGE: usize = 4096;
    let Some(cipher) = Avx512::new(&[7; 32]) else { return };
    let length = NonZeroUsize::new(6 * PAGE).unwrap();
    let all = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, which nothing else knows of.
    let memory = unsafe { mmap_anonymous(None, length, all, MapFlags::MAP_PRIVATE) }.unwrap();
    for page in [0, 5] {
        // SAFETY: the page is one of the mapping's, and nothing points into it.
        let guard = unsafe { memory.byte_add(page * PAGE) };
        // SAFETY: as above.
        unsafe { mprotect(guard, PAGE, ProtFlags::PROT_NONE) }.unwrap();
    }
    // SAFETY: the four pages between the first and the last are ours, and zero.
    let first = unsafe { memory.byte_add(PAGE) };
    // SAFETY: as above.
    let room = unsafe { std::slice::from_raw_parts_mut(first.as_ptr().cast::<u8>(), 4 * PAGE) };
    for length in (0..400).chain(1400..1700).chain([PAGE, 3000, 3072, 3073, 4 * PAGE]) {
        for from in [0, 4 * PAGE - length] {
            let text = &mut room[from..][..length];
            let tag = cipher.seal(1, text);
            assert_eq!(cipher.open(1, text, &tag), Ok(()));
            assert!(room.iter().all(|byte| *byte == 0), "{length} bytes");
        }
    }
    // SAFETY: the whole mapping, and `room` is not used any more.
    unsafe { munmap(memory, length.get()) }.unwrap();
}

/// What was deciphered before the tag was known to be wrong must not be seen.
#[test]
fn zeroes_are_left_of_a_forged_text() {
    let Some(cipher) = Avx512::new(&[7; 32]) else { return };
    for length in [0, 1, 16, 64, 255, 256, 1420, 1472, 1473, 5000] {
        for bit in 0..128 {
            let mut text = vec![0x5a; length];
            let tag = cipher.seal(3, &mut text);
            let forged = (u128::from_le_bytes(tag) ^ 1 << bit).to_le_bytes();
            assert_eq!(cipher.open(3, &mut text, &forged), Err(Forged), "bit {bit}");
            assert!(text.iter().all(|byte| *byte == 0), "{length} bytes");
        }
    }
}

#[test]
fn nothing_is_left_of_a_key() {
    let secret = std::array::from_fn(|i| i as u8 + 100);
    let Some(key) = Avx512::new(&secret) else { return };
    let mut place = Place::of(&**key.key);
    assert!(place.holds_some_of(&secret));
    drop(key);
    assert!(!place.holds_some_of(&secret));
}
