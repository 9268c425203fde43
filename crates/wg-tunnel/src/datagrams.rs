//! Datagrams out through one UDP socket: `sendmmsg`, where runs of datagrams of one size to one
//! endpoint go as one (`UDP_SEGMENT`, udp(7)).

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;

use crate::endpoint::Endpoint;
use crate::pktinfo::{Control, Name};

/// Datagrams sent as one (kernel: `UDP_MAX_SEGMENTS`, 64 until Linux 6.9).
const MAX_SEGMENTS: usize = 64;
/// Bytes sent as one: the longest datagram over IPv6, which is the shorter of the two.
const MAX_BYTES: usize = 65535 - 40 - 8;

/// A datagram to send.
#[derive(Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) endpoint: Endpoint,
    /// Whether it may go as one with its neighbours.
    pub(crate) segment: bool,
    /// The traffic class of its IP header.
    pub(crate) tos: u8,
}

/// What went wrong with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// Its source address is no longer ours; it was sent from another.
    Source,
    /// It and its neighbours could not go as one, for the way to this endpoint takes no datagrams
    /// of this size without fragments; they were sent one by one.
    Segments,
    /// It was not sent.
    Dropped(Errno),
}

/// The kernel's view of the datagrams of one call; made once and used again.
#[derive(Default)]
pub(crate) struct Sender {
    datagrams: Vec<Pending>,
    groups: Vec<Group>,
    names: Vec<Name>,
    controls: Vec<Control>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// A datagram and its position among those that the caller gave.
#[derive(Clone, Copy)]
struct Pending {
    position: usize,
    base: *const u8,
    length: usize,
    tos: u8,
}

/// Datagrams sent as one.
#[derive(Clone, Copy)]
struct Group {
    endpoint: Endpoint,
    first: usize,
    count: usize,
    /// Bytes of each but the last.
    size: usize,
    bytes: usize,
    tos: u8,
    /// Whether another may follow.
    open: bool,
}

// SAFETY: its pointers are written anew in each call before anybody follows them, so that it does
// not matter which thread makes the call.
unsafe impl Send for Sender {}

impl Sender {
    /// Sends datagrams of the socket's family in order, in as few system calls as it takes.
    /// `segments` says whether the socket knows `UDP_SEGMENT` and is cleared when it turns out
    /// not to work. `failed` is told the position of each datagram that went wrong; the others
    /// are sent all the same.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        segments: &AtomicBool,
        datagrams: impl Iterator<Item = (usize, Datagram<'a>)>,
        failed: &mut dyn FnMut(usize, SendFailure),
    ) {
        self.datagrams.clear();
        self.groups.clear();
        let has_segments = segments.load(Ordering::Relaxed);
        for (position, datagram) in datagrams {
            let (base, length) = (datagram.bytes.as_ptr(), datagram.bytes.len());
            let segment = has_segments && datagram.segment;
            let pending = Pending { position, base, length, tos: datagram.tos };
            self.push(pending, &datagram.endpoint, segment);
        }
        // SAFETY: the datagrams of this call only, lent until it returns, were pushed.
        unsafe { self.send_groups(socket, segments, failed) };
        // Nothing that points to what the caller has lent stays.
        self.datagrams.clear();
    }

    fn push(&mut self, datagram: Pending, endpoint: &Endpoint, segment: bool) {
        let length = datagram.length;
        if segment
            && let Some(group) = self.groups.last_mut()
            && group.open
            && (1..=group.size).contains(&length)
            && group.bytes + length <= MAX_BYTES
            && group.endpoint == *endpoint
            && group.tos == datagram.tos
        {
            group.count += 1;
            group.bytes += length;
            group.open = length == group.size && group.count < MAX_SEGMENTS;
        } else {
            let (first, endpoint) = (self.datagrams.len(), *endpoint);
            let open = segment && length > 0;
            let (size, bytes, tos) = (length, length, datagram.tos);
            let group = Group { endpoint, first, count: 1, size, bytes, tos, open };
            self.groups.push(group);
        }
        self.datagrams.push(datagram);
    }

