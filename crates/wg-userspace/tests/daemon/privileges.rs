//! What a running daemon may still do, and what not, as its own threads find out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use testbed::{Host, eventually};
use wg_control::DeviceUpdate;

use crate::{PATIENCE, uapi};

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, and CAP_IPC_LOCK where memory is locked by it.
const CAPABILITIES: [u64; 2] = [1 << 10 | 1 << 12, 1 << 10 | 1 << 12 | 1 << 14];

/// The threads of the host's only daemon, as this process sees them; the first is the main one.
pub(crate) fn threads(host: &Host) -> Result<Vec<Pid>> {
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", host.init_pid()))?;
    let ours = |process: &Path| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        command.starts_with(b"wg-userspace\0")
            && fs::read_link(process.join("ns/pid")).is_ok_and(|other| other == namespace)
    };
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let daemon = processes.into_iter().find(|path| ours(path)).context("the daemon is gone")?;
    let mut threads = Vec::new();
    for entry in fs::read_dir(daemon.join("task"))? {
        threads.push(entry?.file_name().to_string_lossy().parse()?);
    }
    threads.sort_unstable();
    Ok(threads.into_iter().map(Pid::from_raw).collect())
}

pub(crate) fn status_word<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name}"))
}

/// Brings a daemon up with all its threads, also those that came after the restrictions.
fn start(host: &Host) -> Result<()> {
    host.run("wg-userspace wg0")?.success()?;
    host.set_up("wg0")?;
    uapi::get(host, "wg0").map(drop)
}

#[test]
fn every_thread_has_few_capabilities_and_a_filter() -> Result<()> {
    let host = Host::new("threads")?;
    start(&host)?;
    let threads = threads(&host)?;
    ensure!(threads.len() >= 7, "{threads:?}");
    for thread in threads {
        // The one that answered us may have ended.
        let Ok(status) = fs::read_to_string(format!("/proc/{thread}/status")) else { continue };
        let set =
            |name| -> Result<u64> { Ok(u64::from_str_radix(status_word(&status, name)?, 16)?) };
        for name in ["CapPrm:", "CapEff:"] {
            ensure!(CAPABILITIES.contains(&set(name)?), "{status}");
        }
        for name in ["CapInh:", "CapBnd:", "CapAmb:"] {
            ensure!(set(name)? == 0, "{status}");
        }
        ensure!(status_word(&status, "NoNewPrivs:")? == "1", "{status}");
        // 2: a filter.
        ensure!(status_word(&status, "Seccomp:")? == "2", "{status}");
        // Not dumpable: its files in /proc are root's own, whoever runs it.
    }
    Ok(())
}

/// Ports below 1024, marks, new sockets, and the removal of the socket at the end.
#[test]
fn what_is_still_needed_is_allowed() -> Result<()> {
    let host = Host::new("allowed")?;
    start(&host)?;
    for port in [53, 0, 123] {
        let update =
            DeviceUpdate { listen_port: Some(port), fwmark: Some(7), ..DeviceUpdate::default() };
        uapi::set(&host, "wg0", &update)?;
        let device = uapi::get(&host, "wg0")?;
        ensure!(device.fwmark == 7 && (port == 0 || device.listen_port == port));
    }
    host.delete_link("wg0")?;
    uapi::wait_for_end(&host, "wg0")?;
    ensure!(!uapi::path(&host, "wg0").exists());
    Ok(())
}

