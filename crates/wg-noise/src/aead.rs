//! The two authenticated ciphers: ChaCha20-Poly1305 with a counter (RFC 8439) and
//! XChaCha20-Poly1305 with a random nonce (draft-irtf-cfrg-xchacha).

use std::hint::black_box;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::message::TAG_LEN;

/// A message that does not authenticate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// `AEAD` under one key. The only place that knows which library does the work.
///
/// In a box, because a move would leave a copy behind.
pub(crate) struct AeadKey(Box<LessSafeKey>);

impl AeadKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
        Self(Box::new(LessSafeKey::new(key)))
    }

    /// Encrypts in place and returns the tag.
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::from(aad), text)
            .expect("no message comes near the cipher's limit of 256 GiB");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts ciphertext and tag in place; returns the plaintext's part of it.
    pub(crate) fn open<'a>(
        &self,
        counter: u64,
        aad: &[u8],
        text_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        self.0.open_in_place(nonce(counter), Aad::from(aad), text_and_tag).map_err(|_| Forged)
    }
}

impl Drop for AeadKey {
    /// ring does not zero its keys: this writes another one over it, and `black_box` keeps the
    /// compiler from leaving that out.
    fn drop(&mut self) {
        let zeroes = UnboundKey::new(&CHACHA20_POLY1305, &[0; 32]).expect("the key has 32 bytes");
        *self.0 = LessSafeKey::new(zeroes);
        black_box(&mut *self.0);
    }
}

/// 32 bits of zeroes, then the counter, little-endian (paper, section 5.4.6).
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// `XAEAD`: encrypts in place and returns the tag.
pub(crate) fn xseal(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; TAG_LEN] {
    XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), aad, text.into())
        .expect("no message comes near the cipher's limit of 256 GiB")
        .into()
}

/// `XAEAD`: decrypts in place.
pub(crate) fn xopen(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Forged> {
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into())
        .map_err(|_| Forged)
}

#[cfg(test)]
mod tests {
    use testbed::memory::Place;

    use super::*;
    use crate::hash::tests::hex;

    const SUNSCREEN: &[u8; 114] = b"Ladies and Gentlemen of the class of '99: \
        If I could offer you only one tip for the future, sunscreen would be it.";

    /// RFC 8439, appendix A.5: its nonce begins with four zeroes, as ours do.
    #[test]
    fn chacha20_poly1305_of_rfc_8439() {
        let key =
            AeadKey::new(&hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"));
        let counter = 0x0807_0605_0403_0201;
        let aad = hex::<12>("f33388860000000000004e91");
        let plaintext = "Internet-Drafts are draft documents valid for a maximum of six months \
            and may be updated, replaced, or obsoleted by other documents at any time. It is \
            inappropriate to use Internet-Drafts as reference material or to cite them other \
            than as /\u{201c}work in progress./\u{201d}";
        let ciphertext = hex::<265>(
            "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2\
             4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf\
             332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855\
             9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4\
             b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e\
             af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a\
             0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10\
             49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29\
             a6ad5cb4022b02709b",
        );
        let tag = hex("eead9d67890cbb22392336fea1851f38");

        let mut text = plaintext.as_bytes().to_vec();
        assert_eq!(key.seal(counter, &aad, &mut text), tag);
        assert_eq!(text, ciphertext);

        text.extend_from_slice(&tag);
        assert_eq!(key.open(counter, &aad, &mut text.clone()).unwrap(), plaintext.as_bytes());
        assert_eq!(key.open(counter + 1, &aad, &mut text.clone()), Err(Forged));
        assert_eq!(key.open(counter, &[], &mut text.clone()), Err(Forged));
        text[0] ^= 1;
        assert_eq!(key.open(counter, &aad, &mut text), Err(Forged));
        assert_eq!(key.open(counter, &aad, &mut [0; TAG_LEN - 1]), Err(Forged));
    }

    /// ring does not do it.
    #[test]
    fn nothing_is_left_of_a_key() {
        let secret: [u8; 32] = std::array::from_fn(|i| i as u8 + 100);
        let key = AeadKey::new(&secret);
        let mut place = Place::of(&*key.0);
        assert!(place.holds_some_of(&secret));
        drop(key);
        assert!(!place.holds_some_of(&secret));
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn xchacha20_poly1305_of_the_draft() {
        let key = std::array::from_fn(|i| 0x80 + i as u8);
        let nonce = std::array::from_fn(|i| 0x40 + i as u8);
        let aad = hex::<12>("50515253c0c1c2c3c4c5c6c7");
        let ciphertext = hex::<114>(
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
             21f9664c97637da9768812f615c68b13b52e",
        );
        let tag = hex("c0875924c1c7987947deafd8780acf49");

        let mut text = *SUNSCREEN;
        assert_eq!(xseal(&key, &nonce, &aad, &mut text), tag);
        assert_eq!(text, ciphertext);
        assert_eq!(xopen(&key, &nonce, &[], &mut text.clone(), &tag), Err(Forged));
        assert_eq!(xopen(&key, &nonce, &aad, &mut text, &tag), Ok(()));
        assert_eq!(&text, SUNSCREEN);
    }
}
