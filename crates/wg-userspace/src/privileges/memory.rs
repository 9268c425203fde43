//! Memory that is never swapped to disk, as the kernel's own is not (mlockall(2)).

use std::num::NonZeroUsize;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// By what right memory is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// There is no limit (any more).
    Unlimited,
    /// `CAP_IPC_LOCK`, which must stay.
    ByCapability,
}

/// Locks all memory, also what comes later, as it is used. Keys are in many places: next to what
/// needs no secrecy, and copied by the ciphers.
///
/// # Errors
/// When only a limited amount may be locked: beyond the limit there would be no memory at all, so
/// then none is locked.
pub(super) fn lock() -> Result<Locked, Errno> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let raised = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: the call changes only whether pages may be swapped.
    Errno::result(unsafe { libc::mlockall(flags) })?;
    if raised.is_ok() {
        return Ok(Locked::Unlimited);
    }
    // The capability counts only if it is one over the whole machine, which nothing tells.
    if let Err(errno) = try_to_exceed(limit) {
        // SAFETY: as above.
        Errno::result(unsafe { libc::munlockall() })?;
        return Err(errno);
    }
    Ok(Locked::ByCapability)
}

/// Whether more than `limit` bytes can be mapped.
fn try_to_exceed(limit: u64) -> Result<(), Errno> {
    let length = usize::try_from(limit).ok().and_then(|limit| limit.checked_add(1));
    let length = length.and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a mapping where the kernel likes, which nobody has access to.
    let address = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }?;
    // SAFETY: it is the mapping just made, and nothing points to it.
    unsafe { munmap(address, length.get()) }
}
