//! Errors that a healthy kernel seldom gives, put into the running daemon's system calls by strace.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Host, eventually, packages};

use crate::faults::{logged, logging_pair, ping_once, recovers};
use crate::pair::{Pair, WG};
use crate::privileges::{status_word, threads};
use crate::{PATIENCE, uapi};

const TUN: Option<&str> = Some("/dev/net/tun");

/// A strace that makes system calls of a host's daemon fail, until it is dropped.
struct Injection(Child);

impl Injection {
    /// `calls` as strace names them, with commas, on the file at `path` only if there is one;
    /// `error` as in `errno.h`.
    fn start(host: &Host, calls: &str, path: Option<&str>, error: &str) -> Result<Self> {
        packages::ensure(&["strace"])?;
        let threads = threads(host)?;
        let strace = Command::new("strace")
            .args(["--follow-forks", "--quiet=all", "--output=/dev/null"])
            .arg(format!("--trace={calls}"))
            .arg(format!("--inject={calls}:error={error}"))
            .args(path.map(|path| format!("--trace-path={path}")))
            .arg(format!("--attach={}", threads[0]))
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start strace")?;
        let injection = Self(strace);
        let tracer = injection.0.id().to_string();
        let is_traced = |thread: &Pid| {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok();
            // One that is no more has met the error at once.
            status.is_none_or(|status| {
                status_word(&status, "TracerPid:").is_ok_and(|word| word == tracer)
            })
        };
        eventually("strace", PATIENCE, || threads.iter().all(is_traced).then_some(()))?;
        Ok(injection)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // It lets go of the daemon, and has ended already where that has.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Nothing gets through while the error lasts; then all is as before.
fn outlived(
    pair: &Pair,
    calls: &str,
    path: Option<&str>,
    error: &str,
    message: &str,
) -> Result<()> {
    let injection = Injection::start(&pair.a, calls, path, error)?;
    eventually("the calls to fail", PATIENCE, || (!ping_once(pair).ok()?).then_some(()))?;
    logged(&pair.a, message)?;
    drop(injection);
    recovers(pair).with_context(|| format!("{calls}: {error}"))
}

#[test]
fn errors_of_the_sockets_are_told_and_outlived() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    for (error, reason) in [
        ("ENOBUFS", "No buffer space available"),
        ("ENOMEM", "Out of memory"),
        ("EPERM", "Operation not permitted"),
        ("ENETUNREACH", "Network is unreachable"),
        ("EHOSTUNREACH", "No route to host"),
    ] {
        let message = format!("cannot send to 192.0.2.2:2222: {reason}");
        outlived(&pair, "sendmsg,sendmmsg", None, error, &message)?;
    }
    for (error, reason) in [("ENOBUFS", "No buffer space available"), ("ENOMEM", "Out of memory")] {
        let message = format!("cannot receive from the network: {reason}");
        outlived(&pair, "recvmmsg", None, error, &message)?;
    }
    Ok(())
}

#[test]
fn errors_of_the_interface_are_outlived() -> Result<()> {
    let pair = logging_pair()?;
    pair.ping()?;
    for (error, reason) in [
        ("EIO", "I/O error"),
        ("ENOBUFS", "No buffer space available"),
        ("ENOMEM", "Out of memory"),
    ] {
        let message = format!("cannot write to the interface: {reason}");
        outlived(&pair, "write,writev", TUN, error, &message)?;
    }
    let message = "cannot read from the interface: Out of memory";
    outlived(&pair, "read", TUN, "ENOMEM", message)
}

/// EBADFD is what the TUN driver says to who is not attached to an interface (any more).
#[test]
fn a_device_without_an_interface_ends_the_daemon() -> Result<()> {
    for calls in ["read", "write,writev"] {
        let pair = logging_pair()?;
        pair.ping()?;
        let injection = Injection::start(&pair.a, calls, TUN, "EBADFD")?;
        ping_once(&pair)?;
        uapi::wait_for_end(&pair.a, WG).with_context(|| calls.to_owned())?;
        drop(injection);
        let log = pair.a.read_file("/run/log")?;
        ensure!(log.contains("the interface is gone"), "{log}");
    }
    Ok(())
}
