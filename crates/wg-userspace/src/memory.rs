//! The process's memory: whether there is enough for what a client asks, and giving back what a
//! large request took.

use std::hint::black_box;

#[cfg(target_env = "gnu")]
use nix::libc;
use wg_control::DeviceUpdate;

#[cfg(target_env = "gnu")]
use crate::privileges;

/// Bytes that must be there beside what is asked for: the buffers of as many clients as there may
/// be, who may all have asked before the first of them takes any, and small things.
const ROOM: usize = 6 << 20;
/// Bytes that a peer takes, in the request and in the tables, without its allowed IPs.
const PER_PEER: usize = 1600;
/// Bytes that an allowed IP takes.
const PER_ALLOWED_IP: usize = 400;
/// Bytes that an allowed IP takes that is there already, in a copy of the table or in an answer.
const PER_PRESENT_IP: usize = 160;

/// Sets the allocator up, while there is one thread: a single heap, whose free memory serves all
/// threads, and from which large pieces stay apart, so that the kernel has them back at once. Each
/// thread's own heap would be faster for threads that allocate much; those that forward packets do
/// not allocate.
pub(crate) fn set_up() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        // Their defaults; setting them keeps them from growing.
        (libc::M_MMAP_THRESHOLD, 128 << 10),
        (libc::M_TRIM_THRESHOLD, 128 << 10),
    ] {
        // SAFETY: it changes a setting of the allocator, under the allocator's own lock.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            log::warn!("the allocator does not take parameter {parameter}");
        }
    }
}

/// Whether there is room to go on reading a request of which `read` bytes have come. An allocation
/// that failed would be the end of the whole daemon.
pub(crate) fn has_room_to_read(read: usize) -> bool {
    // A list is copied to one of twice its size when it has to grow.
    has_room(read.saturating_mul(2))
}

/// Whether there is room for what an update adds, where the table of so many allowed IPs may have
/// to be copied.
pub(crate) fn has_room_to_apply(update: &DeviceUpdate, present_ips: usize) -> bool {
    let ips: usize = update.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    has_room_for(&[
        (update.peers.len(), PER_PEER),
        (ips, PER_ALLOWED_IP),
        (present_ips, PER_PRESENT_IP),
    ])
}

/// Whether there is room for a description of so many peers and allowed IPs.
pub(crate) fn has_room_to_show(peers: usize, ips: usize) -> bool {
    has_room_for(&[(peers, PER_PEER), (ips, PER_PRESENT_IP)])
}

/// Gives the kernel what is free: after a large request that is much, and no other request may
/// come for it.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        let trim = || {
            // SAFETY: it takes the allocator's locks as any allocation does, and touches free
            // memory only.
            unsafe { libc::malloc_trim(0) };
        };
        if let Err(errno) = privileges::unlocked(trim) {
            log::warn!("keys may be swapped to disk, memory is not locked: {}", errno.desc());
        }
    }
}

/// Whether there is room for so many things of so many bytes each.
fn has_room_for(things: &[(usize, usize)]) -> bool {
    let bytes = things.iter().map(|(count, each)| count.saturating_mul(*each));
    has_room(bytes.fold(0, usize::saturating_add))
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