#[test]
fn keys_are_locked_in_memory_or_the_log_says_why_not() -> Result<()> {
    let host = Host::new("locked")?;
    host.run_with_input("sh -s", "LOG_LEVEL=verbose wg-userspace wg0 > /run/log 2>&1")?
        .success()?;
    let process = threads(&host)?[0];
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let locked = status_word(&status, "VmLck:")? != "0";
    let log = eventually("the log", PATIENCE, || {
        host.read_file("/run/log").ok().filter(|log| log.contains("ready"))
    })?;
    ensure!(log.contains("memory is locked") == locked, "{locked}: {log}");
    ensure!(log.contains("keys may be swapped") != locked, "{locked}: {log}");
    // Without the right to lock memory, where the limit is low.
    let host = Host::new("swapped")?;
    let script = "ulimit -l 64 && LOG_LEVEL=verbose exec setpriv \
                  --bounding-set -ipc_lock,-sys_resource --inh-caps -ipc_lock,-sys_resource \
                  wg-userspace wg0 > /run/log 2>&1";
    host.run_with_input("sh -s", script)?.success()?;
    let log = eventually("the log", PATIENCE, || {
        host.read_file("/run/log").ok().filter(|log| log.contains("ready"))
    })?;
    ensure!(log.contains("keys may be swapped to disk"), "{log}");
    host.set_up("wg0")?;
    ensure!(uapi::get(&host, "wg0")?.listen_port != 0);
    Ok(())
}

/// The daemon itself is made to try: a debugger that has all rights puts system calls into it.
#[cfg(target_arch = "x86_64")]
mod tried {
    use nix::errno::Errno;
    use nix::libc::{self, c_long};
    use nix::sys::ptrace;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::*;

    /// A stopped thread of the daemon.
    struct Thread(Pid);

    impl Thread {
        /// `None` when it has ended.
        fn stop(thread: Pid) -> Result<Option<Self>> {
            match ptrace::seize(thread, ptrace::Options::empty()) {
                Err(Errno::ESRCH) => return Ok(None),
                result => result.context("cannot trace the daemon")?,
            }
            ptrace::interrupt(thread)?;
            loop {
                match waitpid(thread, Some(WaitPidFlag::__WALL))? {
                    WaitStatus::PtraceEvent(_, Signal::SIGTRAP, _) => {
                        return Ok(Some(Self(thread)));
                    }
                    WaitStatus::Exited(..) => return Ok(None),
                    _ => {}
                }
            }
        }

        /// Makes the thread call, with `text` in its memory, whose address is given to
        /// `arguments`; returns what the kernel says.
        fn call(
            &self,
            number: c_long,
            text: &str,
            arguments: impl FnOnce(u64) -> [u64; 6],
        ) -> Result<Result<u64, Errno>> {
            let before = ptrace::getregs(self.0)?;
            // Below what a function without a frame may use.
            let place = (before.rsp - 4096) & !7;
            for (word, bytes) in text.as_bytes().chunks(8).enumerate() {
                let mut filled = [0; 8];
                filled[..bytes.len()].copy_from_slice(bytes);
                let address = (place + 8 * word as u64) as ptrace::AddressType;
                ptrace::write(self.0, address, c_long::from_ne_bytes(filled))?;
            }
            let end = (place + text.len().next_multiple_of(8) as u64) as ptrace::AddressType;
            ptrace::write(self.0, end, 0)?;
            let mut registers = before;
            // It waits in a system call: the instruction is the one just before.
            registers.rip -= 2;
            ensure!(ptrace::read(self.0, registers.rip as ptrace::AddressType)? & 0xffff == 0x050f);
            registers.rax = number as u64;
            // No call of its own to restart.
            registers.orig_rax = u64::MAX;
            let [a, b, c, d, e, f] = arguments(place);
            (registers.rdi, registers.rsi, registers.rdx) = (a, b, c);
            (registers.r10, registers.r8, registers.r9) = (d, e, f);
            ptrace::setregs(self.0, registers)?;
            ptrace::step(self.0, None)?;
            let stopped = waitpid(self.0, Some(WaitPidFlag::__WALL))?;
            ensure!(stopped == WaitStatus::Stopped(self.0, Signal::SIGTRAP), "{stopped:?}");
            let result = ptrace::getregs(self.0)?.rax.cast_signed();
            ptrace::setregs(self.0, before)?;
            if (-4095..0).contains(&result) {
                return Ok(Err(Errno::from_raw(-result as i32)));
            }
            Ok(Ok(result.cast_unsigned()))
        }
    }

    impl Drop for Thread {
        fn drop(&mut self) {
            // One that has ended needs nothing.
            let _ = ptrace::detach(self.0, None);
        }
    }

