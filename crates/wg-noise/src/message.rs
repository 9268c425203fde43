//! The four messages on the wire (paper, section 5.4).

use crate::constants::PADDING_MULTIPLE;

/// Bytes in a handshake initiation.
pub const INITIATION_LEN: usize = 148;
/// Bytes in a handshake response.
pub const RESPONSE_LEN: usize = 92;
/// Bytes in a cookie reply.
pub const COOKIE_REPLY_LEN: usize = 64;
/// Bytes before a transport message's ciphertext.
pub const TRANSPORT_HEADER_LEN: usize = 16;
/// Bytes of the authenticator behind a transport message's ciphertext.
pub const TAG_LEN: usize = 16;
/// What a transport message adds to its (padded) plaintext.
pub const TRANSPORT_OVERHEAD: usize = TRANSPORT_HEADER_LEN + TAG_LEN;

/// A message's type: one byte and three reserved zeroes, little-endian.
pub(crate) mod message_type {
    pub(crate) const INITIATION: u32 = 1;
    pub(crate) const RESPONSE: u32 = 2;
    pub(crate) const COOKIE_REPLY: u32 = 3;
    pub(crate) const TRANSPORT: u32 = 4;
}

/// A datagram whose type and length fit a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// First message of a handshake.
    Initiation(&'a [u8; INITIATION_LEN]),
    /// Second message of a handshake.
    Response(&'a [u8; RESPONSE_LEN]),
    /// Answer of a peer under load.
    CookieReply(&'a [u8; COOKIE_REPLY_LEN]),
    /// Data; the lengths are checked, the contents are not.
    Transport {
        /// The receiver's index.
        receiver: u32,
        /// The sender's counter.
        counter: u64,
    },
}

impl<'a> Message<'a> {
    /// What the datagram is, `None` for none of the four.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let kind = u32::from_le_bytes(*datagram.first_chunk()?);
        match kind {
            message_type::TRANSPORT if datagram.len() >= TRANSPORT_OVERHEAD => {
                Some(Self::Transport {
                    receiver: read_u32(datagram, 4),
                    counter: u64::from_le_bytes(*datagram[8..].first_chunk()?),
                })
            }
            message_type::INITIATION => datagram.try_into().ok().map(Self::Initiation),
            message_type::RESPONSE => datagram.try_into().ok().map(Self::Response),
            message_type::COOKIE_REPLY => datagram.try_into().ok().map(Self::CookieReply),
            _ => None,
        }
    }

    /// The receiver index in a response, a cookie reply or a transport message.
    pub fn receiver(&self) -> Option<u32> {
        match *self {
            Self::Initiation(_) => None,
            Self::Response(message) => Some(read_u32(message, 8)),
            Self::CookieReply(message) => Some(read_u32(message, 4)),
            Self::Transport { receiver, .. } => Some(receiver),
        }
    }
}

/// Length of `plaintext` bytes padded to 16 but not past `mtu` (kernel: `calculate_skb_padding`).
///
/// A packet larger than the MTU is padded as its last piece would be. An `mtu` of 0 is no limit.
pub fn padded_len(plaintext: usize, mtu: usize) -> usize {
    if mtu == 0 {
        return plaintext.next_multiple_of(PADDING_MULTIPLE);
    }
    let last_piece = if plaintext > mtu { plaintext % mtu } else { plaintext };
    plaintext - last_piece + last_piece.next_multiple_of(PADDING_MULTIPLE).min(mtu)
}

/// The little-endian number at `offset`, which the caller knows to lie inside.
pub(crate) fn read_u32(message: &[u8], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&message[offset..offset + 4]);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = kind;
        for (i, byte) in bytes.iter_mut().enumerate().skip(4) {
            *byte = i as u8;
        }
        bytes
    }

    #[test]
    fn each_type_has_its_length() {
        for (kind, len) in [(1, INITIATION_LEN), (2, RESPONSE_LEN), (3, COOKIE_REPLY_LEN)] {
            assert!(Message::parse(&datagram(kind, len)).is_some());
            assert_eq!(Message::parse(&datagram(kind, len - 1)), None);
            assert_eq!(Message::parse(&datagram(kind, len + 1)), None);
        }
        assert_eq!(Message::parse(&datagram(4, TRANSPORT_OVERHEAD - 1)), None);
        assert!(Message::parse(&datagram(4, TRANSPORT_OVERHEAD)).is_some());
        assert!(Message::parse(&datagram(4, 1500)).is_some());
        for kind in [0, 5, 255] {
            assert_eq!(Message::parse(&datagram(kind, 148)), None);
        }
        assert_eq!(Message::parse(&[]), None);
        assert_eq!(Message::parse(&[1, 0, 0]), None);
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        for reserved in 1..4 {
            let mut bytes = datagram(4, 64);
            bytes[reserved] = 1;
            assert_eq!(Message::parse(&bytes), None);
        }
    }

    #[test]
    fn receiver_and_counter_are_where_the_paper_puts_them() {
        let receiver = |kind, len| Message::parse(&datagram(kind, len)).unwrap().receiver();
        assert_eq!(receiver(1, INITIATION_LEN), None);
        assert_eq!(receiver(2, RESPONSE_LEN), Some(0x0b0a_0908));
        assert_eq!(receiver(3, COOKIE_REPLY_LEN), Some(0x0706_0504));
        assert_eq!(
            Message::parse(&datagram(4, 32)),
            Some(Message::Transport { receiver: 0x0706_0504, counter: 0x0f0e_0d0c_0b0a_0908 })
        );
    }

    #[test]
    fn padding_ends_at_the_mtu() {
        for (plaintext, mtu, padded) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (17, 1420, 32),
            (1408, 1420, 1408),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1421, 1420, 1436),
            (2 * 1420, 1420, 2 * 1420),
            (2 * 1420 - 1, 1420, 2 * 1420),
            (100, 0, 112),
        ] {
            assert_eq!(padded_len(plaintext, mtu), padded, "{plaintext} of {mtu}");
        }
    }
}
