//! The TUN device: whole IP packets of the host, read and written through a file descriptor.

use std::fs::OpenOptions;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::interface_request::{InterfaceRequest, MAX_NAME};
use crate::join::Joinable;
use crate::lanes::Lanes;
use crate::offloads::Offloads;
use crate::virtio::{SegmentKind, VirtioHeader};

/// The interface's MTU unless someone sets another: 1500 less the longest outer headers.
pub(crate) const DEFAULT_MTU: u32 = 1420;
/// Long UDP packets, over IPv4 and IPv6 (Linux 6.2).
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;

/// An open TUN device. The interface goes with it, unless it was made persistent.
#[derive(Debug)]
pub struct Tun {
    /// The device through its first queue, which it always has.
    fd: OwnedFd,
    /// Its other queues. The kernel puts each flow into one of all.
    more_queues: Vec<OwnedFd>,
    name: String,
    /// Packets come and go behind a virtio header.
    virtio: bool,
    /// Whether the kernel takes long packets, until it refuses one.
    joins_tcp: AtomicBool,
    joins_udp: AtomicBool,
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
    /// The TUN driver's file is of something else.
    #[error("/dev/net/tun is not the TUN driver's: expected a character device 10:200")]
    NotDriver,
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
    #[error("file descriptor {0} is not a TUN device")]
    NotTun(i32),
}

impl Tun {
    /// Makes the interface, with a queue for each lane where the kernel has several (Linux 3.8),
    /// or takes a persistent TUN interface that nobody else has open, which has one queue.
    ///
    /// # Errors
    /// Says in one sentence what is in the way; nothing has changed then.
    pub fn create(name: &str, offloads: Offloads, lanes: Lanes) -> Result<Self, TunError> {
        if !is_interface_name(name) {
            return Err(TunError::Name(name.to_owned()));
        }
        let fd = open_driver().map_err(TunError::Open)?;
        let virtio = offloads.tun && has_virtio_headers(fd.as_fd());
        let virtio_flag = if virtio { libc::IFF_VNET_HDR } else { 0 };
        let kind = libc::IFF_TUN | libc::IFF_NO_PI | virtio_flag;
        let many = kind | libc::IFF_MULTI_QUEUE;
        // Only a new one: a queue more of another daemon's interface would take packets from it.
        let is_many = lanes.count() > 1 && attach(&fd, name, many | libc::IFF_TUN_EXCL).is_ok();
        if !is_many {
            attach(&fd, name, kind).map_err(|errno| {
                let exists = nix::net::if_::if_nametoindex(name).is_ok();
                let name = name.to_owned();
                match errno {
                    Errno::EBUSY | Errno::EINVAL if exists => TunError::Exists(name),
                    Errno::ENOTTY => TunError::NotDriver,
                    _ => TunError::Create { name, errno },
                }
            })?;
        }
        let mut tun = Self::new(fd, name.to_owned(), virtio);
        while is_many && tun.queues() < lanes.count() {
            let queue = open_driver().and_then(|fd| attach(&fd, name, many).map(|()| fd));
            match queue {
                Ok(fd) => tun.more_queues.push(fd),
                Err(errno) => {
                    let (count, reason) = (tun.queues(), errno.desc());
                    log::warn!("the interface gets no more queues than {count}: {reason}");
                    break;
                }
            }
        }
        tun.offload(offloads.tun);
        tun.set_mtu(DEFAULT_MTU)
            .map_err(|errno| TunError::Create { name: name.to_owned(), errno })?;
        Ok(tun)
    }

