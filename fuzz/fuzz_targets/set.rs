//! The arguments of `wg set`, between zeros: refused with a sentence, or a change that a daemon
//! reads as it was meant.

#![no_main]

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Result, anyhow};
use libfuzzer_sys::fuzz_target;
use set_arguments::{Sources, parse};
use wg_config::Endpoint;
use wg_control::uapi::{self, Request, RequestReader};
use zeroize::Zeroizing;

#[path = "../../crates/wg/src/set_arguments.rs"]
mod set_arguments;

fuzz_target!(|text: &[u8]| {
    let arguments: Vec<_> =
        text.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let update = match parse(&arguments, &mut Fixed) {
        Ok(update) => update,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut written = Vec::new();
    uapi::write_set(&mut written, &update).expect("a vector takes all");
    let read = RequestReader::new(&written[..]).next().expect("our own request is read");
    let Some(Request::Set(read)) = read else { panic!("a change is read as something else") };
    assert_eq!(read.peers.len(), update.peers.len());
    assert_eq!((read.listen_port, read.fwmark), (update.listen_port, update.fwmark));
});

/// Knows addresses and one service, no names, and takes a file's name for its content.
struct Fixed;

impl Sources for Fixed {
    fn address(&mut self, endpoint: &Endpoint) -> Result<SocketAddr> {
        endpoint.to_string().parse().map_err(|_| anyhow!("no such name"))
    }

    fn service_port(&self, name: &str) -> Option<u16> {
        (name == "domain").then_some(53)
    }

    fn key(&mut self, path: &OsStr) -> Result<Option<Zeroizing<String>>> {
        let text = String::from_utf8_lossy(path.as_bytes());
        Ok((!text.is_empty()).then(|| Zeroizing::new(text.into_owned())))
    }

    fn warn(&mut self, sentence: &str) {
        assert!(sentence.starts_with("Warning: "));
    }
}
