//! Whose turn it is among the workers of a lane's direction.
//!
//! One worker reads at a time, several work on what they have read, and what they have made goes
//! on in the order in which it was read. A worker that has read all there was keeps the right to
//! read the next: the others sleep until one is not enough, and cost nothing before.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Shared by the workers of one direction of a lane.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    may_read: Condvar,
    turn_came: Condvar,
}

#[derive(Default)]
struct State {
    /// Some worker has the right to read.
    has_reader: bool,
    /// How many batches were read, and how many of them have had their turn.
    read: u64,
    passed: u64,
    /// Workers that sleep: whom nobody waits for, nobody is woken for.
    waiting_to_read: usize,
    waiting_for_turn: usize,
}

/// The right to read, until this is dropped.
pub(crate) struct Reader<'a>(&'a Turns);

/// The place of one batch among those that were read. Dropping it lets the next one have its
/// turn, in order also where a worker failed before its own had come.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    /// Waits for the right to read.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let mut state = self.lock();
        state.waiting_to_read += 1;
        let mut state = self
            .may_read
            .wait_while(state, |state| state.has_reader)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting_to_read -= 1;
        state.has_reader = true;
        Reader(self)
    }

    /// The place of the batch that was just read by who has the right to read.
    pub(crate) fn turn(&self) -> Turn<'_> {
        let mut state = self.lock();
        state.read += 1;
        Turn { turns: self, number: state.read - 1 }
    }

    /// A worker that panics does not do so with the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Reader<'a> {
    /// The place of the batch that was just read.
    pub(crate) fn turn(&self) -> Turn<'a> {
        self.0.turn()
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_reader = false;
        let wake = state.waiting_to_read > 0;
        drop(state);
        if wake {
            self.0.may_read.notify_one();
        }
    }
}

impl Turn<'_> {
    /// Waits until all batches before have had their turn; it lasts until this is dropped.
    pub(crate) fn wait(&self) {
        drop(self.wait_locked());
    }

    fn wait_locked(&self) -> MutexGuard<'_, State> {
        let mut state = self.turns.lock();
        if state.passed == self.number {
            return state;
        }
        state.waiting_for_turn += 1;
        let mut state = self
            .turns
            .turn_came
            .wait_while(state, |state| state.passed != self.number)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting_for_turn -= 1;
        state
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.wait_locked();
        state.passed += 1;
        let wake = state.waiting_for_turn > 0;
        drop(state);
        if wake {
            // Only one of them is next, and it cannot be told which sleeps first.
            self.turns.turn_came.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const WORKERS: usize = 4;
    const BATCHES: usize = 20_000;

    /// Lets workers read the numbers up to `BATCHES` and returns them as they came out. Work
    /// takes now longer, now shorter; `fails` says on which number a worker panics before its
    /// turn.
    fn forward(
        keep: impl Fn(usize) -> bool + Sync,
        fails: impl Fn(usize) -> bool + Sync,
    ) -> Vec<usize> {
        let (turns, source, out) = (Turns::default(), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            let mut kept = None;
            loop {
                let reader = kept.take().unwrap_or_else(|| turns.reader());
                let number = source.fetch_add(1, Ordering::Relaxed);
                if number >= BATCHES {
                    return;
                }
                let turn = reader.turn();
                kept = keep(number).then_some(reader);
                for _ in 0..number % 7 {
                    thread::yield_now();
                }
                if fails(number) {
                    // Not the hook, which would print it.
                    resume_unwind(Box::new(number));
                }
                turn.wait();
                out.lock().unwrap().push(number);
            }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| while catch_unwind(AssertUnwindSafe(work)).is_err() {});
            }
        });
        out.into_inner().unwrap()
    }

    #[test]
    fn what_several_work_on_comes_out_in_order() {
        for every in [1, 3, BATCHES] {
            let out = forward(|number| number % every != 0, |_| false);
            assert!(out.iter().copied().eq(0..BATCHES));
        }
    }

    #[test]
    fn a_worker_that_fails_passes_its_turn_on() {
        for keep in [false, true] {
            let out = forward(|_| keep, |number| number % 5 == 3);
            assert!(out.iter().copied().eq((0..BATCHES).filter(|number| number % 5 != 3)));
        }
    }

    #[test]
    fn one_that_fails_before_its_turn_does_not_let_the_next_go_first() {
        let turns = Turns::default();
        let reader = turns.reader();
        let [first, second, third] = [reader.turn(), reader.turn(), reader.turn()];
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let tell = sender.clone();
            scope.spawn(move || {
                third.wait();
                tell.send("third").unwrap();
            });
            // Gives up its turn as a panic would, and has to wait for it.
            scope.spawn(move || drop(second));
            first.wait();
            sender.send("first").unwrap();
            drop(first);
        });
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["first", "third"]);
    }

    #[test]
    fn who_has_read_all_there_was_reads_on() {
        let turns = Turns::default();
        let readers = AtomicUsize::new(0);
        thread::scope(|scope| {
            let first = turns.reader();
            scope.spawn(|| {
                let _second = turns.reader();
                assert_eq!(readers.load(Ordering::Relaxed), 3);
            });
            for _ in 0..3 {
                drop(first.turn());
                readers.fetch_add(1, Ordering::Relaxed);
            }
            drop(first);
        });
    }
}