    /// Takes over a TUN device that someone else has opened, with `IFF_NO_PI`, and with
    /// `IFF_VNET_HDR` or without.
    ///
    /// # Errors
    /// When it is not a TUN device.
    pub fn from_fd(fd: OwnedFd, offloads: Offloads) -> Result<Self, TunError> {
        let number = fd.as_raw_fd();
        let not_tun = |_| TunError::NotTun(number);
        let mut request = InterfaceRequest::new("");
        // SAFETY: the request has the layout and the size of `struct ifreq`.
        unsafe { get_interface(fd.as_raw_fd(), (&raw mut request).cast()) }.map_err(not_tun)?;
        let kind = libc::c_int::from(request.u16());
        // IFF_NO_PI cannot be seen: the kernel answers IFF_NOFILTER in the same bit.
        if kind & libc::IFF_TUN == 0 {
            return Err(TunError::NotTun(number));
        }
        let virtio = kind & libc::IFF_VNET_HDR != 0;
        if virtio {
            let length = VirtioHeader::LEN as libc::c_int;
            // SAFETY: the kernel reads one int from where the reference points.
            unsafe { set_virtio_header_len(number, &raw const length) }.map_err(not_tun)?;
        }
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(not_tun)?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(not_tun)?;
        let tun = Self::new(fd, request.name(), virtio);
        tun.offload(offloads.tun);
        // Whoever opened the device may have kept the right to do this to himself.
        if tun.is_in_other_namespace() {
            let _ = tun.in_its_namespace(|| tun.set_mtu(DEFAULT_MTU));
        } else {
            let _ = tun.set_mtu(DEFAULT_MTU);
        }
        Ok(tun)
    }

    /// The interface's name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn new(fd: OwnedFd, name: String, virtio: bool) -> Self {
        let (joins_tcp, joins_udp) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { fd, more_queues: Vec::new(), name, virtio, joins_tcp, joins_udp }
    }

    /// How many queues it has; they are numbered from 0.
    pub(crate) fn queues(&self) -> usize {
        1 + self.more_queues.len()
    }

    /// The queue of a lane. Lanes without one of their own use the others'.
    pub(crate) fn queue(&self, lane: usize) -> BorrowedFd<'_> {
        match lane % self.queues() {
            0 => self.fd.as_fd(),
            queue => self.more_queues[queue - 1].as_fd(),
        }
    }

    /// Asks the kernel for long packets and unfinished checksums, or for neither. What it does
    /// not know it refuses, and packets come one by one.
    fn offload(&self, wanted: bool) {
        if !self.virtio {
            return;
        }
        let number = self.fd.as_raw_fd();
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        let udp = TUN_F_USO4 | TUN_F_USO6;
        // SAFETY: the request takes a number, no address.
        let set = |flags: libc::c_uint| unsafe { set_offload(number, flags as _) }.is_ok();
        let has_udp = wanted && set(tcp | udp);
        let has_tcp = has_udp || (wanted && set(tcp));
        if !has_tcp && !set(0) {
            log::debug!("the interface's offloads cannot be set");
        }
        log::debug!("offloads of the interface: TCP {has_tcp}, UDP {has_udp}");
        self.joins_tcp.store(has_tcp, Ordering::Relaxed);
        self.joins_udp.store(has_udp, Ordering::Relaxed);
    }

    /// Whether a virtio header stands before each packet.
    pub(crate) fn has_virtio(&self) -> bool {
        self.virtio
    }

    /// What the kernel takes as one long packet.
    pub(crate) fn joinable(&self) -> Joinable {
        Joinable {
            tcp: self.joins_tcp.load(Ordering::Relaxed),
            udp: self.joins_udp.load(Ordering::Relaxed),
        }
    }

    /// Reads one packet of a lane, with its virtio header if it has one.
    pub(crate) fn read(&self, lane: usize, room: &mut [u8]) -> Result<usize, Errno> {
        let queue = self.queue(lane);
        loop {
            match nix::unistd::read(queue, room) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Hands one packet to the host, in parts of which the first begins with its virtio header
    /// if there is one. `long` is what it stands for, if for several.
    pub(crate) fn write(
        &self,
        lane: usize,
        parts: &[IoSlice<'_>],
        long: Option<SegmentKind>,
    ) -> Result<(), Errno> {
        let queue = self.queue(lane);
        loop {
            let result = match parts {
                [whole] => nix::unistd::write(queue, whole),
                parts => nix::sys::uio::writev(queue, parts),
            };
            match (result, long) {
                (Ok(_), _) => return Ok(()),
                (Err(Errno::EINTR), _) => {}
                (Err(errno @ (Errno::EINVAL | Errno::EOPNOTSUPP)), Some(kind)) => {
                    self.stop_joining(kind, errno);
                    return Err(errno);
                }
                (Err(errno), _) => return Err(errno),
            }
        }
    }

    /// The kernel has refused a long packet; the next ones go one by one.
    fn stop_joining(&self, kind: SegmentKind, errno: Errno) {
        let (flag, name) = match kind {
            SegmentKind::Udp => (&self.joins_udp, "UDP"),
            _ => (&self.joins_tcp, "TCP"),
        };
        if flag.swap(false, Ordering::Relaxed) {
            let reason = errno.desc();
            log::warn!("the interface takes no long {name} packets ({reason}): offload is off");
        }
    }

    /// Whether the interface is up, found out without netlink; `None` when it is gone. The driver
    /// takes packets exactly while it is up (kernel: `tun_chr_poll`).
    pub(crate) fn is_up(&self) -> Option<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        // Only a signal interrupts what does not wait.
        while poll(&mut fds, PollTimeout::ZERO).is_err() {}
        let events = fds[0].revents().unwrap_or(PollFlags::empty());
        (!events.contains(PollFlags::POLLERR)).then_some(events.contains(PollFlags::POLLOUT))
    }

    /// Whether the interface is in another network namespace than this thread.
    pub(crate) fn is_in_other_namespace(&self) -> bool {
        let of_tun = self.network_namespace().and_then(nix::sys::stat::fstat);
        let ours = nix::sys::stat::stat("/proc/thread-self/ns/net");
        // A kernel that cannot tell has no way to hand such a device over either.
        matches!((of_tun, ours), (Ok(of_tun), Ok(ours)) if of_tun.st_ino != ours.st_ino)
    }

    /// Does something where the interface is. A thread of its own does, because a thread that has
    /// changed its namespace opens sockets there. It takes `CAP_SYS_ADMIN`.
    fn in_its_namespace<T: Send>(
        &self,
        request: impl FnOnce() -> Result<T, Errno> + Send,
    ) -> Result<T, Errno> {
        let there = || {
            setns(self.network_namespace()?, CloneFlags::CLONE_NEWNET)?;
            request()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, there);
            thread.map_err(|_| Errno::EAGAIN)?.join().unwrap_or(Err(Errno::UnknownErrno))
        })
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
}

