//! Mac1, mac2 and cookies (paper, sections 5.3 and 5.4.4 to 5.4.7): the side that answers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::aead::xseal;
use crate::constants::COOKIE_SECRET_TIME;
use crate::hash::{mac, mac_is_valid};
use crate::key::PublicKey;
use crate::mac::{MACS_LEN, cookie_key, mac1_key};
use crate::message::{COOKIE_REPLY_LEN, message_type};
use crate::time::Instant;

/// What the MACs of a handshake message prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacState {
    /// mac1 is wrong: the sender does not know our public key. Drop silently.
    Invalid,
    /// mac1 is right.
    Mac1,
    /// mac1 is right and mac2 proves that the source address is the sender's.
    Mac2,
}

/// Checks the MACs of handshake messages and makes cookie replies. `&self`: shared by threads.
pub struct CookieChecker {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    secrets: Mutex<Secrets>,
}

/// What cookies are made of; none before the first reply.
///
/// Every two minutes there is another, as the paper has it (section 5.4.7), and a cookie works until
/// its secret is four minutes old. The receiver of a cookie uses it for two minutes (section 5.4.4):
/// if one secret alone were valid, as in the kernel, it would come in vain with a cookie from the
/// last moments of the former, be sent another, and lose an attempt (REKEY_TIMEOUT).
#[derive(Clone, Default)]
struct Secrets {
    current: Option<Secret>,
    previous: Option<Secret>,
}

#[derive(Clone)]
struct Secret {
    bytes: Zeroizing<[u8; 32]>,
    born: Instant,
}

impl CookieChecker {
    /// For an interface with this public key.
    pub fn new(local: &PublicKey) -> Self {
        Self { mac1_key: mac1_key(local), cookie_key: cookie_key(local), secrets: Mutex::default() }
    }

    /// Checks a whole initiation or response as it came from `source`.
    pub fn check(&self, message: &[u8], source: SocketAddr, now: Instant) -> MacState {
        let Some((rest, macs)) = message.split_last_chunk::<MACS_LEN>() else {
            return MacState::Invalid;
        };
        let (mac1, mac2) = macs.split_at(16);
        if !mac_is_valid(&self.mac1_key, rest, mac1) {
            return MacState::Invalid;
        }
        if !Self::has_mac2(message) {
            return MacState::Mac1;
        }
        let before_mac2 = &message[..message.len() - mac2.len()];
        // The threads that receive meet here: none hashes while the others wait.
        let Secrets { current, previous } = self.lock().clone();
        let is_valid = |secret: &Secret| {
            secret.age(now) < 2 * COOKIE_SECRET_TIME
                && mac_is_valid(&*cookie(&secret.bytes, source), before_mac2, mac2)
        };
        if [current, previous].iter().flatten().any(is_valid) {
            MacState::Mac2
        } else {
            MacState::Mac1
        }
    }

    /// Whether an initiation or response carries a mac2 at all, right or wrong: whoever has no
    /// cookie sends zeros (paper, section 5.4.4).
    pub fn has_mac2(message: &[u8]) -> bool {
        !message.ends_with(&[0; 16])
    }

    /// The cookie reply to an initiation or a response with a valid mac1.
    ///
    /// # Panics
    ///
    /// When `message` is shorter than the MACs and what precedes them in both messages.
    pub fn reply(
        &self,
        message: &[u8],
        source: SocketAddr,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) -> [u8; COOKIE_REPLY_LEN] {
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let mut cookie = self.cookie_of_fresh_secret(source, now, rng);
        let mac1 = &message[message.len() - MACS_LEN..][..16];
        let tag = xseal(&self.cookie_key, &nonce, mac1, &mut *cookie);

        let mut reply = [0; COOKIE_REPLY_LEN];
        reply[0..4].copy_from_slice(&message_type::COOKIE_REPLY.to_le_bytes());
        reply[4..8].copy_from_slice(&message[4..8]);
        reply[8..32].copy_from_slice(&nonce);
        reply[32..48].copy_from_slice(&*cookie);
        reply[48..64].copy_from_slice(&tag);
        reply
    }

