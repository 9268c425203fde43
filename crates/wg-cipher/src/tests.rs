use proptest::prelude::*;
use testbed::memory::is_left_of_dropped;

use super::*;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Each implementation that there is here.
fn all(key: &[u8; 32]) -> Vec<(&'static str, Box<dyn Cipher>)> {
    let mut all: Vec<(&str, Box<dyn Cipher>)> =
        vec![("ring", Box::new(Ring::new(key))), ("the fastest", Box::new(TransportKey::new(key)))];
    #[cfg(target_arch = "x86_64")]
    match Avx512::new(key) {
        Some(cipher) => all.push(("AVX-512", Box::new(cipher))),
        None => eprintln!("this processor has no AVX-512 with IFMA: not tested"),
    }
    all
}

/// The same by an implementation that shares nothing with ours.
fn reference(key: &[u8; 32], counter: u64, text: &[u8]) -> (Vec<u8>, [u8; TAG_LEN]) {
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    let mut text = text.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], (&mut text[..]).into()).unwrap();
    (text, tag.into())
}

fn check(key: &[u8; 32], counter: u64, text: &[u8]) {
    let (sealed, tag) = reference(key, counter, text);
    for (name, cipher) in all(key) {
        let mut ours = text.to_vec();
        assert_eq!(cipher.seal(counter, &mut ours), tag, "{name}, {} bytes", text.len());
        assert!(ours == sealed, "{name}, {} bytes", text.len());
        assert_eq!(cipher.open(counter, &mut ours, &tag), Ok(()), "{name}");
        assert!(ours == text, "{name}, {} bytes", text.len());
        let mut forged = tag;
        forged[text.len() % TAG_LEN] ^= 0x10;
        let mut rejected = sealed.clone();
        assert_eq!(cipher.open(counter, &mut rejected, &forged), Err(Forged), "{name}");
        let is_zero = rejected.iter().all(|byte| *byte == 0);
        assert!(is_zero || rejected == sealed, "{name} gave away {} bytes", text.len());
        assert_eq!(cipher.open(counter ^ 1, &mut sealed.clone(), &tag), Err(Forged), "{name}");
    }
}

#[test]
fn every_length_agrees_with_another_implementation() {
    let key = std::array::from_fn(|i| (i * 37) as u8);
    let text: Vec<u8> = (0..4000usize).map(|i| (i * 11 % 253) as u8).collect();
    for length in 0..text.len() {
        check(&key, length as u64, &text[..length]);
    }
}

/// Where a text begins in memory does not matter.
#[test]
fn unaligned_texts_agree_with_another_implementation() {
    let key = [0x33; 32];
    let original: Vec<u8> = (0..1700usize).map(|i| (i * 7 % 251) as u8).collect();
    for length in [1, 15, 64, 100, 128, 255, 300, 704, 1424, 1452, 1472, 1600] {
        let (sealed, tag) = reference(&key, 9, &original[..length]);
        for (name, cipher) in all(&key) {
            for from in 0..64 {
                let mut room = original.clone();
                room.copy_within(..length, from);
                let text = &mut room[from..][..length];
                assert_eq!(cipher.seal(9, text), tag, "{name}, {length} bytes from {from}");
                assert!(*text == *sealed, "{name}, {length} bytes from {from}");
                assert_eq!(cipher.open(9, text, &tag), Ok(()), "{name}, {length} bytes");
                assert!(*text == original[..length], "{name}, {length} bytes from {from}");
            }
        }
    }
}

/// The longest text of a datagram, and counters whose halves are at their ends.
#[test]
fn long_texts_and_high_counters_agree_with_another_implementation() {
    let text = vec![0xff; 65535];
    for counter in [0, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        check(&[0xff; 32], counter, &text);
        check(&[0; 32], counter, &text[..1424]);
    }
}

/// Consecutive counters, of which one half runs over into the other, or a sign changes.
#[test]
fn counters_around_the_ends_of_words_agree_with_another_implementation() {
    let text = vec![0xa5; 1452];
    for end in [1 << 31, 1 << 32, 1 << 63, u64::MAX - 4] {
        for counter in end - 4..end + 4 {
            for length in [0, 96, 448, 700, 1452] {
                check(&[0x77; 32], counter, &text[..length]);
            }
        }
    }
}

/// Each byte of a message takes part in its tag.
#[test]
fn any_changed_byte_is_noticed() {
    let key = [0x21; 32];
    for length in [1, 64, 130, 448, 700, 1452, 1473, 2100] {
        let text: Vec<u8> = (0..length).map(|i| (i * 3) as u8).collect();
        let (sealed, tag) = reference(&key, 5, &text);
        for (name, cipher) in all(&key) {
            for at in 0..length {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << (at % 8);
                assert_eq!(cipher.open(5, &mut changed, &tag), Err(Forged), "{name}, byte {at}");
            }
        }
    }
}

#[test]
fn texts_of_ones_around_the_groups_ends_agree_with_another_implementation() {
    for byte in [0x00, 0x01, 0x7f, 0x80, 0xfb, 0xff] {
        for length in [15, 16, 17, 111, 112, 113, 127, 128, 129, 240, 255, 256, 1424, 1472, 1473] {
            check(&[byte; 32], u64::from(byte), &vec![0xff; length]);
        }
    }
}

/// RFC 8439, appendix A.1, vector 1, as seen through the cipher: the keystream's second block.
#[test]
fn the_keystream_is_that_of_rfc_8439() {
    let second = hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
         29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
    for (name, cipher) in all(&[0; 32]) {
        let mut text = [0; 64];
        cipher.seal(0, &mut text);
        assert_eq!(text.to_vec(), second, "{name}");
    }
}

proptest! {
    #[test]
    fn any_key_counter_and_text_agree_with_another_implementation(
        key: [u8; 32],
        counter: u64,
        text in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        check(&key, counter, &text);
    }

    #[test]
    fn any_changed_bit_is_noticed(
        key: [u8; 32],
        text in proptest::collection::vec(any::<u8>(), 1..1500),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u8,
    ) {
        let cipher = TransportKey::new(&key);
        let mut sealed = text.clone();
        let tag = cipher.seal(7, &mut sealed);
        sealed[at.index(text.len())] ^= 1u8 << bit;
        prop_assert_eq!(cipher.open(7, &mut sealed, &tag), Err(Forged));
    }
}

/// ring does not do it.
#[test]
fn nothing_is_left_of_a_key_for_ring() {
    let secret = std::array::from_fn(|i| i as u8 + 100);
    assert!(!is_left_of_dropped(Ring::new(&secret), &secret));
}
