//! What the kernel answers of an interface: attributes of messages, each behind its length in two
//! bytes, make a device or are refused.

#![no_main]

use std::fmt::Display;
use std::io;

use libfuzzer_sys::fuzz_target;
use netlink_packet_core::NlasIterator;
use wg_control::{Device, Peer};

#[path = "../../crates/wg-control/src/kernel/decode.rs"]
mod decode;

fuzz_target!(|messages: &[u8]| {
    let mut device = Device::default();
    let mut rest = messages;
    while let [low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (message, later) = more.split_at(length);
        if let Err(error) = decode::add(&mut device, NlasIterator::new(message)) {
            return assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        rest = later;
    }
    let allowed_ips = |peer: &Peer| peer.allowed_ips.len();
    // Nothing is made up: a peer and an allowed IP take more bytes than these.
    assert!(
        device.peers.len() * 36 + device.peers.iter().map(allowed_ips).sum::<usize>() * 8
            <= messages.len()
    );
});

mod socket {
    use super::{Display, io};

    pub(super) fn malformed(what: impl Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, what.to_string())
    }
}