fn open_driver() -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open("/dev/net/tun")
        .map(OwnedFd::from)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Makes an open driver's file a queue of the interface, which may be a new one.
fn attach(fd: &OwnedFd, name: &str, flags: libc::c_int) -> Result<(), Errno> {
    let mut request = InterfaceRequest::new(name);
    request.set_u16(flags as u16);
    // SAFETY: the request has the layout and the size of `struct ifreq`.
    unsafe { set_interface(fd.as_raw_fd(), (&raw const request).cast()) }.map(drop)
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

/// Whether the driver can put virtio headers before packets (Linux 2.6.27).
fn has_virtio_headers(fd: BorrowedFd<'_>) -> bool {
    let mut features: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned int to where the reference points.
    let result = unsafe { get_features(fd.as_raw_fd(), &raw mut features) };
    result.is_ok() && features & libc::IFF_VNET_HDR as libc::c_uint != 0
}

/// The kernel's rule (`dev_valid_name`) less what no tool or path takes well.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte))
        && name != "."
        && name != ".."
}

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_read_bad!(get_interface, libc::TUNGETIFF, libc::ifreq);
nix::ioctl_read_bad!(get_features, libc::TUNGETFEATURES, libc::c_uint);
nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);
nix::ioctl_write_ptr_bad!(set_virtio_header_len, libc::TUNSETVNETHDRSZ, libc::c_int);
nix::ioctl_none_bad!(get_namespace, libc::TUNGETDEVNETNS);
nix::ioctl_write_ptr_bad!(set_interface_mtu, libc::SIOCSIFMTU, libc::ifreq);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_an_interface_are_refused_before_anything_is_opened() {
        for name in ["", ".", "..", "a/b", "wg 0", "wg%d", "0123456789abcdef", "wg:0", "wgé"] {
            assert!(
                matches!(
                    Tun::create(name, Offloads::default(), Lanes::ONE),
                    Err(TunError::Name(_))
                ),
                "{name}"
            );
        }
        assert!(is_interface_name("0123456789abcde"));
        assert!(is_interface_name("wg_=+.-0"));
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = Tun::from_fd(null.into(), Offloads::default()).unwrap_err();
        assert!(error.to_string().contains("is not a TUN device"), "{error}");
    }
}
