//! How a command enters a host: the namespaces of a running init, joined between fork and exec.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// The namespaces of one host, held open.
#[derive(Debug)]
pub(crate) struct Namespaces {
    network: File,
    host_name: File,
    processes: File,
    mounts: File,
}

impl Namespaces {
    /// Opens the namespaces that process `pid` lives in.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        Ok(Self {
            network: open("net")?,
            host_name: open("uts")?,
            processes: open("pid")?,
            mounts: open("mnt")?,
        })
    }

    /// Moves the calling thread alone into the network namespace.
    pub(crate) fn enter_network(&self) -> nix::Result<()> {
        setns(self.network.as_fd(), CloneFlags::CLONE_NEWNET)
    }

    /// The network namespace, to hand a link over to it.
    pub(crate) fn network(&self) -> &File {
        &self.network
    }

    /// Makes `command` run inside. Its program is looked up inside too, and its working directory
    /// is the root folder.
    pub(crate) fn join_in(self: Arc<Self>, command: &mut Command) {
        let join = move || {
            setns(self.network.as_fd(), CloneFlags::CLONE_NEWNET)?;
            setns(self.host_name.as_fd(), CloneFlags::CLONE_NEWUTS)?;
            setns(self.processes.as_fd(), CloneFlags::CLONE_NEWPID)?;
            setns(self.mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
            unignore()?;
            stand_between()
        };
        // SAFETY: between fork and exec the closure makes system calls only; it neither allocates
        // nor takes a lock.
        unsafe { command.pre_exec(join) };
    }
}

/// A shell without job control has what it starts in the background ignore some signals, tests too.
/// How they are run must not be what a test is about.
fn unignore() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the default action is no function of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    Ok(())
}

/// A process cannot change its own process namespace, only that of its children. So the process
/// that the caller knows forks once more; the child goes on to exec, and the process between
/// passes signals down and the exit status up.
fn stand_between() -> io::Result<()> {
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: this process is single-threaded, being itself just forked.
    match unsafe { fork() }? {
        ForkResult::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            mask.thread_set_mask()?;
            Ok(())
        }
        ForkResult::Parent { child } => relay(child),
    }
}

/// Waits for `child` and ends as it ended.
fn relay(child: Pid) -> ! {
    // The pipes of the command, and the one on which it reports a failed exec, must end with the
    // child alone.
    // SAFETY: nothing in this process uses a file descriptor any more.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    loop {
        let signal = SigSet::all().wait();
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => exit(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => die_of(signal),
            Err(Errno::ECHILD) => exit(127),
            _ => {}
        }
        if let Ok(signal) = signal
            && signal != Signal::SIGCHLD
        {
            let _ = kill(child, signal);
        }
    }
}

fn die_of(signal: Signal) -> ! {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // A second core file would say nothing.
    let _ = prctl::set_dumpable(false);
    // SAFETY: the default action replaces no handler that anybody relies on.
    let _ = unsafe { sigaction(signal, &default) };
    let _ = SigSet::empty().thread_set_mask();
    let _ = kill(Pid::this(), signal);
    exit(128 + signal as i32)
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running what its parent registered for its own exit.
    unsafe { libc::_exit(code) }
}
