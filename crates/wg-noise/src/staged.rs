//! Packets that wait for a session.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::constants::MAX_STAGED_PACKETS;

/// A peer's staged packets, oldest first, at most [`MAX_STAGED_PACKETS`].
#[derive(Default)]
pub(crate) struct Staged {
    packets: Mutex<VecDeque<Box<[u8]>>>,
    /// Read by the data path instead of taking the lock.
    any: AtomicBool,
}

impl Staged {
    pub(crate) fn push(&self, packet: &[u8]) {
        let packet = packet.into();
        let mut packets = self.lock();
        if packets.len() == MAX_STAGED_PACKETS {
            packets.pop_front();
        }
        packets.push_back(packet);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Vec<Box<[u8]>> {
        let mut packets = self.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *packets).into()
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<[u8]>>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
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
}
