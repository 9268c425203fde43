//! The TUN device: whole IP packets of the host, read and written through a file descriptor.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::slots::{BATCH, HEADROOM, MAX_PACKET, Slots};

/// The interface's MTU unless someone sets another: 1500 less the longest outer headers.
const DEFAULT_MTU: u32 = 1420;
/// Bytes in an interface's name, without the final zero.
const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// An open TUN device. The interface goes with it, unless it was made persistent.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
}

/// The device could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name cannot be one of an interface.
    #[error(
        "`{0}' cannot name an interface: expected 1 to 15 characters of a-z, A-Z, 0-9 and _=+.-"
    )]
    Name(String),
    /// The TUN driver's file cannot be opened.
    #[error("cannot open /dev/net/tun: {}", .0.desc())]
    Open(Errno),
    /// There is an interface of that name.
    #[error("the interface `{0}' exists already")]
    Exists(String),
    /// The kernel refused to make the interface.
    #[error("cannot create the interface `{name}': {}", errno.desc())]
    Create {
        /// Its name.
        name: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The file descriptor that was handed over is of something else.
    #[error("file descriptor {0} is not a TUN device without a virtio header")]
    NotTun(i32),
}

impl Tun {
    /// Makes the interface, or takes a persistent TUN interface that nobody else has open.
    ///
    /// # Errors
    /// Says in one sentence what is in the way; nothing has changed then.
    pub fn create(name: &str) -> Result<Self, TunError> {
        if !is_interface_name(name) {
            return Err(TunError::Name(name.to_owned()));
        }
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits())
            .open("/dev/net/tun")
            .map_err(|error| TunError::Open(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        let fd = OwnedFd::from(file);
        let mut request = InterfaceRequest::new(name);
        request.set_u16((libc::IFF_TUN | libc::IFF_NO_PI) as u16);
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { set_interface(fd.as_raw_fd(), (&raw const request).cast()) }.map_err(|errno| {
            let exists = nix::net::if_::if_nametoindex(name).is_ok();
            let name = name.to_owned();
            match errno {
                Errno::EBUSY | Errno::EINVAL if exists => TunError::Exists(name),
                _ => TunError::Create { name, errno },
            }
        })?;
        let tun = Self { fd, name: name.to_owned() };
        tun.set_mtu(DEFAULT_MTU)
            .map_err(|errno| TunError::Create { name: name.to_owned(), errno })?;
        Ok(tun)
    }

    /// Takes over a TUN device that someone else has opened, with `IFF_NO_PI` and without
    /// `IFF_VNET_HDR`.
    ///
    /// # Errors
    /// When it is not a TUN device, or has a virtio header.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TunError> {
        let number = fd.as_raw_fd();
        let not_tun = |_| TunError::NotTun(number);
        let mut request = InterfaceRequest::new("");
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { get_interface(fd.as_raw_fd(), (&raw mut request).cast()) }.map_err(not_tun)?;
        let kind = libc::c_int::from(request.u16());
        // IFF_NO_PI cannot be seen: the kernel answers IFF_NOFILTER in the same bit.
        if kind & libc::IFF_TUN == 0 || kind & libc::IFF_VNET_HDR != 0 {
            return Err(TunError::NotTun(number));
        }
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(not_tun)?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(not_tun)?;
        let tun = Self { name: request.name(), fd };
        // Whoever opened the device may have kept the right to do this to himself.
        let _ = tun.set_mtu(DEFAULT_MTU);
        Ok(tun)
    }

