//! The allowed IPs that the data path reads, without a lock and never half changed.
//!
//! A change is made in a second copy, which then takes the first one's place; what was done to
//! it is done to the other as well, once nobody reads that any more. So a change costs what it
//! changes, however many allowed IPs there are.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::allowed_ips::{AllowedIp, AllowedIps};

/// Allowed IPs as of the latest change.
pub(crate) struct Snapshots<T> {
    current: ArcSwap<AllowedIps<T>>,
    spare: Mutex<Option<Spare<T>>>,
}

/// The allowed IPs as they were, and what has been changed since.
struct Spare<T> {
    ips: Arc<AllowedIps<T>>,
    missing: Vec<Step<T>>,
}

/// Steps that are always fewer than it takes to copy.
const FEW_STEPS: usize = 16;

/// A prefix and its new owner.
type Step<T> = (AllowedIp, Option<T>);

/// A change in progress, which nobody sees before [`Snapshots::publish`].
pub(crate) struct Draft<T> {
    ips: AllowedIps<T>,
    /// What was done to the published ones; `None` when it is shorter to copy the result.
    steps: Option<Vec<Step<T>>>,
}

/// Allowed IPs that have had their time.
pub(crate) struct Replaced<T> {
    _published: Option<Arc<AllowedIps<T>>>,
    _spare: Option<Spare<T>>,
}

impl<T> Default for Snapshots<T> {
    fn default() -> Self {
        Self { current: ArcSwap::from_pointee(AllowedIps::default()), spare: Mutex::default() }
    }
}

impl<T: Clone> Snapshots<T> {
    /// What is published now.
    pub(crate) fn load(&self) -> Guard<Arc<AllowedIps<T>>> {
        self.current.load()
    }

    /// Begins a change of what is published. One at a time: the caller holds a lock.
    pub(crate) fn change(&self) -> Draft<T> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ips = spare.and_then(|spare| {
            let mut ips = Arc::into_inner(spare.ips)?;
            take_steps(&mut ips, spare.missing);
            Some(ips)
        });
        let ips = ips.unwrap_or_else(|| AllowedIps::clone(&self.current.load()));
        Draft { ips, steps: Some(Vec::new()) }
    }

    /// Begins with no allowed IPs at all.
    pub(crate) fn change_all(&self) -> Draft<T> {
        // It would be a third copy.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        Draft { ips: AllowedIps::default(), steps: None }
    }

    /// Puts a change in force. Returns what is of no further use, for the caller to drop when
    /// there is time.
    pub(crate) fn publish(&self, draft: Draft<T>) -> Replaced<T> {
        let Draft { ips, steps } = draft;
        let mut before = self.current.swap(Arc::new(ips));
        let (spare, published) = match steps {
            Some(steps) => {
                // At once if possible, so that removed peers are not kept.
                let missing = match Arc::get_mut(&mut before) {
                    Some(ips) => {
                        take_steps(ips, steps);
                        Vec::new()
                    }
                    None => steps,
                };
                (Some(Spare { ips: before, missing }), None)
            }
            None => (None, Some(before)),
        };
        let mut slot = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        Replaced { _published: published, _spare: std::mem::replace(&mut *slot, spare) }
    }
}

impl<T: Clone> Draft<T> {
    /// The owner of exactly this prefix.
    pub(crate) fn get(&self, ip: &AllowedIp) -> Option<&T> {
        self.ips.get(ip)
    }

    /// Gives a prefix to `owner`; returns who had it.
    pub(crate) fn insert(&mut self, ip: AllowedIp, owner: T) -> Option<T> {
        self.record(ip, Some(&owner));
        self.ips.insert(ip, owner)
    }

    /// Takes a prefix from whoever has it.
    pub(crate) fn remove(&mut self, ip: &AllowedIp) {
        self.record(*ip, None);
        self.ips.remove(ip);
    }

    fn record(&mut self, ip: AllowedIp, owner: Option<&T>) {
        let most = FEW_STEPS.max(self.ips.len() / 4);
        self.steps.take_if(|steps| steps.len() >= most);
        if let Some(steps) = &mut self.steps {
            steps.push((ip, owner.cloned()));
        }
    }
}

fn take_steps<T>(ips: &mut AllowedIps<T>, steps: Vec<Step<T>>) {
    for (ip, owner) in steps {
        match owner {
            Some(owner) => ips.insert(ip, owner),
            None => ips.remove(&ip),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn ip(number: u32) -> AllowedIp {
        AllowedIp::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 32).unwrap()
    }

    fn contents(ips: &AllowedIps<u8>) -> BTreeMap<u32, u8> {
        (0..16).filter_map(|number| Some((number, *ips.get(&ip(number))?))).collect()
    }

    proptest! {
        /// Snapshots that somebody holds for some time stay as they are.
        #[test]
        fn what_is_published_is_what_a_map_holds(
            changes in proptest::collection::vec(
                (
                    proptest::collection::vec((0..16u32, proptest::option::of(0..9u8)), 0..5),
                    prop_oneof![9 => Just(false), 1 => Just(true)],
                    0..4usize,
                ),
                0..40,
            ),
        ) {
            let snapshots = Snapshots::default();
            let mut map = BTreeMap::new();
            let mut held = Vec::new();
            for (steps, anew, hold) in changes {
                let mut draft = if anew { snapshots.change_all() } else { snapshots.change() };
                if anew {
                    map.clear();
                }
                for (number, owner) in steps {
                    match owner {
                        Some(owner) => {
                            draft.insert(ip(number), owner);
                            map.insert(number, owner);
                        }
                        None => {
                            draft.remove(&ip(number));
                            map.remove(&number);
                        }
                    }
                }
                snapshots.publish(draft);
                prop_assert_eq!(&contents(&snapshots.load()), &map);
                held.push((snapshots.load(), map.clone()));
                let first = held.len().saturating_sub(hold);
                held.drain(..first);
                for (snapshot, map) in &held {
                    prop_assert_eq!(&contents(snapshot), map);
                }
            }
        }
    }

    struct Counted<'a>(&'a AtomicUsize);

    impl Clone for Counted<'_> {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(self.0)
        }
    }

    #[test]
    fn a_small_change_copies_what_it_changes() {
        let clones = AtomicUsize::new(0);
        let snapshots = Snapshots::default();
        let insert = |from: u32, to: u32| {
            let mut draft = snapshots.change();
            (from..to).for_each(|number| _ = draft.insert(ip(number), Counted(&clones)));
            snapshots.publish(draft);
        };
        insert(0, 1000);
        insert(1000, 1001);
        clones.store(0, Ordering::Relaxed);
        for number in 1001..1011 {
            insert(number, number + 1);
        }
        assert_eq!(clones.load(Ordering::Relaxed), 10);
        assert_eq!(snapshots.load().len(), 1011);
    }

    #[test]
    fn an_owner_that_lost_its_prefix_is_let_go() {
        let snapshots = Snapshots::default();
        let owners: Vec<_> = (0..100).map(Arc::new).collect();
        let mut draft = snapshots.change();
        owners.iter().for_each(|owner| _ = draft.insert(ip(**owner), owner.clone()));
        snapshots.publish(draft);
        for owner in &owners[..10] {
            let mut draft = snapshots.change();
            draft.remove(&ip(**owner));
            snapshots.publish(draft);
            assert_eq!(Arc::strong_count(owner), 1);
        }
    }
}
