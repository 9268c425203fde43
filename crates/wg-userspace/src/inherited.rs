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
        let (tun, uapi) = (number("WG_TUN_FD")?, number("WG_UAPI_FD")?);
        if tun.is_some() && tun == uapi {
            bail!("WG_TUN_FD and WG_UAPI_FD name the same file descriptor");
        }
        Ok(Self {
            tun: tun.map(|number| take("WG_TUN_FD", number)).transpose()?,
            uapi: uapi.map(|number| take("WG_UAPI_FD", number)).transpose()?,
        })
    }
}

fn number(variable: &str) -> anyhow::Result<Option<RawFd>> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse::<RawFd>().ok());
    let Some(number) = number.filter(|number| *number > 2) else {
        bail!("{variable}: expected the number of a file descriptor above 2, found {value:?}");
    };
    Ok(Some(number))
}

/// To be called once for a number.
fn take(variable: &str, number: RawFd) -> anyhow::Result<OwnedFd> {
    // SAFETY: borrowed for one call, which fails if there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        bail!("{variable}: there is no open file descriptor {number}");
    }
    // SAFETY: it is open, the environment says that it is ours, no other variable names it, and
    // nothing else in this process has opened descriptors yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
