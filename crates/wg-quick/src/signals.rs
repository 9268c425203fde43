//! SIGINT, SIGQUIT, SIGTERM and SIGHUP, taken between steps and while a child runs.
//!
//! They are blocked and read from a descriptor, so that one that arrives at any instant is seen, and
//! none arrives in the middle of a step.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgid, getpgrp};

/// `SI_KERNEL`: the signal comes from the terminal, which sends it to the whole foreground group.
const FROM_TERMINAL: i32 = 0x80;

/// The command was interrupted by this signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {0}")]
pub(crate) struct Interrupted(pub Signal);

/// The blocked signals.
pub(crate) struct Signals {
    descriptor: SignalFd,
    /// What children start with.
    original_mask: SigSet,
    /// One that came while something was being done that had to be done first.
    held: Cell<Option<Interrupted>>,
    /// Whether what was done is being undone, which no signal ends half-way.
    undoing: Cell<bool>,
}

impl Signals {
    /// Blocks the signals. One that was ignored at the start, as under nohup, stays ignored.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub(crate) fn block() -> Result<Self, Errno> {
        let mut ours = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
            if matches!(set_action(signal, SigHandler::SigDfl)?, SigHandler::SigIgn) {
                set_action(signal, SigHandler::SigIgn)?;
            } else {
                ours.add(signal);
            }
        }
        // Were it ignored, children would vanish without a status.
        set_action(Signal::SIGCHLD, SigHandler::SigDfl)?;
        ours.add(Signal::SIGCHLD);
        let original_mask = ours.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&ours, flags)?;
        Ok(Self { descriptor, original_mask, held: Cell::new(None), undoing: Cell::new(false) })
    }

    /// From here on signals do not count: what was done is undone to the end.
    pub(crate) fn begin_undoing(&self) {
        self.undoing.set(true);
        self.held.set(None);
    }

    /// Fails when a signal asked us to stop.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        let came = || self.next_interrupt().map(|(signal, _)| Interrupted(signal));
        self.held.take().or_else(came).map_or(Ok(()), Err)
    }

    /// Starts a child with the signals as they were before we blocked them.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mask = self.original_mask;
        if self.undoing.get() {
            // The terminal's signals go to the whole of our group.
            command.process_group(0);
        }
        // SAFETY: between fork and exec the closure only calls pthread_sigmask, which is
        // async-signal-safe, on a set that it owns.
        unsafe { command.pre_exec(move || mask.thread_set_mask().map_err(io::Error::from)) };
        command.spawn()
    }

    /// Waits until the child ends.
    ///
    /// A signal to us goes on to the child and all that it started, except to those to whom the
    /// terminal has sent it as well; the child is waited for all the same, so that nothing of it
    /// runs while its work is undone.
    ///
    /// # Errors
    /// [`Interrupted`], however the child ended; or what waiting said.
    pub(crate) fn wait(&self, child: &mut Child) -> anyhow::Result<ExitStatus> {
        let mut interrupt = None;
        loop {
            while let Some((signal, from_terminal)) = self.next_interrupt() {
                interrupt.get_or_insert(Interrupted(signal));
                // It is not waited for yet, so that the number is still its own.
                pass_on(signal, from_terminal, Pid::from_raw(child.id().cast_signed()));
            }
            if let Some(status) = child.try_wait()? {
                return interrupt.map_or(Ok(status), |interrupt| Err(interrupt.into()));
            }
            let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut descriptors, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Does work that may wait for others for ever, until it is done or a signal asks us to stop; then
    /// it has `grace` to end all the same. What is not done then goes on behind our back and ends when
    /// we do.
    ///
    /// # Errors
    /// [`Interrupted`]; or that the work could not begin.
    pub(crate) fn interrupt<T: Send + 'static>(
        &self,
        grace: PollTimeout,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (done, finished) = UnixStream::pair()?;
        let worker = thread::Builder::new().spawn(move || {
            // Closed at the end, even by a panic.
            let _done = done;
            work()
        })?;
        loop {
            let mut descriptors = [
                PollFd::new(finished.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut descriptors, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut is_done = descriptors[0].any() == Some(true);
            if !is_done && let Err(interrupted) = self.check() {
                is_done = poll(&mut descriptors[..1], grace)? > 0;
                if !is_done {
                    return Err(interrupted.into());
                }
                self.held.set(Some(interrupted));
            }
            // What is done counts as done; the signal waits for the next step.
            if is_done {
                return worker.join().map_err(|panic| resume_unwind(panic));
            }
        }
    }

    /// The next signal that asks us to stop, and whether the terminal sent it. Drops SIGCHLD, and
    /// while undoing all others.
    fn next_interrupt(&self) -> Option<(Signal, bool)> {
        loop {
            let info = self.descriptor.read_signal().ok().flatten()?;
            let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
            if signal != Signal::SIGCHLD && !self.undoing.get() {
                return Some((signal, info.ssi_code == FROM_TERMINAL));
            }
        }
    }
}

fn set_action(signal: Signal, handler: SigHandler) -> Result<SigHandler, Errno> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is SIG_DFL or SIG_IGN, so no code of ours runs in signal context.
    Ok(unsafe { sigaction(signal, &action) }?.handler())
}

/// Sends a signal to a process and its descendants, once to each; not to those of our own process
/// group when the terminal has sent it to them.
///
/// A parent gets it before its children, who are looked for afterwards: while a signal is pending the
/// kernel starts no process (`copy_process` of `kernel/fork.c`), so that a child that was just being
/// started is there to be found, or is started only if the parent goes on in spite of the signal. The
/// children of before are those of a parent that ends of it at once.
fn pass_on(signal: Signal, from_terminal: bool, root: Pid) {
    let mut waiting = vec![root];
    let mut reached = HashSet::new();
    while let Some(pid) = waiting.pop() {
        if !reached.insert(pid) {
            continue;
        }
        waiting.extend(children(pid));
        if !(from_terminal && getpgid(Some(pid)) == Ok(getpgrp())) {
            // One that has ended in the meantime needs no signal.
            let _ = kill(pid, signal);
        }
        waiting.extend(children(pid));
    }
}

/// The children of a process, from `/proc`; none where that is not mounted.
fn children(parent: Pid) -> Vec<Pid> {
    let is_child = |stat: &str| -> Option<bool> {
        // The name, in parentheses, may hold anything; the parent is the second field after it.
        let field = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        Some(field.parse() == Ok(parent.as_raw()))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            is_child(&stat)?.then_some(Pid::from_raw(pid))
        })
        .collect()
}
