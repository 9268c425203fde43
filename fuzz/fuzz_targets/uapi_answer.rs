//! What a daemon answers: read, written and read again it is the same device.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wg_control::uapi;

fuzz_target!(|text: &[u8]| {
    let _ = uapi::read_errno(text);
    let Ok(device) = uapi::read_device(text, "wg0") else { return };
    let mut written = Vec::new();
    uapi::write_device(&mut written, &device).expect("a vector takes all");
    let again = uapi::read_device(&written[..], "wg0").expect("our own answer is read");
    assert_eq!(again, device);
});
