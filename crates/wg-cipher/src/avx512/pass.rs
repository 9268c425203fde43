//! One pass over a text, which adds the keystream and authenticates what is sealed.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8,
    _mm512_maskz_mov_epi8, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::chacha::{FOURS, Four, Keystream, Nonce, wipe};
use super::poly1305::{Authenticator, PAIR};
use crate::TAG_LEN;

/// Adds the keystream to the text. Returns the tag, behind a last block, of what the text becomes
/// if that `SEAL`s it, or of what it was.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
#[inline]
pub(super) fn pass<const SEAL: bool>(
    key: &[u32; 8],
    nonce: Nonce,
    text: &mut [u8],
    last: u128,
) -> [u8; TAG_LEN] {
    let mut keystream = Keystream::new(key, nonce);
    if text.len() <= Keystream::BEGINNING {
        keystream.whole(text.len(), |fours| short::<SEAL>(fours, text, last))
    } else {
        long::<SEAL>(&mut keystream, text, last)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn short<const SEAL: bool>(fours: &mut [Four], text: &mut [u8], last: u128) -> [u8; TAG_LEN] {
    let one_time = fours[fours.len() - 1][3];
    let (pairs, rest) = text.as_chunks_mut::<PAIR>();
    let mut authenticator = Authenticator::new(one_time, !pairs.is_empty());
    for (pair, four) in pairs.iter_mut().zip(&*fours) {
        authenticator.take(add::<SEAL>(pair, four));
    }
    let end = add_to_rest::<SEAL>(rest, &fours[pairs.len()]);
    wipe(fours);
    authenticator.end(end, rest.len(), last)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
fn long<const SEAL: bool>(
    keystream: &mut Keystream<'_>,
    text: &mut [u8],
    last: u128,
) -> [u8; TAG_LEN] {
    let mut fours = keystream.beginning();
    let mut authenticator = Authenticator::new(fours[FOURS - 1][3], true);
    let mut length = text.len();
    let (pairs, rest) = text.as_chunks_mut::<PAIR>();
    // In the beginning's last four there is the one-time key.
    let (mut at, mut end) = (0, FOURS - 1);
    for pair in pairs {
        if at == end {
            keystream.next(end, length, &mut fours);
            (at, end) = (0, FOURS);
        }
        authenticator.take(add::<SEAL>(pair, &fours[at]));
        at += 1;
        length -= PAIR;
    }
    if at == end {
        keystream.next(end, length, &mut fours);
        at = 0;
    }
    let end = add_to_rest::<SEAL>(rest, &fours[at]);
    wipe(&mut fours);
    authenticator.end(end, rest.len(), last)
}

/// Adds keystream to a part of the text. Returns the part that is to be authenticated.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add<const SEAL: bool>(pair: &mut [u8; PAIR], keystream: &Four) -> [__m512i; 4] {
    let (blocks, _) = pair.as_chunks_mut::<64>();
    let mut sealed = [_mm512_setzero_si512(); 4];
    for ((block, key), sealed) in blocks.iter_mut().zip(keystream).zip(&mut sealed) {
        let old = load(block);
        let new = _mm512_xor_si512(old, *key);
        store(block, new);
        *sealed = if SEAL { new } else { old };
    }
    sealed
}

/// The same for the end of the text, shorter than a pair; zeroes are behind what is returned.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add_to_rest<const SEAL: bool>(rest: &mut [u8], keystream: &Four) -> [__m512i; 4] {
    let mut sealed = [_mm512_setzero_si512(); 4];
    for ((block, key), sealed) in rest.chunks_mut(64).zip(keystream).zip(&mut sealed) {
        let mask = u64::MAX >> (64 - block.len());
        // SAFETY: the mask selects the bytes that there are; the others are not touched.
        let old = unsafe { _mm512_maskz_loadu_epi8(mask, block.as_ptr().cast()) };
        let new = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(old, *key));
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi8(block.as_mut_ptr().cast(), mask, new) };
        *sealed = if SEAL { new } else { old };
    }
    sealed
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read where 64 bytes are, at any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: 64 bytes are written where 64 bytes are, at any alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) };
}
