//! The three kinds of Curve25519 and symmetric keys, and their base64 text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

/// Bytes in a key of any kind.
pub const KEY_LEN: usize = 32;

/// Characters in the base64 text of a key, with its one `=` of padding.
pub const KEY_TEXT_LEN: usize = 44;

/// A peer's or an interface's Curve25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

/// An interface's Curve25519 private key; zeroed when dropped, absent from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

/// A symmetric key mixed into the handshake; zeroed when dropped, absent from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

/// The text is not 44 characters of base64 that encode exactly 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 44 characters of base64 that end in `='")]
pub struct KeyTextError;

impl PublicKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Reads base64 text.
    ///
    /// # Errors
    /// When the text is not a canonical base64 encoding of 32 bytes.
    pub fn from_base64(text: &[u8]) -> Result<Self, KeyTextError> {
        decode(text).map(|bytes| Self(*bytes))
    }

    /// Whether every byte is zero, which stands for "no key" in the kernel's interface.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; KEY_LEN]
    }
}

impl PrivateKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Makes a private key of 32 random bytes, clamped as Curve25519 asks (RFC 7748, section 5).
    pub fn from_random(mut random: [u8; KEY_LEN]) -> Self {
        random[0] &= 248;
        random[31] = (random[31] & 127) | 64;
        let key = Self(Zeroizing::new(random));
        random.zeroize();
        key
    }

    /// The public key that belongs to this private key.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(*self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

macro_rules! secret_key {
    ($name:ident) => {
        impl $name {
            /// Reads base64 text.
            ///
            /// # Errors
            /// When the text is not a canonical base64 encoding of 32 bytes.
            pub fn from_base64(text: &[u8]) -> Result<Self, KeyTextError> {
                decode(text).map(Self)
            }

            /// The base64 text, zeroed when dropped.
            pub fn to_base64(&self) -> Zeroizing<String> {
                Zeroizing::new(STANDARD.encode(*self.0))
            }

            /// Whether every byte is zero, which stands for "no key" in the kernel's interface.
            pub fn is_zero(&self) -> bool {
                *self.0 == [0; KEY_LEN]
            }
        }

        impl From<[u8; KEY_LEN]> for $name {
            fn from(mut bytes: [u8; KEY_LEN]) -> Self {
                let key = Self(Zeroizing::new(bytes));
                bytes.zeroize();
                key
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(hidden)"))
            }
        }
    };
}

secret_key!(PrivateKey);
secret_key!(PresharedKey);

impl PresharedKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl From<[u8; KEY_LEN]> for PublicKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; KEY_TEXT_LEN];
        STANDARD.encode_slice(self.0, &mut text).expect("32 bytes make 44 characters");
        f.pad(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn decode(text: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyTextError> {
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyTextError);
    }
    // The decoder wants room for the padded estimate of 33 bytes.
    let mut buffer = Zeroizing::new([0; KEY_LEN + 1]);
    let length = STANDARD.decode_slice(text, &mut *buffer).map_err(|_| KeyTextError)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if length != KEY_LEN {
        return Err(KeyTextError);
    }
    key.copy_from_slice(&buffer[..KEY_LEN]);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_of_the_first_test_vector_of_rfc_7748() {
        let private = PrivateKey::from([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(
            private.public_key().to_string(),
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
        );
    }

    #[test]
    fn text_goes_back_to_the_same_key() {
        let text = b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        assert_eq!(PrivateKey::from_base64(text).unwrap().to_base64().as_bytes(), text);
    }

    #[test]
    fn text_of_another_length_alphabet_or_padding_is_refused() {
        for text in [
            &b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm="[..],
            b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk",
            b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmkA",
            b"yAnz5TF_lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
            b"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBml=",
        ] {
            assert_eq!(PublicKey::from_base64(text), Err(KeyTextError));
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let key = PrivateKey::from([0x41; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
    }
}
