//! Packet buffers: fixed slots of one allocation that lives as long as its thread.

/// Packets or datagrams in a batch.
pub(crate) const BATCH: usize = 64;

/// The longest packet of a TUN device and the longest UDP datagram fit this.
pub(crate) const MAX_PACKET: usize = 65535;

/// Slots are not a multiple of the page size apart, so that their first bytes do not compete for
/// the same cache sets.
const SLOT: usize = 65536 + 1024 + 64;

/// `BATCH` slots. The memory is zeroed by the kernel on first touch, so that short packets cost
/// short memory.
pub(crate) struct Slots(Vec<u8>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self(vec![0; BATCH * SLOT])
    }

    /// Where slot `index` begins.
    pub(crate) fn start(index: usize) -> usize {
        index * SLOT
    }

    /// All slots in one.
    pub(crate) fn memory(&self) -> &[u8] {
        &self.0
    }

    /// All slots in one.
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// All slots, in order.
    pub(crate) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        self.0.chunks_exact_mut(SLOT)
    }
}