    fn cookie_of_fresh_secret(
        &self,
        source: SocketAddr,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<[u8; 16]> {
        let mut secrets = self.lock();
        let fresh = secrets.current.take_if(|secret| secret.age(now) < COOKIE_SECRET_TIME);
        let secret = fresh.unwrap_or_else(|| {
            let mut bytes = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *bytes);
            secrets.previous = secrets.current.take();
            Secret { bytes, born: now }
        });
        cookie(&secrets.current.insert(secret).bytes, source)
    }

    fn lock(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Secret {
    fn age(&self, now: Instant) -> Duration {
        now.since(self.born)
    }
}

impl fmt::Debug for CookieChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieChecker").finish_non_exhaustive()
    }
}

/// Keyed hash of the source's address and port (kernel: `make_cookie`).
fn cookie(secret: &[u8; 32], source: SocketAddr) -> Zeroizing<[u8; 16]> {
    let port = source.port().to_be_bytes();
    Zeroizing::new(match source.ip().to_canonical() {
        IpAddr::V4(address) => mac(secret, &[&address.octets(), &port]),
        IpAddr::V6(address) => mac(secret, &[&address.octets(), &port]),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use testbed::memory::is_left_of_dropped;

    use super::*;
    use crate::HandshakeError;
    use crate::mac;
    use crate::message::INITIATION_LEN;

    const START: Instant = Instant::from_nanos(1_000_000_000);

    struct Fixture {
        rng: ChaCha20Rng,
        local: PublicKey,
        checker: CookieChecker,
        sender: mac::MacWriter,
        source: SocketAddr,
    }

    impl Fixture {
        fn new() -> Self {
            let local = PublicKey::from([7; 32]);
            Self {
                rng: ChaCha20Rng::seed_from_u64(1),
                local,
                checker: CookieChecker::new(&local),
                sender: mac::MacWriter::default(),
                source: "192.0.2.1:51820".parse().unwrap(),
            }
        }

        fn message(&mut self, now: Instant) -> [u8; INITIATION_LEN] {
            let mut message = std::array::from_fn(|i| i as u8);
            message[INITIATION_LEN - MACS_LEN..].fill(0);
            self.sender.add_macs(&self.local, &mut message, now);
            message
        }

        fn reply(&mut self, message: &[u8], now: Instant) -> [u8; COOKIE_REPLY_LEN] {
            self.checker.reply(message, self.source, now, &mut self.rng)
        }

        /// Sends a message, answers with a cookie reply, hands it to the sender.
        fn exchange(&mut self, now: Instant) {
            let message = self.message(now);
            assert_ne!(self.check(&message, now), MacState::Invalid);
            let reply = self.reply(&message, now);
            self.sender.consume_reply(&self.local, &reply, now).unwrap();
        }

        fn check(&self, message: &[u8], now: Instant) -> MacState {
            self.checker.check(message, self.source, now)
        }
    }

    #[test]
    fn every_changed_byte_before_mac2_is_noticed() {
        let mut fixture = Fixture::new();
        let message = fixture.message(START);
        assert_eq!(fixture.check(&message, START), MacState::Mac1);
        for position in 0..INITIATION_LEN - 16 {
            let mut changed = message;
            changed[position] ^= 0x10;
            assert_eq!(fixture.check(&changed, START), MacState::Invalid, "byte {position}");
        }
        for len in 0..INITIATION_LEN {
            assert_eq!(fixture.check(&message[..len], START), MacState::Invalid);
        }
    }

    #[test]
    fn a_cookie_makes_mac2_valid_for_its_source_only() {
        let mut fixture = Fixture::new();
        fixture.exchange(START);
        let message = fixture.message(START);
        assert_eq!(fixture.check(&message, START), MacState::Mac2);
        for position in INITIATION_LEN - 16..INITIATION_LEN {
            let mut changed = message;
            changed[position] ^= 1;
            assert_eq!(fixture.check(&changed, START), MacState::Mac1);
        }
        for other in ["192.0.2.1:51821", "192.0.2.2:51820", "[2001:db8::1]:51820"] {
            let other = other.parse().unwrap();
            assert_eq!(fixture.checker.check(&message, other, START), MacState::Mac1);
        }
        let mapped = "[::ffff:192.0.2.1]:51820".parse().unwrap();
        assert_eq!(fixture.checker.check(&message, mapped, START), MacState::Mac2);
    }

    #[test]
    fn a_cookie_is_for_the_whole_of_an_ipv6_address() {
        let mut fixture = Fixture::new();
        fixture.source = "[2001:db8::1]:51820".parse().unwrap();
        fixture.exchange(START);
        let message = fixture.message(START);
        assert_eq!(fixture.check(&message, START), MacState::Mac2);
        for other in ["[2001:db8::1]:51821", "[2001:db8::2]:51820", "[2001:db9::1]:51820"] {
            let other = other.parse().unwrap();
            assert_eq!(fixture.checker.check(&message, other, START), MacState::Mac1);
        }
    }

    #[test]
    fn the_reply_goes_to_the_sender_index_and_tells_no_secret() {
        let mut fixture = Fixture::new();
        let message = fixture.message(START);
        let first = fixture.reply(&message, START);
        assert_eq!(first[..8], [3, 0, 0, 0, 4, 5, 6, 7]);
        assert_ne!(first, fixture.reply(&message, START), "each reply has its own nonce");
    }

    #[test]
    fn only_the_reply_to_the_last_message_is_taken_and_only_once() {
        let mut fixture = Fixture::new();
        let message = fixture.message(START);
        let reply = fixture.reply(&message, START);
        for position in 8..COOKIE_REPLY_LEN {
            let mut changed = reply;
            changed[position] ^= 1;
            let refused = fixture.sender.consume_reply(&fixture.local, &changed, START);
            assert_eq!(refused, Err(HandshakeError::Authentication), "byte {position}");
        }
        assert_eq!(fixture.sender.consume_reply(&fixture.local, &reply, START), Ok(()));
        let again = fixture.sender.consume_reply(&fixture.local, &reply, START);
        assert_eq!(again, Err(HandshakeError::Unexpected));

        let mut later = fixture.message(START);
        later[40] ^= 1;
        fixture.sender.add_macs(&fixture.local, &mut later, START);
        let stale = fixture.sender.consume_reply(&fixture.local, &reply, START);
        assert_eq!(stale, Err(HandshakeError::Authentication));
    }

    #[test]
    fn the_sender_stops_in_time_and_says_so() {
        let mut fixture = Fixture::new();
        fixture.exchange(START);
        let late = START + Duration::from_millis(114_999);
        let message = fixture.message(late);
        assert_eq!(fixture.check(&message, late), MacState::Mac2);
        assert!(CookieChecker::has_mac2(&message));
        let message = fixture.message(START + Duration::from_secs(115));
        assert_eq!(message[INITIATION_LEN - 16..], [0; 16]);
        assert!(!CookieChecker::has_mac2(&message));
    }

    #[test]
    fn a_cookie_of_a_secret_that_was_replaced_works_as_long_as_it_is_used() {
        let mut fixture = Fixture::new();
        let message = fixture.message(START);
        let _ = fixture.reply(&message, START);
        let got = START + Duration::from_millis(119_999);
        fixture.exchange(got);
        let replaced = START + Duration::from_secs(120);
        let _ = fixture.reply(&message, replaced);
        let last = got + Duration::from_millis(114_999);
        let message = fixture.message(last);
        assert_eq!(fixture.check(&message, last), MacState::Mac2);
        assert_eq!(fixture.check(&message, START + Duration::from_secs(240)), MacState::Mac1);
    }

    #[test]
    fn nothing_is_left_of_secrets() {
        let mut fixture = Fixture::new();
        fixture.exchange(START);
        fixture.exchange(START + COOKIE_SECRET_TIME);
        let Secrets { current, previous } = fixture.checker.lock().clone();
        let secrets = [current, previous].map(|secret| *secret.unwrap().bytes).concat();
        assert!(!is_left_of_dropped(fixture.checker, &secrets));
    }

    #[test]
    fn cookies_are_made_of_one_secret_for_two_minutes() {
        let mut fixture = Fixture::new();
        fixture.exchange(START);
        let at = |millis| START + Duration::from_millis(millis);
        // How long a cookie works tells when its secret was made.
        for (made, works_until) in [(119_999, 240_000), (120_000, 360_000)] {
            let message = fixture.message(at(made));
            let reply = fixture.reply(&message, at(made));
            fixture.sender.consume_reply(&fixture.local, &reply, at(made)).unwrap();
            let message = fixture.message(at(made));
            assert_eq!(fixture.check(&message, at(works_until - 1)), MacState::Mac2);
            assert_eq!(fixture.check(&message, at(works_until)), MacState::Mac1);
        }
    }
}
