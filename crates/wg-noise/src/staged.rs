//! Packets that wait for a session.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::constants::{MAX_STAGED_BYTES, MAX_STAGED_PACKETS};

/// What the peers of one interface may stage together: [`MAX_STAGED_BYTES`].
///
/// Each may stage 128 packets, but a host that sends to a hundred thousand peers of whom none
/// answers must not fill the memory.
#[derive(Debug, Default)]
pub struct StagingBudget(AtomicUsize);

/// A peer's staged packets, oldest first, at most [`MAX_STAGED_PACKETS`].
#[derive(Default)]
pub(crate) struct Staged {
    packets: Mutex<VecDeque<Box<[u8]>>>,
    /// Read by the data path instead of taking the lock.
    any: AtomicBool,
    budget: Arc<StagingBudget>,
}

impl Staged {
    pub(crate) fn new(budget: Arc<StagingBudget>) -> Self {
        Self { packets: Mutex::default(), any: AtomicBool::new(false), budget }
    }

    /// Keeps a copy. The oldest gives way when there are too many, and as many of the oldest as
    /// it takes when the budget is used up; if others have used it all, the packet is dropped.
    pub(crate) fn push(&self, packet: &[u8]) {
        let mut packets = self.lock();
        if packets.len() == MAX_STAGED_PACKETS {
            self.drop_oldest(&mut packets);
        }
        while !self.budget.take(cost(packet)) {
            if !self.drop_oldest(&mut packets) {
                return;
            }
        }
        packets.push_back(packet.into());
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Vec<Box<[u8]>> {
        let mut packets = self.lock();
        self.any.store(false, Ordering::Release);
        let packets: Vec<_> = std::mem::take(&mut *packets).into();
        self.budget.give_back(packets.iter().map(|packet| cost(packet)).sum());
        packets
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// `false` when there is none.
    fn drop_oldest(&self, packets: &mut VecDeque<Box<[u8]>>) -> bool {
        let Some(oldest) = packets.pop_front() else { return false };
        self.budget.give_back(cost(&oldest));
        self.any.store(!packets.is_empty(), Ordering::Release);
        true
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<[u8]>>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.take();
    }
}

/// Bytes of memory for a packet, about: with the list's entry and what the allocator adds.
fn cost(packet: &[u8]) -> usize {
    packet.len() + 32
}

impl StagingBudget {
    /// `false` when so many bytes are not left.
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| Some(used + bytes).filter(|used| *used <= MAX_STAGED_BYTES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_128_gives_way() {
        let staged = Staged::default();
        assert!(!staged.any());
        for i in 0..130u8 {
            staged.push(&[i]);
        }
        assert!(staged.any());
        let packets = staged.take();
        assert_eq!(packets.len(), MAX_STAGED_PACKETS);
        assert!(packets.iter().zip(2..130u8).all(|(packet, i)| **packet == [i]));
        assert!(!staged.any());
        assert!(staged.take().is_empty());
    }

    #[test]
    fn all_peers_together_have_a_bound() {
        let budget = Arc::new(StagingBudget::default());
        let packet = vec![0; 65_504];
        let peers: Vec<_> = (0..8).map(|_| Staged::new(budget.clone())).collect();
        for peer in &peers {
            (0..MAX_STAGED_PACKETS).for_each(|_| peer.push(&packet));
        }
        let used = budget.0.load(Ordering::Relaxed);
        assert!(used <= MAX_STAGED_BYTES && used > MAX_STAGED_BYTES - cost(&packet), "{used}");
        let last = peers.last().unwrap();
        assert!(!last.any(), "the others have used it all");
        peers[0].push(&[7]);
        let packets = peers[0].take();
        assert_eq!(packets.last().map(|last| &**last), Some(&[7][..]), "the newest is kept");
        last.push(&packet);
        assert!(last.any(), "what others have sent is free again");
        drop(peers);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_gave_way_in_vain_is_staged_no_more() {
        let staged = Staged::default();
        staged.push(&[8]);
        assert!(staged.budget.take(MAX_STAGED_BYTES - cost(&[8])), "others use all the rest");
        staged.push(&[8, 9]);
        assert!(!staged.any());
        assert!(staged.take().is_empty());
    }
}
