//! What the kernel says about links while the interface is watched: whatever else it says, nothing
//! is read past a message's end, and nothing is made up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use link_message::{Event, HEADER_LEN, LINK_LEN, events};

#[path = "../../crates/wg-tunnel/src/link_message.rs"]
mod link_message;

fuzz_target!(|datagram: &[u8]| {
    let found = events(datagram, 7);
    assert!(found.len() * (HEADER_LEN + LINK_LEN) <= datagram.len());
    for event in found {
        if let Event::State { mtu: Some(mtu), .. } = event {
            assert!(datagram.windows(4).any(|bytes| bytes == mtu.to_ne_bytes()));
        }
    }
});
