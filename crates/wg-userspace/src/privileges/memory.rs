//! Memory that is never swapped to disk, as the kernel's own is not (mlockall(2)).

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// All of it, now and later, each page as it is used.
const ALL: libc::c_int = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;

/// Whether [`lock`] has locked memory; held while it is unlocked for a moment.
static IS_LOCKED: Mutex<bool> = Mutex::new(false);

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
    let mut is_locked = IS_LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the call changes only whether pages may be swapped.
    Errno::result(unsafe { libc::mlockall(ALL) })?;
    if raised.is_ok() {
        *is_locked = true;
        return Ok(Locked::Unlimited);
    }
    // The capability counts only if it is one over the whole machine, which nothing tells.
    if let Err(errno) = try_to_exceed(limit) {
        // SAFETY: as above.
        Errno::result(unsafe { libc::munlockall() })?;
        return Err(errno);
    }
    *is_locked = true;
    Ok(Locked::ByCapability)
}

/// Does what the kernel refuses on locked memory, which is to take free pages back, and locks what
/// is left. A page that the kernel chooses to swap just then gets to the disk.
///
/// # Errors
/// When memory cannot be locked again.
#[cfg(target_env = "gnu")]
pub(crate) fn unlocked(work: impl FnOnce()) -> Result<(), Errno> {
    let is_locked = IS_LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_locked {
        work();
        return Ok(());
    }
    // SAFETY: the call changes only whether pages may be swapped.
    Errno::result(unsafe { libc::munlockall() })?;
    work();
    // SAFETY: as above.
    Errno::result(unsafe { libc::mlockall(ALL) }).map(drop)
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