    /// The interface's name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the packets that wait, each `HEADROOM` bytes into its slot; returns how many, 0
    /// when none waits.
    pub(crate) fn read(
        &self,
        slots: &mut Slots,
        lengths: &mut [usize; BATCH],
    ) -> Result<usize, Errno> {
        let mut count = 0;
        while count < BATCH {
            let room = &mut slots.get_mut(count)[HEADROOM..][..MAX_PACKET];
            match nix::unistd::read(&self.fd, room) {
                Ok(length) => {
                    lengths[count] = length;
                    count += 1;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // What was read goes out first; the error comes back.
                Err(_) if count > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(count)
    }

    /// Hands packets to the host in order. `failed` is told why each one that was refused was.
    pub(crate) fn write<'a>(
        &self,
        packets: impl Iterator<Item = &'a [u8]>,
        mut failed: impl FnMut(Errno),
    ) {
        for packet in packets {
            loop {
                match nix::unistd::write(&self.fd, packet) {
                    Ok(_) => break,
                    Err(Errno::EINTR) => {}
                    Err(errno) => {
                        failed(errno);
                        break;
                    }
                }
            }
        }
    }

    /// Whether the interface is up, found out without netlink; `None` when it is gone. The empty
    /// packet is no packet, which the driver notices only after it has looked at the link.
    pub(crate) fn is_up(&self) -> Option<bool> {
        match nix::unistd::write(&self.fd, &[]) {
            Err(Errno::EIO) => Some(false),
            Err(errno) if is_gone(errno) => None,
            _ => Some(true),
        }
    }

    /// Whether the interface is in another network namespace than this thread.
    pub(crate) fn is_in_other_namespace(&self) -> bool {
        let of_tun = self.network_namespace().and_then(nix::sys::stat::fstat);
        let ours = nix::sys::stat::stat("/proc/thread-self/ns/net");
        // A kernel that cannot tell has no way to hand such a device over either.
        matches!((of_tun, ours), (Ok(of_tun), Ok(ours)) if of_tun.st_ino != ours.st_ino)
    }

    /// The interface's MTU, wherever it is; `None` when we may not look there. A thread of its
    /// own does, because a thread that has changed its namespace opens sockets there.
    pub(crate) fn mtu_elsewhere(&self) -> Option<u32> {
        let look = || {
            setns(self.network_namespace().ok()?, CloneFlags::CLONE_NEWNET).ok()?;
            self.mtu().ok()
        };
        std::thread::scope(|scope| scope.spawn(look).join().ok().flatten())
    }

    fn network_namespace(&self) -> Result<OwnedFd, Errno> {
        // SAFETY: the request takes no argument.
        let fd = unsafe { get_namespace(self.fd.as_raw_fd()) }?;
        // SAFETY: the kernel has just opened this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The interface's name now, which may have been changed.
    pub(crate) fn current_name(&self) -> Result<String, Errno> {
        let mut request = InterfaceRequest::new("");
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { get_interface(self.fd.as_raw_fd(), (&raw mut request).cast()) }?;
        Ok(request.name())
    }

    fn set_mtu(&self, mtu: u32) -> Result<(), Errno> {
        let mut request = InterfaceRequest::new(&self.name);
        request.set_u32(mtu);
        let socket = request_socket()?;
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { set_interface_mtu(socket.as_raw_fd(), (&raw const request).cast()) }.map(drop)
    }

    fn mtu(&self) -> Result<u32, Errno> {
        let mut request = InterfaceRequest::new(&self.current_name()?);
        let socket = request_socket()?;
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { get_interface_mtu(socket.as_raw_fd(), (&raw mut request).cast()) }?;
        Ok(request.u32())
    }
}

/// A socket of any family that there is, for requests about interfaces.
fn request_socket() -> Result<OwnedFd, Errno> {
    let open = |family| socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    open(AddressFamily::Inet).or_else(|_| open(AddressFamily::Inet6))
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel says when the device itself is gone, not when a packet is refused.
pub(crate) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::EBADFD | Errno::ENODEV | Errno::ENXIO | Errno::EBADF)
}

/// The kernel's rule (`dev_valid_name`) less what no tool or path takes well.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte))
        && name != "."
        && name != ".."
}

/// `struct ifreq`.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}
const _: () = assert!(size_of::<InterfaceRequest>() >= size_of::<libc::ifreq>());

impl InterfaceRequest {
    fn new(name: &str) -> Self {
        let mut request = Self { name: [0; libc::IFNAMSIZ], value: [0; 24] };
        let length = name.len().min(MAX_NAME);
        request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        request
    }

    fn name(&self) -> String {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    fn set_u16(&mut self, value: u16) {
        self.value[..2].copy_from_slice(&value.to_ne_bytes());
    }

    fn u16(&self) -> u16 {
        u16::from_ne_bytes([self.value[0], self.value[1]])
    }

    fn u32(&self) -> u32 {
        u32::from_ne_bytes([self.value[0], self.value[1], self.value[2], self.value[3]])
    }

    fn set_u32(&mut self, value: u32) {
        self.value[..4].copy_from_slice(&value.to_ne_bytes());
    }
}

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_read_bad!(get_interface, libc::TUNGETIFF, libc::ifreq);
nix::ioctl_none_bad!(get_namespace, libc::TUNGETDEVNETNS);
nix::ioctl_write_ptr_bad!(set_interface_mtu, libc::SIOCSIFMTU, libc::ifreq);
nix::ioctl_read_bad!(get_interface_mtu, libc::SIOCGIFMTU, libc::ifreq);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_an_interface_are_refused_before_anything_is_opened() {
        for name in ["", ".", "..", "a/b", "wg 0", "wg%d", "0123456789abcdef", "wg:0", "wgé"] {
            assert!(matches!(Tun::create(name), Err(TunError::Name(_))), "{name}");
        }
        assert!(is_interface_name("0123456789abcde"));
        assert!(is_interface_name("wg_=+.-0"));
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = Tun::from_fd(null.into()).unwrap_err();
        assert!(error.to_string().contains("is not a TUN device"), "{error}");
    }
}
