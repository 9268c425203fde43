//! The WireGuard protocol without I/O: handshake, keypairs, replay window, cookies, timers.
//!
//! Bytes, an [`Instant`] and a source of randomness go in; bytes to send and the next deadline
//! come out. Nothing here opens a socket, reads a clock, starts a thread or allocates per packet.
//!
//! The protocol is that of the WireGuard paper, <https://www.wireguard.com/papers/wireguard.pdf>;
//! where the Linux module differs from it, the module is followed.

#![forbid(unsafe_code)]

mod aead;
mod constants;
mod cookie;
mod handshake;
mod hash;
mod index;
mod key;
mod keypair;
mod keypairs;
mod mac;
mod message;
mod peer;
mod rate_limit;
mod replay;
mod stack;
mod staged;
mod time;
mod timers;

pub use constants::*;
pub use cookie::{CookieChecker, MacState};
pub use handshake::{HandshakeError, IncomingInitiation};
pub use index::{IndexTable, LocalIndex};
pub use key::{LocalStatic, PresharedKey, PublicKey};
pub use keypair::{Keypair, OpenError, Reservation};
pub use message::{
    COOKIE_REPLY_LEN, INITIATION_LEN, Message, RESPONSE_LEN, TAG_LEN, TRANSPORT_HEADER_LEN,
    TRANSPORT_OVERHEAD, padded_len,
};
pub use peer::{Peer, Wanted};
pub use rate_limit::RateLimiter;
pub use stack::wipe_stack;
pub use staged::StagingBudget;
pub use time::{Instant, Tai64n};
