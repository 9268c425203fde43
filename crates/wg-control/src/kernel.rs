//! The backend for the kernel module, over generic netlink (kernel: include/uapi/linux/wireguard.h).
//!
//! Errors carry the kernel's error number, so that they read as the original's do.

mod decode;
mod encode;
mod link;
mod socket;

use std::io;

use netlink_packet_core::Emitable;
use netlink_packet_wireguard::WireguardCmd;
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use crate::{Device, DeviceUpdate};
use socket::{GENERIC_HEADER, Generic, Request, Socket, attributes};

pub use link::{interfaces, is_wireguard};

/// Reads an interface whole.
///
/// # Errors
/// `ENODEV` when there is no such interface, `EOPNOTSUPP` when it is of another kind,
/// `EPROTONOSUPPORT` when the kernel has no WireGuard, `EPERM` without `CAP_NET_ADMIN`.
pub fn get(name: &str) -> io::Result<Device> {
    let mut module = Module::open()?;
    let interface = encode::Attributes::of_interface(name);
    loop {
        let mut device = Device { name: name.to_owned(), ..Device::default() };
        let outcome = module.request(WireguardCmd::GetDevice, Request::Dump, &interface, |reply| {
            decode::add(&mut device, attributes(reply, GENERIC_HEADER)?)
        });
        match outcome {
            // The interface was changed while the kernel went through it.
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(device),
        }
    }
}

/// Changes an interface. What does not fit one message goes in several, and those before one that
/// fails stay in force.
///
/// # Errors
/// As for [`get`], and what the kernel has against the change.
pub fn set(name: &str, update: &DeviceUpdate) -> io::Result<()> {
    let mut module = Module::open()?;
    encode::messages(name, update, |message| {
        module.request(WireguardCmd::SetDevice, Request::Single, message, |_| Ok(()))
    })
}

/// A socket on which the module answers.
struct Module {
    socket: Socket,
    family: u16,
}

impl Module {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::open(NETLINK_GENERIC)?;
        match socket.family("wireguard") {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
                Err(Errno::EPROTONOSUPPORT.into())
            }
            Err(error) => Err(error),
            Ok(family) => Ok(Self { socket, family }),
        }
    }

    fn request(
        &mut self,
        command: WireguardCmd,
        request: Request,
        attributes: &impl Emitable,
        reply: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let body = Generic { command: command.into(), attributes };
        self.socket.request(self.family, request, &body, reply)
    }
}
