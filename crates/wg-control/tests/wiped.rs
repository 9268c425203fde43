//! No memory is given back with a preshared key in it, on the way from a file to a daemon.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use wg_config::{Dialect, KEY_LEN, PresharedKey};
use wg_control::{Device, DeviceUpdate, Peer, SecretWriter, uapi};

/// The byte that all preshared keys here consist of.
const SECRET: u8 = 0xa5;
const HEX: &str = "a5";

const PEERS: u8 = 40;

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// Blocks that were freed with a key in them, as bytes or as hexadecimal digits.
static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

struct Searching;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc`, which wrote zeros to all of it.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        let is_key = |bytes: &[u8]| bytes.iter().all(|byte| *byte == SECRET);
        let is_hex = |bytes: &[u8]| bytes.chunks(2).all(|digits| digits == HEX.as_bytes());
        if bytes.windows(KEY_LEN).any(is_key) || bytes.windows(2 * KEY_LEN).any(is_hex) {
            LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() {
            // SAFETY: as above. The C library shortens a block where it is.
            return unsafe { System.realloc(block, layout, size) };
        }
        let Ok(larger) = Layout::from_size_align(size, layout.align()) else {
            return std::ptr::null_mut();
        };
        // SAFETY: `size` is not zero, as our caller promises.
        let moved = unsafe { self.alloc(larger) };
        if !moved.is_null() {
            // SAFETY: both are that long, and lie apart.
            unsafe { block.copy_to_nonoverlapping(moved, layout.size()) };
            // SAFETY: our caller does not use it any more.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

fn left_behind(step: impl FnOnce()) -> usize {
    LEFT_BEHIND.store(0, Ordering::Relaxed);
    step();
    LEFT_BEHIND.load(Ordering::Relaxed)
}

/// A file of peers, each with a preshared key, the last of them twice.
fn file() -> String {
    let secret = PresharedKey::from([SECRET; KEY_LEN]).to_base64();
    let mut text = String::new();
    for number in (1..=PEERS).chain([PEERS]) {
        let public = PresharedKey::from([number; KEY_LEN]).to_base64();
        text += &format!("[Peer]\nPublicKey = {}\nPresharedKey = {}\n", *public, *secret);
        text += "Endpoint = 192.0.2.1:5\nAllowedIPs = 10.0.0.0/8, 10.1.0.0/16\n";
    }
    text
}

#[test]
fn preshared_keys_are_wiped_on_every_way() {
    // They would be found.
    assert_eq!(left_behind(|| drop(vec![SECRET; KEY_LEN])), 1);
    assert_eq!(left_behind(|| drop(HEX.repeat(KEY_LEN))), 1);

    let text = file();
    let config =
        || wg_config::read("wg0.conf", text.as_bytes(), Dialect::Wg, |_| None).unwrap().config;
    let resolve = |_: &_| Ok::<_, ()>("192.0.2.1:5".parse().unwrap());
    let update = || DeviceUpdate::replacing(config(), resolve).unwrap();
    assert_eq!(left_behind(|| drop(config())), 0, "the file");
    assert_eq!(left_behind(|| drop(update())), 0, "the change");
    let fails_late = || {
        let mut left = PEERS;
        let fail = |endpoint: &_| {
            left -= 1;
            if left == 0 { Err(()) } else { resolve(endpoint) }
        };
        DeviceUpdate::adding(config(), fail).unwrap_err();
    };
    assert_eq!(left_behind(fails_late), 0, "an endpoint that does not resolve");

    // Of the first half the key changes, the others are new.
    let peers = (1..=PEERS / 2).map(|number| Peer {
        preshared_key: Some([1; KEY_LEN].into()),
        ..Peer::new([number; KEY_LEN].into())
    });
    let device = Device { peers: peers.collect(), ..Device::default() };
    let differs = || {
        let difference = update().differing_from(&device).peers;
        assert_eq!(difference.len(), usize::from(PEERS));
        assert!(difference.iter().all(|peer| peer.preshared_key.is_some()));
    };
    assert_eq!(left_behind(differs), 0, "the difference");

    let written = || {
        let mut writer = SecretWriter::new(std::io::sink());
        uapi::write_set(&mut writer, &update()).unwrap();
        writer.flush().unwrap();
    };
    assert_eq!(left_behind(written), 0, "the request");
}
