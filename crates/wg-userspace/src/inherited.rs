//! File descriptors that whoever started the daemon has opened for it.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::bail;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Descriptors named in the environment.
#[derive(Default)]
pub(crate) struct Inherited {
    /// `WG_TUN_FD`: an open TUN device.
    pub(crate) tun: Option<OwnedFd>,
    /// `WG_UAPI_FD`: a listening Unix socket.
    pub(crate) uapi: Option<OwnedFd>,
}

impl Inherited {
    /// Takes the descriptors over.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let inherited = Self { tun: number("WG_TUN_FD")?, uapi: number("WG_UAPI_FD")? };
        Ok(inherited)
    }
}

fn number(variable: &str) -> anyhow::Result<Option<OwnedFd>> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse::<RawFd>().ok());
    let Some(number) = number.filter(|number| *number > 2) else {
        bail!("{variable}: expected the number of a file descriptor above 2, found {value:?}");
    };
    // SAFETY: borrowed for one call, which fails if there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        bail!("{variable}: there is no open file descriptor {number}");
    }
    // SAFETY: it is open, and the environment says that it is ours. The two variables do not name
    // the same one, or the second call sees the first one's descriptor and both fail to be what
    // they should; nothing else in this process has opened descriptors yet.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}
