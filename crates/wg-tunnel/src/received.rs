//! Datagrams in from one UDP socket: `recvmmsg`, with many datagrams of one sender in one buffer
//! where the kernel has `UDP_GRO`.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use crate::datagrams::empty_header;
use crate::endpoint::Endpoint;
use crate::pktinfo::{Control, Name};
use crate::slots::{BATCH, MAX_PACKET, Slots};

/// Bytes to take at once, about: what is opened next should still be in the processor's cache,
/// and what waits in the socket may yet be dropped there.
const TARGET: usize = 128 * 1024;
/// Slots to offer at least, however long datagrams are: what comes in one batch is joined again, and
/// four of the host's longest packets, which are read together, travel in five datagrams.
const LEAST: usize = 6;

/// Datagrams as they came; made once and used again.
pub(crate) struct ReceivedBatch {
    slots: Slots,
    datagrams: Vec<Received>,
    endpoints: [Option<Endpoint>; BATCH],
    classes: [u8; BATCH],
    are_for_many: [bool; BATCH],
    names: [Name; BATCH],
    controls: [Control; BATCH],
    /// Of the last call.
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Slots to offer to the kernel next.
    offered: usize,
    /// Whether the last call filled all that it was offered.
    full: bool,
}

/// A datagram's place.
#[derive(Clone, Copy)]
struct Received {
    slot: usize,
    start: usize,
    length: usize,
}

impl ReceivedBatch {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            datagrams: Vec::with_capacity(8 * BATCH),
            endpoints: [None; BATCH],
            classes: [0; BATCH],
            are_for_many: [false; BATCH],
            names: [Name::EMPTY; BATCH],
            controls: [Control::EMPTY; BATCH],
            parts: Vec::with_capacity(BATCH),
            headers: Vec::with_capacity(BATCH),
            offered: BATCH,
            full: false,
        }
    }

    /// Waits for a datagram and takes those that are there behind it; returns how many.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.receive_with(socket, libc::MSG_WAITFORONE)
    }

    /// Takes the datagrams that are there; returns how many, or `EAGAIN` when there are none.
    pub(crate) fn receive_waiting(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.receive_with(socket, libc::MSG_DONTWAIT)
    }

    fn receive_with(&mut self, socket: BorrowedFd<'_>, flags: libc::c_int) -> Result<usize, Errno> {
        self.parts.clear();
        self.headers.clear();
        let slots = self.slots.iter_mut().take(self.offered);
        self.parts.extend(
            slots.map(|slot| libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: MAX_PACKET,
            }),
        );
        for (i, part) in self.parts.iter_mut().enumerate() {
            let mut header = empty_header();
            header.msg_hdr.msg_name = (&raw mut self.names[i]).cast();
            header.msg_hdr.msg_namelen = Name::CAPACITY as u32;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut self.controls[i]).cast();
            header.msg_hdr.msg_controllen = Control::CAPACITY as _;
            self.headers.push(header);
        }
        // SAFETY: each of the `offered` headers points to a name, a control buffer and a part of
        // the lengths it says, and each part to its own slot of at least MAX_PACKET bytes; all
        // outlive the call and nothing else refers to them.
        let received = Errno::result(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                flags as _,
                std::ptr::null_mut(),
            )
        })? as usize;
        self.datagrams.clear();
        let mut bytes = 0;
        for slot in 0..received {
            let header = &self.headers[slot];
            let length = (header.msg_len as usize).min(MAX_PACKET);
            let said = self.controls[slot].read(header.msg_hdr.msg_controllen as _);
            self.endpoints[slot] =
                self.names[slot].read().map(|address| Endpoint { address, source: said.source });
            self.classes[slot] = said.tos;
            self.are_for_many[slot] = said.is_for_many;
            self.split(slot, length, said.segment_size);
            bytes += length;
        }
        let average = bytes.checked_div(received).unwrap_or(0).max(1);
        self.full = received == self.offered;
        self.offered = (TARGET / average).clamp(LEAST, BATCH);
        Ok(self.datagrams.len())
    }

    /// Whether more may be waiting than was taken.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Notes the datagrams of `size` bytes in a slot; the last may be shorter.
    fn split(&mut self, slot: usize, length: usize, size: Option<usize>) {
        let size = size.unwrap_or(length).max(1);
        let starts = (0..length.max(1)).step_by(size);
        self.datagrams.extend(starts.map(|at| Received {
            slot,
            start: Slots::start(slot) + at,
            length: size.min(length - at),
        }));
    }

    /// Datagram `index`.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let Received { start, length, .. } = self.datagrams[index];
        &self.slots.memory()[start..][..length]
    }

    /// Datagram `index`, to be opened in place.
    pub(crate) fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        let Received { start, length, .. } = self.datagrams[index];
        &mut self.slots.memory_mut()[start..][..length]
    }

    /// Where datagram `index` begins in [`ReceivedBatch::memory`].
    pub(crate) fn start(&self, index: usize) -> usize {
        self.datagrams[index].start
    }

    /// Where datagram `index` came from.
    pub(crate) fn endpoint(&self, index: usize) -> Option<Endpoint> {
        self.endpoints[self.datagrams[index].slot]
    }

    /// The traffic class of datagram `index`.
    pub(crate) fn tos(&self, index: usize) -> u8 {
        self.classes[self.datagrams[index].slot]
    }

    /// Whether datagram `index` was sent to a broadcast or multicast address.
    pub(crate) fn is_for_many(&self, index: usize) -> bool {
        self.are_for_many[self.datagrams[index].slot]
    }

    /// The memory that the datagrams are in.
    pub(crate) fn memory(&self) -> &[u8] {
        self.slots.memory()
    }

    /// The memory that the datagrams are in.
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        self.slots.memory_mut()
    }
}
