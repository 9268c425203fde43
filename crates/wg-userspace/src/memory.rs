//! The process's memory: whether there is enough for what a client asks.

use std::hint::black_box;

use wg_control::DeviceUpdate;

/// Bytes that must be there for the small things that any request takes.
const ROOM: usize = 2 << 20;
/// Bytes that a peer takes, in the request and in the tables, without its allowed IPs.
const PER_PEER: usize = 1600;
/// Bytes that an allowed IP takes.
const PER_ALLOWED_IP: usize = 400;

/// Whether there is room to go on reading a request of which `read` bytes have come. An allocation
/// that failed would be the end of the whole daemon.
pub(crate) fn has_room_to_read(read: usize) -> bool {
    // A list is copied to one of twice its size when it has to grow.
    has_room(read.saturating_mul(2))
}

/// Whether there is room for what an update adds.
pub(crate) fn has_room_to_apply(update: &DeviceUpdate) -> bool {
    let ips: usize = update.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    has_room(update.peers.len() * PER_PEER + ips * PER_ALLOWED_IP)
}

/// Whether there is room for a description of so many peers.
pub(crate) fn has_room_to_show(peers: usize) -> bool {
    has_room(peers * PER_PEER)
}

/// Asks the allocator, which knows what it has left itself. Where the kernel promises more memory
/// than there is, as it does by default, only a limit on the address space makes a difference.
fn has_room(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let result = room.try_reserve_exact(bytes.saturating_add(ROOM));
    // Lest the compiler find that nobody uses it.
    black_box(room.as_ptr());
    result.is_ok()
}
