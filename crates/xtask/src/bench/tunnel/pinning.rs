//! Processes and threads on a processor of their own.

use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Calls `function` in a thread that may run on processor `cpu` alone, as may all that it starts;
/// without a processor, in this thread.
///
/// # Errors
/// When there is no such processor, or those of `function`.
///
/// # Panics
/// When `function` does.
pub(super) fn on<T: Send>(
    cpu: Option<usize>,
    function: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(cpu) = cpu else { return function() };
    let pinned = || {
        let mut set = CpuSet::new();
        set.set(cpu)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
            .with_context(|| format!("cannot run on processor {cpu} alone"))?;
        function()
    };
    match thread::scope(|scope| scope.spawn(pinned).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The processors that this thread may run on, in order.
///
/// # Errors
/// The kernel's.
pub(super) fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_is_bound() {
        let before = allowed().expect("a thread may know its processors");
        let cpu = before[0];
        assert_eq!(on(Some(cpu), allowed).ok(), Some(vec![cpu]));
        assert_eq!(on(None, allowed).ok(), Some(before));
        assert!(on(Some(CpuSet::count()), allowed).is_err());
    }
}