    #[test]
    fn opening_a_file_and_executing_a_program_are_refused() -> Result<()> {
        let host = Host::new("tried")?;
        host.write_file("/run/precious", "x", 0o666)?;
        start(&host)?;
        let at = libc::AT_FDCWD as u64;
        let mut tried = 0;
        for thread in threads(&host)? {
            let Some(thread) = Thread::stop(thread)? else { continue };
            tried += 1;
            let refused = |what: &str, number, text: &str, arguments: fn(u64) -> [u64; 6]| {
                let result = thread.call(number, text, arguments)?;
                ensure!(result == Err(Errno::EPERM), "{what}: {result:?}");
                Ok(())
            };
            // The way works: this one is allowed, and so is what it is told.
            let own = thread.call(libc::SYS_getpid, "", |_| [0; 6])?;
            ensure!(own.is_ok_and(|pid| pid > 1), "{own:?}");
            let there = thread.call(libc::SYS_newfstatat, "/run/precious", |path| {
                [at, path, path + 64, 0, 0, 0]
            })?;
            ensure!(there == Ok(0), "{there:?}");

            let open = |path| [libc::AT_FDCWD as u64, path, 0, 0, 0, 0];
            refused("openat", libc::SYS_openat, "/etc/passwd", open)?;
            refused("open", libc::SYS_open, "/etc/passwd", |path| [path, 0, 0, 0, 0, 0])?;
            refused("execve", libc::SYS_execve, "/bin/true", |path| [path, 0, 0, 0, 0, 0])?;
            refused("fork", libc::SYS_fork, "", |_| [0; 6])?;
            refused("clone", libc::SYS_clone, "", |_| [libc::SIGCHLD as u64, 0, 0, 0, 0, 0])?;
            refused("a thread", libc::SYS_clone, "", |_| {
                let how = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
                [how as u64, 0, 0, 0, 0, 0]
            })?;
            refused("ptrace", libc::SYS_ptrace, "", |_| [0; 6])?;
            refused("connect", libc::SYS_connect, "", |_| [0; 6])?;
            // A datagram socket would be let through, so it is the type, and then the protocol.
            refused("TCP", libc::SYS_socket, "", |_| {
                [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]
            })?;
            refused("TCP over IPv6", libc::SYS_socket, "", |_| {
                let how = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
                [libc::AF_INET6 as u64, how as u64, 0, 0, 0, 0]
            })?;
            refused("ping", libc::SYS_socket, "", |_| {
                let protocol = libc::IPPROTO_ICMP as u64;
                [libc::AF_INET as u64, libc::SOCK_DGRAM as u64, protocol, 0, 0, 0]
            })?;
            let udp = thread.call(libc::SYS_socket, "", |_| {
                let how = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
                [libc::AF_INET as u64, how as u64, 0, 0, 0, 0]
            })?;
            let udp = udp.context("UDP is allowed")?;
            ensure!(thread.call(libc::SYS_close, "", |_| [udp, 0, 0, 0, 0, 0])? == Ok(0));
            refused("a Unix socket", libc::SYS_socket, "", |_| {
                [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]
            })?;
            refused("a raw socket", libc::SYS_socket, "", |_| {
                [libc::AF_PACKET as u64, libc::SOCK_RAW as u64, 0, 0, 0, 0]
            })?;
            refused("code", libc::SYS_mmap, "", |_| {
                let how = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
                [0, 4096, how, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64, u64::MAX, 0]
            })?;
            // The filter lets this one pass, for the socket; Landlock does not, elsewhere.
            let removed =
                thread.call(libc::SYS_unlinkat, "/run/precious", |path| [at, path, 0, 0, 0, 0])?;
            ensure!(removed == Err(Errno::EACCES), "unlinkat: {removed:?}");
        }
        ensure!(tried >= 7, "{tried} threads");
        ensure!(host.read_file("/run/precious")? == "x");
        // It goes on as if nothing had happened.
        uapi::get(&host, "wg0")?;
        host.delete_link("wg0")?;
        uapi::wait_for_end(&host, "wg0")
    }
}
