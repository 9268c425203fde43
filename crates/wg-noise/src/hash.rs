//! BLAKE2s as the protocol uses it: hash, keyed hash, HMAC and the key derivation built of it
//! (paper, section 5.4).

use blake2::digest::{FixedOutput, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use zeroize::{Zeroize, Zeroizing};

/// `HASH` of the concatenated parts.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// `MAC`: keyed BLAKE2s with 16 bytes of output. The key has at most 32 bytes.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    keyed(key, parts).finalize_fixed().into()
}

/// Whether `tag` is the [`mac`], in constant time.
pub(crate) fn mac_is_valid(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    keyed(key, &[message]).verify_slice(tag).is_ok()
}

/// `KDF1`: the next chaining key.
pub(crate) fn kdf1(key: &[u8], input: &[u8]) -> Zeroizing<[u8; 32]> {
    let secret = hmac(key, &[input]);
    hmac(&*secret, &[&[1]])
}

/// `KDF2`.
pub(crate) fn kdf2(key: &[u8], input: &[u8]) -> [Zeroizing<[u8; 32]>; 2] {
    let secret = hmac(key, &[input]);
    let first = hmac(&*secret, &[&[1]]);
    let second = hmac(&*secret, &[&*first, &[2]]);
    [first, second]
}

/// `KDF3`.
pub(crate) fn kdf3(key: &[u8], input: &[u8]) -> [Zeroizing<[u8; 32]>; 3] {
    let secret = hmac(key, &[input]);
    let first = hmac(&*secret, &[&[1]]);
    let second = hmac(&*secret, &[&*first, &[2]]);
    let third = hmac(&*secret, &[&*second, &[3]]);
    [first, second, third]
}

/// `HMAC` (RFC 2104) over BLAKE2s. No key here is longer than BLAKE2s's block of 64 bytes.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut pad = Zeroizing::new([0x36; 64]);
    pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
    let mut inner = Blake2s256::new_with_prefix(pad.as_slice());
    for part in parts {
        Digest::update(&mut inner, part);
    }
    let mut inner: [u8; 32] = inner.finalize().into();

    pad.iter_mut().for_each(|pad| *pad ^= 0x36 ^ 0x5c);
    let outer = Blake2s256::new_with_prefix(pad.as_slice()).chain_update(inner).finalize();
    inner.zeroize();
    Zeroizing::new(outer.into())
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Blake2sMac<blake2::digest::consts::U16> {
    let mut state = Blake2sMac::new_from_slice(key).expect("keys have at most 32 bytes");
    for part in parts {
        Mac::update(&mut state, part);
    }
    state
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The bytes of a hexadecimal literal.
    pub(crate) fn hex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    fn counting<const N: usize>() -> [u8; N] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn hash_of_rfc_7693_appendix_b() {
        let abc = hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
        assert_eq!(hash(&[b"abc"]), abc);
        assert_eq!(hash(&[b"a", b"", b"bc"]), abc);
    }

    /// The published vectors of keyed BLAKE2s have 32 bytes of output, of which nothing here
    /// makes use; they check the function that [`mac`] shortens.
    #[test]
    fn keyed_hash_of_the_blake2_test_vectors() {
        let vectors = [
            (0, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"),
            (1, "40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1"),
            (64, "8975b0577fd35566d750b362b0897a26c399136df07bababbde6203ff2954ed4"),
            (65, "21fe0ceb0052be7fb0f004187cacd7de67fa6eb0938d927677f2398c132317a8"),
        ];
        for (len, expected) in vectors {
            let mut state = blake2::Blake2sMac256::new_from_slice(&counting::<32>()).unwrap();
            Mac::update(&mut state, &counting::<65>()[..len]);
            assert_eq!(<[u8; 32]>::from(state.finalize_fixed()), hex(expected), "{len} bytes");
        }
    }

    /// Expected values from the BLAKE2 authors' code in CPython's hashlib, `digest_size=16`.
    #[test]
    fn mac_has_its_length_in_the_parameter_block() {
        assert_eq!(mac(&counting::<32>(), &[]), hex("9536f9b267655743dee97b8a670f9f53"));
        assert_eq!(mac(&counting::<16>(), &[b"ab", b"c"]), hex("75296c2d2c0f51210b383f386bc8b1ff"));
        assert!(mac_is_valid(
            &counting::<16>(),
            b"abc",
            &hex::<16>("75296c2d2c0f51210b383f386bc8b1ff")
        ));
        assert!(!mac_is_valid(
            &counting::<16>(),
            b"abd",
            &hex::<16>("75296c2d2c0f51210b383f386bc8b1ff")
        ));
        assert!(!mac_is_valid(&counting::<16>(), b"abc", &[]));
    }

    /// The vector of wireguard-go's `kdf_test.go`, confirmed with CPython's hmac and hashlib.
    #[test]
    fn key_derivation_of_another_implementation() {
        let expected = [
            hex("6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633"),
            hex("df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a"),
            hex("fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24"),
        ];
        assert_eq!(kdf3(b"test-key", b"test-input").map(|key| *key), expected);
        assert_eq!(kdf2(b"test-key", b"test-input").map(|key| *key), expected[..2]);
        assert_eq!(*kdf1(b"test-key", b"test-input"), expected[0]);
    }
}
