//! A peer's keypairs: previous, current and next (paper, section 6.3; kernel:
//! `add_new_keypair` and `wg_noise_received_with_keypair`).

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use crate::keypair::Keypair;
use crate::time::Instant;

/// The snapshot that the data path reads, replaced as a whole.
pub(crate) struct Keypairs(ArcSwap<Slots>);

/// One for all peers without a session, of whom there may be a hundred thousand.
static EMPTY: LazyLock<Arc<Slots>> = LazyLock::new(Arc::default);

#[derive(Default, Clone)]
struct Slots {
    /// For messages that were on their way when `current` came.
    previous: Option<Arc<Keypair>>,
    /// The one to send with.
    current: Option<Arc<Keypair>>,
    /// Ours as responder, not to be used before the initiator has shown that it has the keys.
    next: Option<Arc<Keypair>>,
}

impl Default for Keypairs {
    fn default() -> Self {
        Self(ArcSwap::new(EMPTY.clone()))
    }
}

impl Keypairs {
    pub(crate) fn current(&self) -> Option<Arc<Keypair>> {
        self.0.load().current.clone()
    }

    pub(crate) fn is_current(&self, keypair: &Keypair) -> bool {
        self.0.load().current.as_ref().is_some_and(|current| std::ptr::eq(&**current, keypair))
    }

    pub(crate) fn with_local_index(&self, index: u32) -> Option<Arc<Keypair>> {
        let slots = self.0.load();
        [&slots.current, &slots.previous, &slots.next]
            .into_iter()
            .flatten()
            .find(|keypair| keypair.local_index() == index)
            .cloned()
    }

    /// Puts a keypair from our own handshake, begun at `initiated`, in its place: current, at
    /// once. An unconfirmed `next`, which the peer may have begun to use, becomes previous instead
    /// of the old current.
    ///
    /// When both sides initiated at once, there are two new sessions. The side that `yields`
    /// leaves the peer's in `next`, so that it follows as soon as the peer uses it; else each
    /// would go on to renew a session of its own. The kernel does not come here: it forgets its
    /// initiation when it answers another, and both sides then wait for a retransmission.
    pub(crate) fn add_initiated(&self, keypair: &Arc<Keypair>, initiated: Instant, yields: bool) {
        self.0.rcu(|slots| {
            let Slots { current, next, .. } = &**slots;
            let collided = born(next) >= Some(initiated);
            // Only one that the peer never came to use can be older than current.
            let unconfirmed = born(next) > born(current);
            let (previous, next) = match next {
                Some(_) if collided && yields => (current, next.clone()),
                Some(_) if collided || unconfirmed => (next, None),
                _ => (current, None),
            };
            Slots { previous: previous.clone(), current: Some(Arc::clone(keypair)), next }
        });
    }

    /// Puts a keypair from a handshake that we answered in its place: `next`. No older one is
    /// kept besides the current.
    pub(crate) fn add_answered(&self, keypair: &Arc<Keypair>) {
        self.0.rcu(|slots| Slots {
            previous: None,
            current: slots.current.clone(),
            next: Some(Arc::clone(keypair)),
        });
    }

    /// Makes `keypair` the current one if it is `next`; whether it was.
    pub(crate) fn confirm(&self, keypair: &Arc<Keypair>) -> bool {
        if !self.0.load().is_next(keypair) {
            return false;
        }
        let before = self.0.rcu(|slots| {
            if !slots.is_next(keypair) {
                return Arc::clone(slots);
            }
            let previous = slots.current.clone();
            Arc::new(Slots { previous, current: slots.next.clone(), next: None })
        });
        before.is_next(keypair)
    }

    pub(crate) fn clear(&self) {
        if !Arc::ptr_eq(&self.0.load(), &EMPTY) {
            self.0.store(EMPTY.clone());
        }
    }
}

fn born(slot: &Option<Arc<Keypair>>) -> Option<Instant> {
    slot.as_ref().map(|keypair| keypair.born())
}