    /// Sends what was pushed.
    ///
    /// # Safety
    /// Every datagram pushed is still lent: `length` bytes at `base` can be read.
    unsafe fn send_groups(
        &mut self,
        socket: BorrowedFd<'_>,
        segments: &AtomicBool,
        failed: &mut dyn FnMut(usize, SendFailure),
    ) {
        self.prepare();
        let mut sent = 0;
        // The group that is tried once more without its source address.
        let mut without_source = None;
        while sent < self.groups.len() {
            let rest = &mut self.headers[sent..];
            // SAFETY: `prepare` has just pointed every header to a name, a control message and
            // parts in vectors that have not changed since, with their lengths, and the parts to
            // datagrams that are lent, as our caller promises.
            let result = Errno::result(unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    libc::MSG_NOSIGNAL as _,
                )
            });
            let group = self.groups[sent];
            match result {
                Ok(count) => {
                    if without_source.take().is_some() {
                        failed(self.datagrams[group.first].position, SendFailure::Source);
                    }
                    sent += count as usize;
                }
                Err(Errno::EINTR) => {}
                Err(errno)
                    if group.endpoint.source.is_some()
                        && may_be_source(errno)
                        && without_source.is_none() =>
                {
                    without_source = Some(sent);
                    self.leave_source_out(sent);
                }
                Err(errno) => {
                    without_source = None;
                    // SAFETY: the group's datagrams are among those lent to us.
                    unsafe { self.group_failed(&group, errno, socket, segments, failed) };
                    sent += 1;
                }
            }
        }
    }

    /// Fills what the kernel reads.
    fn prepare(&mut self) {
        let Self { datagrams, groups, names, controls, parts, headers } = self;
        names.clear();
        names.resize(groups.len(), Name::EMPTY);
        controls.clear();
        controls.resize(groups.len(), Control::EMPTY);
        parts.clear();
        parts.reserve(datagrams.len());
        headers.clear();
        for (i, group) in groups.iter().enumerate() {
            let first = parts.len();
            for datagram in &datagrams[group.first..][..group.count] {
                // Datagrams that touch each other are one part.
                if let Some(part) = parts[first..].last_mut()
                    && part.iov_base.cast_const().cast::<u8>().wrapping_add(part.iov_len)
                        == datagram.base
                {
                    part.iov_len += datagram.length;
                    continue;
                }
                // sendmsg only reads from it, whatever iovec's type says.
                let base = datagram.base.cast_mut().cast();
                parts.push(libc::iovec { iov_base: base, iov_len: datagram.length });
            }
            let mut header = empty_header();
            header.msg_hdr.msg_namelen = names[i].write(&group.endpoint.address) as u32;
            header.msg_hdr.msg_name = (&raw mut names[i]).cast();
            header.msg_hdr.msg_iov = parts[first..].as_mut_ptr();
            header.msg_hdr.msg_iovlen = (parts.len() - first) as _;
            let mut length = 0;
            if let Some(source) = &group.endpoint.source {
                length = controls[i].write(source);
            }
            length = group.write_options(&mut controls[i], length);
            header.msg_hdr.msg_control = (&raw mut controls[i]).cast();
            header.msg_hdr.msg_controllen = length as _;
            headers.push(header);
        }
    }

    fn leave_source_out(&mut self, index: usize) {
        let group = &self.groups[index];
        let header = &mut self.headers[index].msg_hdr;
        header.msg_controllen = group.write_options(&mut self.controls[index], 0) as _;
    }

    /// Sends the datagrams of a group one by one if that can help.
    ///
    /// # Safety
    /// As for [`Sender::send_groups`].
    unsafe fn group_failed(
        &self,
        group: &Group,
        errno: Errno,
        socket: BorrowedFd<'_>,
        segments: &AtomicBool,
        failed: &mut dyn FnMut(usize, SendFailure),
    ) {
        let datagrams = &self.datagrams[group.first..][..group.count];
        // EIO: the device cannot finish the checksums of segments.
        let is_unknown = matches!(errno, Errno::EIO | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP);
        let is_size = matches!(errno, Errno::EINVAL | Errno::EMSGSIZE);
        if group.count == 1 || !(is_unknown || is_size) {
            for datagram in datagrams {
                failed(datagram.position, SendFailure::Dropped(errno));
            }
            return;
        }
        if is_size {
            failed(datagrams[0].position, SendFailure::Segments);
        } else if segments.swap(false, Ordering::Relaxed) {
            let reason = errno.desc();
            log::warn!("the network takes no segmented datagrams ({reason}): UDP_SEGMENT is off");
        }
        let mut singly = Self::default();
        for datagram in datagrams {
            singly.push(*datagram, &group.endpoint, false);
        }
        // SAFETY: all were pushed to us, and are lent as our caller promises.
        unsafe { singly.send_groups(socket, segments, failed) };
    }
}

impl Group {
    /// Adds, behind `length` bytes, what is not the default; returns the new length.
    fn write_options(&self, control: &mut Control, mut length: usize) -> usize {
        if self.tos != 0 {
            length = control.write_traffic_class(length, self.endpoint.address.is_ipv4(), self.tos);
        }
        if self.count > 1 {
            length = control.write_segment_size(length, self.size as u16);
        }
        length
    }
}

/// Whether it may be the source address that is wrong: kernels differ, and IPv6 from IPv4.
fn may_be_source(errno: Errno) -> bool {
    use Errno::{EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, ENXIO};
    matches!(errno, EINVAL | EADDRNOTAVAIL | ENETUNREACH | EHOSTUNREACH | ENODEV | ENXIO)
}

/// Lengths and flags are of other integer types in musl than in glibc: `as _` where they are set.
pub(crate) fn empty_header() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is a plain C structure of integers and pointers; all zeros is valid.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests;
