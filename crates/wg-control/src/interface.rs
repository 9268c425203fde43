//! Reading and changing interfaces, whatever their dataplane is.

use std::collections::HashSet;
use std::io;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::{Device, DeviceUpdate, Error, kernel, userspace};

/// Bytes in the longest name of an interface (`IFNAMSIZ` of `linux/if.h`, less the final zero).
pub const MAX_NAME: usize = 15;

/// The names of the WireGuard interfaces in this network namespace, those of the kernel first.
pub fn interfaces() -> Vec<String> {
    let mut names = kernel::interfaces().unwrap_or_default();
    let kernel: HashSet<_> = names.iter().cloned().collect();
    names.extend(userspace::interfaces().into_iter().filter(|name| !kernel.contains(name)));
    names
}

/// Reads an interface's configuration and state.
///
/// # Errors
/// When there is no such WireGuard interface, it is not ours to read, or its backend fails.
pub fn get(name: &str) -> Result<Device, Error> {
    match backend(name)? {
        Backend::Kernel => kernel::get(name).map_err(|error| explained(error, name)),
        Backend::Daemon(stream) => userspace::get(&stream, name),
    }
}

/// Changes an interface.
///
/// # Errors
/// When there is no such WireGuard interface, it is not ours to change, or its backend refuses.
pub fn set(name: &str, update: DeviceUpdate) -> Result<(), Error> {
    match backend(name)? {
        Backend::Kernel => kernel::set(name, &update).map_err(|error| explained(error, name)),
        Backend::Daemon(stream) => userspace::set(&stream, update),
    }
}

enum Backend {
    Kernel,
    Daemon(UnixStream),
}

/// An interface that the kernel says is its own is the kernel's, though a daemon of another network
/// namespace may have a socket of that name. One that is neither's is left to the kernel to refuse.
fn backend(name: &str) -> Result<Backend, Error> {
    if name.len() > MAX_NAME {
        let detail = format!("an interface's name has at most {MAX_NAME} bytes: `{name}'");
        return Err(Error::new(Errno::ENAMETOOLONG, detail));
    }
    if kernel::is_wireguard(name)? {
        return Ok(Backend::Kernel);
    }
    Ok(userspace::connect(name)?.map_or(Backend::Kernel, Backend::Daemon))
}

/// The kernel's error, with what is the matter with an interface that is no WireGuard.
fn explained(error: io::Error, name: &str) -> Error {
    let (errno, detail) = match error.raw_os_error().map(Errno::from_raw) {
        Some(errno @ Errno::EPROTONOSUPPORT) => match if_nametoindex(name) {
            Ok(_) => (errno, format!("`{name}' is not served by a userspace daemon")),
            Err(_) => (errno, format!("there is no interface `{name}'")),
        },
        Some(errno @ Errno::ENODEV) => (errno, format!("there is no interface `{name}'")),
        Some(errno @ Errno::EOPNOTSUPP) => (errno, format!("`{name}' is no WireGuard interface")),
        _ => return error.into(),
    };
    Error::new(errno, detail)
}
