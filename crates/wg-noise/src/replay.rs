//! The window of counters already seen (RFC 6479).

use crate::constants::REJECT_AFTER_MESSAGES;

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = 128;

/// How far behind the newest counter a message may lie. One word less than the 8192 bits of the
/// bitmap, since the newest counter's word is cleared as a whole (kernel:
/// `COUNTER_WINDOW_SIZE`).
pub(crate) const WINDOW: u64 = (WORDS as u64 - 1) * WORD_BITS;

/// Which of the last 8192 counters were seen.
pub(crate) struct ReplayWindow {
    /// One more than the newest counter seen.
    next: u64,
    /// A ring: the bit of counter `c` is bit `c % 64` of word `c / 64 % WORDS`.
    bitmap: [u64; WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        Self { next: 0, bitmap: [0; WORDS] }
    }

    /// Marks an authenticated counter; `false` when it was seen before, lies behind the window
    /// or is one that no sender may use.
    pub(crate) fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES || counter.saturating_add(WINDOW + 1) < self.next {
            return false;
        }
        let word = counter / WORD_BITS;
        if counter >= self.next {
            let newest_word = self.next.saturating_sub(1) / WORD_BITS;
            for entered in (newest_word + 1..=word).rev().take(WORDS) {
                self.bitmap[slot(entered)] = 0;
            }
            self.next = counter + 1;
        }
        let bit = 1 << (counter % WORD_BITS);
        let seen = &mut self.bitmap[slot(word)];
        let fresh = *seen & bit == 0;
        *seen |= bit;
        fresh
    }
}

fn slot(word: u64) -> usize {
    // The remainder is below WORDS, so it fits.
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Remembers every counter it ever accepted.
    #[derive(Default)]
    struct Naive {
        seen: BTreeSet<u64>,
    }

    impl Naive {
        fn accept(&mut self, counter: u64) -> bool {
            let behind =
                self.seen.last().is_some_and(|&newest| newest.saturating_sub(counter) > WINDOW);
            counter < REJECT_AFTER_MESSAGES && !behind && self.seen.insert(counter)
        }
    }

    /// Steps relative to the newest counter so far: mostly near, sometimes at the window's edges
    /// or far beyond.
    fn step() -> impl Strategy<Value = i64> {
        let window = WINDOW as i64;
        prop_oneof![
            4 => -70i64..70,
            2 => -window - 70..-window + 70,
            1 => window - 70..window + 70,
            1 => -3 * window..3 * window,
            1 => Just(i64::MIN),
            1 => Just(i64::MAX),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(
            start in prop_oneof![Just(0), Just(REJECT_AFTER_MESSAGES - 100), any::<u64>()],
            steps in proptest::collection::vec(step(), 1..300),
        ) {
            let (mut window, mut naive) = (ReplayWindow::new(), Naive::default());
            let mut newest = start;
            for step in steps {
                let counter = newest.saturating_add_signed(step);
                prop_assert_eq!(window.accept(counter), naive.accept(counter), "{}", counter);
                newest = naive.seen.last().copied().unwrap_or(start);
            }
        }
    }

    #[test]
    fn each_counter_counts_once_whatever_the_order() {
        let mut window = ReplayWindow::new();
        for counter in (0..WINDOW).rev() {
            assert!(window.accept(counter));
        }
        for counter in 0..WINDOW {
            assert!(!window.accept(counter));
        }
    }

    #[test]
    fn the_window_ends_where_the_kernels_does() {
        /// `COUNTER_WINDOW_SIZE` of its `messages.h`.
        const KERNELS: u64 = 8192 - 64;
        for newest in [KERNELS, KERNELS + 1, 20_000, 20_031] {
            let mut window = ReplayWindow::new();
            assert!(window.accept(newest));
            assert!(window.accept(newest - KERNELS));
            if let Some(behind) = newest.checked_sub(KERNELS + 1) {
                assert!(!window.accept(behind));
            }
        }
    }

    #[test]
    fn counters_that_no_sender_may_use_are_refused() {
        let mut window = ReplayWindow::new();
        assert!(window.accept(REJECT_AFTER_MESSAGES - 1));
        for counter in [REJECT_AFTER_MESSAGES, u64::MAX, 0] {
            assert!(!window.accept(counter));
        }
    }
}
