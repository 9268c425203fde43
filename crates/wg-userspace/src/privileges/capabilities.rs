//! The capabilities of root that are kept (`capabilities(7)`).

use std::fmt;

use nix::errno::Errno;
use nix::libc;

/// To bind ports below 1024: a listen port may be set at any time.
const NET_BIND_SERVICE: u32 = 10;
/// To mark packets, to read a TUN device's state, to have large socket buffers.
const NET_ADMIN: u32 = 12;
/// To lock memory beyond the limit.
const IPC_LOCK: u32 = 14;

/// The version of the structures below (`linux/capability.h`).
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`, once for each 32 capabilities.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Capabilities, for the log.
pub(super) struct Kept(u64);

/// Drops from this thread, and those that it starts, all other capabilities, and for all that they
/// might execute, every one. `to_lock_memory` says whether that takes one.
pub(super) fn drop_others(to_lock_memory: bool) -> Result<Kept, Errno> {
    let needed: u64 =
        1 << NET_BIND_SERVICE | 1 << NET_ADMIN | u64::from(to_lock_memory) << IPC_LOCK;
    // The last one differs from kernel to kernel, and is followed by EINVAL. EPERM is said to who
    // has not CAP_SETPCAP; without new privileges, what is executed gets none anyway.
    for capability in 0..64 {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    // Unknown before Linux 4.3.
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong);
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the kernel writes two structures of its layout for this version.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    for (data, kept) in data.iter_mut().zip([needed as u32, (needed >> 32) as u32]) {
        let permitted = data.permitted & kept;
        *data = Data { effective: permitted, permitted, inheritable: 0 };
    }
    // SAFETY: the kernel reads two structures of its layout for this version.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(Kept(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32))
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<(), Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: both options in use take numbers, no address.
    Errno::result(unsafe { libc::prctl(option, argument, zero, zero, zero) }).map(drop)
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (NET_ADMIN, "CAP_NET_ADMIN"),
            (NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
            (IPC_LOCK, "CAP_IPC_LOCK"),
        ];
        let kept = names.iter().filter(|(number, _)| self.0 & 1 << number != 0);
        let names: Vec<_> = kept.map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}
