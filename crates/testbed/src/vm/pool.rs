//! The guests that the tests of this process share.

use std::num::NonZero;
use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, bail};

use super::Guest;

/// A guest has one processor, so a second one uses a second processor of this machine.
const MOST: usize = 2;

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), booted: 0, failure: None });
static CHANGED: Condvar = Condvar::new();

struct Pool {
    idle: Vec<&'static Guest>,
    booted: usize,
    failure: Option<String>,
}

/// A guest for as long as this lives: side by side, tests would only be in each other's way there.
pub(super) struct Turn(&'static Guest);

/// Waits for a guest that no other test uses; boots one while there may be more.
///
/// # Errors
/// As [`Guest::boot`], for every test that asks from then on.
pub(super) fn take() -> Result<Turn> {
    let most = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
    let mut pool = lock();
    loop {
        if let Some(failure) = &pool.failure {
            bail!("{failure}");
        }
        if let Some(guest) = pool.idle.pop() {
            return Ok(Turn(guest));
        }
        if pool.booted < most {
            pool.booted += 1;
            drop(pool);
            let result = Guest::boot();
            if let Err(error) = &result {
                lock().failure = Some(format!("{error:#}"));
                CHANGED.notify_all();
            }
            return result.map(|guest| Turn(Box::leak(Box::new(guest))));
        }
        pool = CHANGED.wait(pool).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Deref for Turn {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock().idle.push(self.0);
        CHANGED.notify_one();
    }
}

fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
