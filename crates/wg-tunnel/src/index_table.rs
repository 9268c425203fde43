//! Receiver indices: from the 32 bits in a message to the peer that gave them out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwapOption;
use wg_noise::{IndexTable, LocalIndex};

use crate::peer::Peer;
use crate::permutation::Permutation;

/// Bits of an index that name its slot.
const SLOT_BITS: u32 = 22;
const SLOTS: usize = 1 << SLOT_BITS;
const CHUNK: usize = 1 << 10;
/// Three keypairs and a handshake for each of 2^20 peers would fill every slot; random choice
/// needs some of them free.
const MAX_USED: usize = SLOTS / 4 * 3;
/// Slots among which one is chosen, for each one in use: memory grows with use.
const SPREAD: usize = 4;

/// A lock-free table. The low bits of a number name its slot, of which few are used while there
/// are few peers; the others are random. The index that others see is the number in disguise, so
/// that it shows nothing of that.
///
/// Chunks of slots are made on first use and stay.
pub(crate) struct Indices {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    used: AtomicUsize,
    disguise: Permutation,
}

type Slot = ArcSwapOption<Entry>;

struct Entry {
    index: u32,
    /// Weak, because the peer owns the index and not the other way round.
    peer: Weak<Peer>,
}

impl Indices {
    pub(crate) fn new() -> Arc<Self> {
        let chunks = std::iter::repeat_with(OnceLock::new).take(SLOTS / CHUNK).collect();
        Arc::new(Self { chunks, used: AtomicUsize::new(0), disguise: Permutation::new() })
    }

    /// A new random index that leads to `peer`; `None` when the table is full.
    pub(crate) fn allocate(self: &Arc<Self>, peer: &Arc<Peer>) -> Option<LocalIndex> {
        let used = self.used.fetch_add(1, Ordering::Relaxed);
        if used >= MAX_USED {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let slots = (used * SPREAD).next_power_of_two().clamp(CHUNK, SLOTS) as u32;
        loop {
            let random = getrandom::u32().expect("the system has randomness");
            let number = (random & !(SLOTS as u32 - 1)) | (random & (slots - 1));
            let index = self.disguise.apply(number);
            let entry = Arc::new(Entry { index, peer: Arc::downgrade(peer) });
            let slot = self.slot_or_new(index);
            let before = slot.compare_and_swap(&None::<Arc<Entry>>, Some(entry));
            if before.is_none() {
                return Some(LocalIndex::new(index, self.clone()));
            }
        }
    }

    /// The peer that gave out `index`.
    pub(crate) fn find(&self, index: u32) -> Option<Arc<Peer>> {
        let (chunk, slot) = self.place(index);
        let slot = &self.chunks[chunk].get()?[slot];
        let entry = slot.load();
        let entry = entry.as_ref()?;
        (entry.index == index).then(|| entry.peer.upgrade()).flatten()
    }

    fn slot_or_new(&self, index: u32) -> &Slot {
        let (chunk, slot) = self.place(index);
        let chunk = self.chunks[chunk]
            .get_or_init(|| std::iter::repeat_with(ArcSwapOption::empty).take(CHUNK).collect());
        &chunk[slot]
    }

    /// The chunk of an index, and the slot in it.
    fn place(&self, index: u32) -> (usize, usize) {
        let slot = self.disguise.invert(index) as usize % SLOTS;
        (slot / CHUNK, slot % CHUNK)
    }
}

impl IndexTable for Indices {
    fn release(&self, index: u32) {
        self.slot_or_new(index).store(None);
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn peer(byte: u8) -> Arc<Peer> {
        Arc::new(Peer::new([byte; 32].into(), Arc::default(), None))
    }

    #[test]
    fn an_index_leads_to_its_peer_until_it_is_dropped() {
        let indices = Indices::new();
        let (a, b) = (peer(1), peer(2));
        let of_a = indices.allocate(&a).unwrap();
        let of_b = indices.allocate(&b).unwrap();
        assert!(Arc::ptr_eq(&indices.find(of_a.value()).unwrap(), &a));
        assert!(Arc::ptr_eq(&indices.find(of_b.value()).unwrap(), &b));
        assert!(indices.find(of_a.value() ^ 1 << 31).is_none());
        let gone = of_a.value();
        drop(of_a);
        assert!(indices.find(gone).is_none());
        assert_eq!(indices.used.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_index_does_not_keep_its_peer_alive() {
        let indices = Indices::new();
        let peer = peer(1);
        let index = indices.allocate(&peer).unwrap();
        drop(peer);
        assert!(indices.find(index.value()).is_none());
    }

    #[test]
    fn ten_thousand_indices_differ_in_their_slots() {
        let indices = Indices::new();
        let peer = peer(1);
        let all: Vec<_> = (0..10_000).map(|_| indices.allocate(&peer).unwrap()).collect();
        let slots: HashSet<_> = all.iter().map(|i| indices.place(i.value())).collect();
        assert_eq!(slots.len(), all.len());
        drop(all);
        assert_eq!(indices.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn every_bit_of_an_index_differs() {
        let indices = Indices::new();
        let peer = peer(1);
        let all: Vec<_> = (0..100).map(|_| indices.allocate(&peer).unwrap()).collect();
        let values = || all.iter().map(|index| index.value());
        assert_eq!(values().fold(0, |bits, value| bits | value), u32::MAX);
        assert_eq!(values().fold(u32::MAX, |bits, value| bits & value), 0);
    }

    #[test]
    fn threads_allocate_find_and_release_at_once() {
        let indices = Indices::new();
        std::thread::scope(|scope| {
            for byte in 0..4 {
                let indices = &indices;
                scope.spawn(move || {
                    let peer = peer(byte);
                    for _ in 0..2000 {
                        let index = indices.allocate(&peer).unwrap();
                        assert!(Arc::ptr_eq(&indices.find(index.value()).unwrap(), &peer));
                    }
                });
            }
        });
        assert_eq!(indices.used.load(Ordering::Relaxed), 0);
    }
}
