//! The numbers of the protocol (paper, section 6.1; kernel: `messages.h` and `cookie.h`).

use std::time::Duration;

/// Messages sent under one key before a new handshake is wanted.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Messages that one key may carry.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Age of a key at which its initiator wants a new handshake.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age at which a key is no longer used.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// Time between two initiations to one peer.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Random time added to REKEY_TIMEOUT so that two peers do not collide for ever.
pub const REKEY_TIMEOUT_JITTER: Duration = Duration::from_millis(333);
/// Time after which a handshake without an answer is given up.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// Time within which received data is answered, if only with a keepalive.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Age at which keys without a successor are zeroed.
pub const ZERO_KEY_MATERIAL_TIME: Duration = Duration::from_secs(3 * REJECT_AFTER_TIME.as_secs());

/// How long cookies are made of one secret, and how long each of them works at least.
pub const COOKIE_SECRET_TIME: Duration = Duration::from_secs(120);
/// How much earlier the receiver of a cookie stops using it.
pub const COOKIE_SECRET_LATENCY: Duration = Duration::from_secs(5);

/// Initiations that one peer may have answered in a second.
pub const INITIATIONS_PER_SECOND: u32 = 50;
/// Packets kept while a peer has no session.
pub const MAX_STAGED_PACKETS: usize = 128;
/// Bytes that all peers of an interface may keep so together.
pub const MAX_STAGED_BYTES: usize = 32 << 20;
/// Plaintext is padded to a multiple of this many bytes.
pub const PADDING_MULTIPLE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_limits_are_those_of_the_paper() {
        assert_eq!(REKEY_AFTER_MESSAGES, 2u64.pow(60));
        assert_eq!(u128::from(REJECT_AFTER_MESSAGES), (1u128 << 64) - (1 << 13) - 1);
        assert_eq!(ZERO_KEY_MATERIAL_TIME, Duration::from_secs(540));
    }
}
