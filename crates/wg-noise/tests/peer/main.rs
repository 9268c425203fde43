//! The messages of two peers, handed over by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod handshake;
mod side;
mod transport;
