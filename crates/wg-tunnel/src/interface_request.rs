//! What is asked of the kernel about an interface by `ioctl` (netdevice(7)).

use nix::libc;

/// Bytes in an interface's name, without the final zero.
pub(crate) const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// `struct ifreq`.
#[repr(C, align(8))]
pub(crate) struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}
const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

impl InterfaceRequest {
    pub(crate) fn new(name: &str) -> Self {
        let mut request = Self { name: [0; libc::IFNAMSIZ], value: [0; 24] };
        let length = name.len().min(MAX_NAME);
        request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        request
    }

    pub(crate) fn name(&self) -> String {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    pub(crate) fn set_u16(&mut self, value: u16) {
        self.value[..2].copy_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u16(&self) -> u16 {
        u16::from_ne_bytes([self.value[0], self.value[1]])
    }

    pub(crate) fn set_u32(&mut self, value: u32) {
        self.value[..4].copy_from_slice(&value.to_ne_bytes());
    }
}
