//! Packets read at once from a queue of the TUN device, and the memory in which they are sealed.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;
use wg_noise::{Keypair, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD};

use crate::datagrams::Sender;
use crate::endpoint::Endpoint;
use crate::engine::Engine;
use crate::peer::Peer;
use crate::slots::{BATCH, MAX_PACKET};
use crate::virtio::VirtioHeader;

/// Bytes before a packet: for the transport header, and, before that is written, for the virtio
/// header.
pub(crate) const HEADROOM: usize = TRANSPORT_HEADER_LEN;
const _: () = assert!(HEADROOM >= VirtioHeader::LEN);
/// Bytes of a packet read, with all that is written around it, and so that the next begins at a
/// cache line.
const fn space(packet: usize) -> usize {
    (packet + TRANSPORT_OVERHEAD + 16).next_multiple_of(64)
}
/// The longest packets read at once. At the usual MTU the pieces of one fill a datagram and a small
/// part of a second, those of four together four datagrams and a small part of a fifth.
const LONGEST: usize = 4;
/// Bytes for packets: so many of the longest, or a batch of usual ones.
pub(crate) const INPUT: usize = LONGEST * space(MAX_PACKET);
/// Bytes for the pieces of long packets. The longest fit when they are cut for a usual MTU;
/// otherwise what there is goes out first.
const OUTPUT: usize = LONGEST * 80 * 1024;
const _: () = assert!(OUTPUT > space(MAX_PACKET));

/// Packets read at once and what becomes of them; made once and used again.
pub(crate) struct Batch {
    pub(crate) lane: usize,
    /// Packets as they were read, then the pieces of long ones.
    pub(crate) memory: Vec<u8>,
    pub(crate) packets: Vec<Packet>,
    pub(crate) messages: Vec<Message>,
    pub(crate) runs: Vec<Run>,
    /// Bytes of the output in use.
    pub(crate) output: usize,
    /// Whether more may be waiting than was read.
    pub(crate) full: bool,
    pub(crate) sender: Sender,
}

/// A packet in memory, behind room for its header.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) virtio: VirtioHeader,
}

/// A sealed message in memory.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) run: usize,
    pub(crate) tos: u8,
}

/// Consecutive packets to one peer.
pub(crate) struct Run {
    pub(crate) peer: Arc<Peer>,
    pub(crate) keypair: Arc<Keypair>,
    pub(crate) endpoint: Endpoint,
    pub(crate) segment: bool,
    pub(crate) packets: Range<usize>,
    /// The counter of the first message.
    pub(crate) first: u64,
    pub(crate) bytes: usize,
}

impl Batch {
    pub(crate) fn new(lane: usize) -> Self {
        Self {
            lane,
            memory: vec![0; INPUT + OUTPUT],
            packets: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(4 * BATCH),
            runs: Vec::with_capacity(BATCH),
            output: 0,
            full: false,
            sender: Sender::default(),
        }
    }

    pub(crate) fn packet(&self, index: usize) -> &[u8] {
        let Packet { start, length, .. } = self.packets[index];
        &self.memory[start..][..length]
    }

    /// Reads the packets that wait, as many as there is room for; 0 when none waits.
    pub(crate) fn read(&mut self, engine: &Engine) -> Result<usize, Errno> {
        self.packets.clear();
        self.full = true;
        let header_len = if engine.tun.has_virtio() { VirtioHeader::LEN } else { 0 };
        let mut start = HEADROOM;
        while self.packets.len() < BATCH && start - HEADROOM + space(MAX_PACKET) <= INPUT {
            let room = &mut self.memory[start - header_len..start + MAX_PACKET];
            match engine.tun.read(self.lane, room) {
                Ok(length) => {
                    let virtio = match room.first_chunk() {
                        Some(header) if header_len > 0 => VirtioHeader::read(header),
                        _ => VirtioHeader::default(),
                    };
                    let length = length.saturating_sub(header_len);
                    self.packets.push(Packet { start, length, virtio });
                    start += space(length);
                }
                Err(Errno::EAGAIN) => {
                    self.full = false;
                    break;
                }
                // What was read goes out first; the error comes back.
                Err(_) if !self.packets.is_empty() => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(self.packets.len())
    }
}