impl Slots {
    fn is_next(&self, keypair: &Arc<Keypair>) -> bool {
        self.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, keypair))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wg_cipher::TransportKey;

    use super::*;
    use crate::handshake::SessionKeys;
    use crate::index::{IndexTable, LocalIndex};

    #[derive(Default)]
    struct Released(Mutex<Vec<u32>>);

    impl IndexTable for Released {
        fn release(&self, index: u32) {
            self.0.lock().unwrap().push(index);
        }
    }

    struct Fixture {
        keypairs: Keypairs,
        released: Arc<Released>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { keypairs: Keypairs::default(), released: Arc::default() }
        }

        /// A keypair from our own handshake, which took from `initiated` to `now`.
        fn initiated(&self, index: u32, initiated: u64, now: u64, yields: bool) -> Arc<Keypair> {
            let keypair = self.keypair(index, true, now);
            self.keypairs.add_initiated(&keypair, Instant::from_nanos(initiated), yields);
            keypair
        }

        fn answered(&self, index: u32, now: u64) -> Arc<Keypair> {
            let keypair = self.keypair(index, false, now);
            self.keypairs.add_answered(&keypair);
            keypair
        }

        fn keypair(&self, index: u32, initiator: bool, now: u64) -> Arc<Keypair> {
            let keys = SessionKeys {
                sending: TransportKey::new(&[1; 32]),
                receiving: TransportKey::new(&[2; 32]),
                remote_index: 0,
            };
            let index = LocalIndex::new(index, self.released.clone());
            Arc::new(Keypair::new(index, keys, initiator, Instant::from_nanos(now)))
        }

        /// Local indices in the slots previous, current and next; 0 for an empty one.
        fn slots(&self) -> [u32; 3] {
            let slots = self.keypairs.0.load();
            [&slots.previous, &slots.current, &slots.next]
                .map(|slot| slot.as_ref().map_or(0, |keypair| keypair.local_index()))
        }

        fn released(&self) -> Vec<u32> {
            std::mem::take(&mut *self.released.0.lock().unwrap())
        }
    }

    #[test]
    fn the_initiators_keypair_is_current_at_once() {
        for yields in [false, true] {
            let fixture = Fixture::new();
            fixture.initiated(1, 10, 11, yields);
            assert_eq!(fixture.slots(), [0, 1, 0]);
            fixture.initiated(2, 20, 21, yields);
            assert_eq!(fixture.slots(), [1, 2, 0]);
            fixture.initiated(3, 30, 31, yields);
            assert_eq!(fixture.slots(), [2, 3, 0]);
            assert_eq!(fixture.released(), [1]);
        }
    }

    #[test]
    fn the_responders_keypair_waits_for_confirmation() {
        let fixture = Fixture::new();
        let first = fixture.answered(1, 10);
        assert_eq!(fixture.slots(), [0, 0, 1]);
        assert!(fixture.keypairs.confirm(&first));
        assert!(!fixture.keypairs.confirm(&first));
        assert_eq!(fixture.slots(), [0, 1, 0]);
        let second = fixture.answered(2, 20);
        assert_eq!(fixture.slots(), [0, 1, 2]);
        assert!(!fixture.keypairs.confirm(&first));
        assert!(fixture.keypairs.confirm(&second));
        assert_eq!(fixture.slots(), [1, 2, 0]);
        assert!(fixture.keypairs.is_current(&second) && !fixture.keypairs.is_current(&first));
    }

    #[test]
    fn a_second_response_replaces_next_and_drops_previous() {
        let fixture = Fixture::new();
        fixture.initiated(1, 10, 11, false);
        fixture.initiated(2, 20, 21, false);
        let lost = fixture.answered(3, 30);
        assert_eq!(fixture.slots(), [0, 2, 3]);
        fixture.answered(4, 40);
        assert_eq!(fixture.slots(), [0, 2, 4]);
        assert!(!fixture.keypairs.confirm(&lost));
        assert_eq!(fixture.slots(), [0, 2, 4]);
    }

    #[test]
    fn an_unconfirmed_next_outlives_current_when_our_own_handshake_ends() {
        for yields in [false, true] {
            let fixture = Fixture::new();
            fixture.initiated(1, 10, 11, yields);
            fixture.answered(2, 20);
            fixture.initiated(3, 30, 31, yields);
            assert_eq!(fixture.slots(), [2, 3, 0]);
            assert_eq!(fixture.released(), [1]);
        }
    }

    #[test]
    fn the_side_that_yields_follows_when_both_initiated_at_once() {
        let fixture = Fixture::new();
        fixture.initiated(1, 10, 11, true);
        let theirs = fixture.answered(2, 25);
        fixture.initiated(3, 20, 30, true);
        assert_eq!(fixture.slots(), [1, 3, 2]);
        assert!(fixture.keypairs.confirm(&theirs));
        assert_eq!(fixture.slots(), [3, 2, 0]);

        // Theirs came at the very instant at which ours left.
        let fixture = Fixture::new();
        fixture.answered(2, 20);
        fixture.initiated(3, 20, 30, true);
        assert_eq!(fixture.slots(), [0, 3, 2]);
    }

    #[test]
    fn the_side_that_does_not_yield_only_receives_with_theirs() {
        let fixture = Fixture::new();
        fixture.initiated(1, 10, 11, false);
        let theirs = fixture.answered(2, 25);
        fixture.initiated(3, 20, 30, false);
        assert_eq!(fixture.slots(), [2, 3, 0]);
        assert!(!fixture.keypairs.confirm(&theirs));
    }

    #[test]
    fn a_next_that_the_peer_never_used_gives_way_to_current() {
        let fixture = Fixture::new();
        fixture.answered(1, 25);
        fixture.initiated(2, 20, 30, true);
        assert_eq!(fixture.slots(), [0, 2, 1]);
        fixture.initiated(3, 150, 151, true);
        assert_eq!(fixture.slots(), [2, 3, 0]);
    }

    #[test]
    fn all_three_are_found_by_index_until_cleared() {
        let fixture = Fixture::new();
        fixture.answered(1, 25);
        fixture.initiated(2, 20, 30, true);
        for index in [1, 2] {
            assert_eq!(fixture.keypairs.with_local_index(index).unwrap().local_index(), index);
        }
        fixture.initiated(3, 40, 41, true);
        assert_eq!(fixture.keypairs.with_local_index(2).unwrap().local_index(), 2);
        assert!(fixture.keypairs.with_local_index(1).is_none());
        fixture.answered(4, 50);
        fixture.initiated(5, 45, 51, true);
        assert_eq!(fixture.slots(), [3, 5, 4]);
        fixture.keypairs.clear();
        assert_eq!(fixture.slots(), [0; 3]);
        assert_eq!(fixture.released().len(), 5);
    }
}
