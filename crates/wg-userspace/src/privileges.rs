//! What the daemon keeps once its interface is there: enough to serve it, and no more.
//!
//! Each part stands for itself. Where the kernel or a container refuses one, the log says so and
//! the daemon runs with the others.

mod capabilities;
mod file_access;
mod memory;
mod system_calls;

use std::path::Path;

use nix::sys::prctl;

use memory::Locked;
#[cfg(target_env = "gnu")]
pub(crate) use memory::unlocked;

/// Does what must be done first: nothing secret gets into core dumps or under a debugger, and
/// nothing that is executed has more rights than we.
pub(crate) fn begin() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()
}

/// Gives up what belongs to threads, and so before there are others: capabilities, and files but
/// for removing the socket from its `directory`. Memory is locked while that is still allowed.
pub(crate) fn restrict_threads(directory: Option<&Path>) {
    let locked = memory::lock();
    match locked {
        Ok(_) => log::debug!("memory is locked: keys are never swapped to disk"),
        Err(errno) => {
            log::warn!("keys may be swapped to disk, memory cannot be locked: {}", errno.desc());
        }
    }
    match capabilities::drop_others(locked == Ok(Locked::ByCapability)) {
        Ok(kept) => log::debug!("capabilities kept: {kept}"),
        Err(errno) => log::warn!("capabilities cannot be dropped: {}", errno.desc()),
    }
    match file_access::restrict(directory) {
        Ok(status) => file_access::tell(&status),
        Err(error) => log::warn!("access to files cannot be restricted: {error}"),
    }
}

/// Gives up all system calls that a running daemon has no use for, in every thread.
pub(crate) fn restrict_system_calls() {
    match system_calls::restrict() {
        Ok(()) => log::debug!("system calls are restricted"),
        Err(errno) => log::warn!("system calls cannot be restricted: {}", errno.desc()),
    }
}
