//! Packet buffers: fixed slots of one allocation that lives as long as its thread.

use wg_noise::{TAG_LEN, TRANSPORT_HEADER_LEN};

/// Packets or datagrams in a batch.
pub(crate) const BATCH: usize = 64;

/// Free bytes before a packet from TUN: room for the transport header, and, before that is
/// written, for the virtio header that TUN puts there with `IFF_VNET_HDR`.
pub(crate) const HEADROOM: usize = TRANSPORT_HEADER_LEN;

/// The longest packet of a TUN device and the longest UDP datagram fit this.
pub(crate) const MAX_PACKET: usize = 65535;

/// A slot holds the longest packet with its header, padding and tag. Slots are not a multiple of
/// the page size apart, so that their first bytes do not compete for the same cache sets.
const SLOT: usize = 65536 + 1024 + 64;
const _: () = assert!(HEADROOM + MAX_PACKET + 15 + TAG_LEN <= SLOT);

/// `BATCH` slots. The memory is zeroed by the kernel on first touch, so that short packets cost
/// short memory.
pub(crate) struct Slots(Vec<u8>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self(vec![0; BATCH * SLOT])
    }

    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.0[index * SLOT..][..SLOT]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.0[index * SLOT..][..SLOT]
    }

    /// All slots, in order.
    pub(crate) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        self.0.chunks_exact_mut(SLOT)
    }
}
