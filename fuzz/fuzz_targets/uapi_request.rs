//! What a client asks a daemon for: a change read, written and read again is the same change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wg_control::uapi::{self, Request, RequestReader};

fuzz_target!(|text: &[u8]| {
    let mut requests = RequestReader::new(text);
    // Only the end of the stream ends this.
    loop {
        match requests.next() {
            Ok(None) => break,
            Ok(Some(Request::Set(mut update))) => {
                for peer in update.peers.iter_mut().filter(|peer| peer.remove) {
                    // A removal is all that is written of such a peer.
                    *peer = wg_control::PeerUpdate {
                        remove: true,
                        ..wg_control::PeerUpdate::new(peer.public_key)
                    };
                }
                let mut written = Vec::new();
                uapi::write_set(&mut written, &update).expect("a vector takes all");
                let again = RequestReader::new(&written[..]).next().expect("our own request");
                assert_eq!(again, Some(Request::Set(update)));
            }
            Ok(Some(Request::Get)) => {}
            Err(error) => {
                assert!(error.errno() > 0);
                break;
            }
        }
    }
});
