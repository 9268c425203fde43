//! The guest's process and the serial line over which it hears of jobs and reports them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

const MEMORY_MIB: &str = "768";
/// `panic=-1` with `-no-reboot` ends the guest at once when its kernel panics. The rest spares an
/// emulated processor what it is slow at: above all, the emulator uses again what it has translated
/// of a program only where the program is at the same addresses, so a process starts in a third of
/// the time with `norandmaps`.
const KERNEL_ARGUMENTS: &str = "console=ttyS1 quiet loglevel=5 panic=-1 oops=panic \
     mitigations=off tsc=unstable clocksource=hpet norandmaps";

/// A guest's process.
pub(super) struct Line {
    to_guest: Mutex<ChildStdin>,
    process: Mutex<Child>,
    reports: Arc<Reports>,
}

#[derive(Default)]
struct Reports {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: bool,
    ended: bool,
    codes: HashMap<u32, i32>,
}

impl Line {
    /// Starts a guest from `image` and `folder`'s `initramfs`; its jobs lie in `jobs` there.
    pub(super) fn start(image: &Path, folder: &Path) -> Result<Self> {
        let mut command = emulator(image, folder)?;
        let reports = Arc::new(Reports::default());
        let (sender, receiver) = mpsc::channel();
        let listener = Arc::clone(&reports);
        // The guest is to die with this process, and what the kernel watches for that is the
        // thread that started it: so it is one that lasts.
        thread::Builder::new().name("vm".to_owned()).spawn(move || match command.spawn() {
            Ok(mut child) => {
                let from_guest = child.stdout.take().expect("it is piped");
                let _ = sender.send(Ok(child));
                listener.follow(BufReader::new(from_guest));
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        })?;
        let mut process = receiver.recv()?.context("cannot start qemu-system-x86_64")?;
        let to_guest = process.stdin.take().expect("it is piped");
        Ok(Self { to_guest: Mutex::new(to_guest), process: Mutex::new(process), reports })
    }

    /// Whether the guest came up within `limit`; it has been ended if not.
    pub(super) fn wait_until_ready(&self, limit: Duration) -> Result<bool> {
        let ready = self.reports.wait(limit, |state| state.ready.then_some(()))?.is_some();
        if !ready {
            self.end();
        }
        Ok(ready)
    }

    /// Tells the guest to run a job, for `limit` at most.
    pub(super) fn start_job(&self, number: u32, limit: Duration) -> Result<()> {
        let mut line = self.to_guest.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(line, "{number} {}", limit.as_secs()).context("the guest is gone")
    }

    /// A job's exit code, or `None` when it was not reported within `limit`.
    pub(super) fn wait_for_job(&self, number: u32, limit: Duration) -> Result<Option<i32>> {
        self.reports.wait(limit, |state| state.codes.get(&number).copied())
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Ends the guest.
    pub(super) fn end(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn emulator(image: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg", "-machine", "pc", "-cpu", "qemu64,+rdrand", "-smp", "1"])
        .args(["-m", MEMORY_MIB, "-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(folder.join("initramfs"))
        .args(["-append", KERNEL_ARGUMENTS, "-serial", "stdio", "-serial"])
        .arg(format!("file:{}", folder.join("kernel.log").display()));
    for (tag, path, readonly) in
        [("root", Path::new("/"), ",readonly=on"), ("jobs", &folder.join("jobs"), "")]
    {
        let path = path.display();
        command
            .arg("-fsdev")
            .arg(format!(
                "local,id={tag},path={path},security_model=none,multidevs=remap{readonly}"
            ))
            .arg("-device")
            .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("qemu.log"))?);
    // SAFETY: between fork and exec the closure makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    Ok(command)
}

impl Reports {
    /// Reads the guest's reports until it ends: `ready`, then `JOB CODE` for every job.
    fn follow(&self, from_guest: impl BufRead) {
        for report in from_guest.lines().map_while(|line| line.ok()) {
            let mut state = self.lock();
            if let Some((job, code)) = report.trim().split_once(' ') {
                if let (Ok(job), Ok(code)) = (job.parse(), code.parse()) {
                    state.codes.insert(job, code);
                }
            } else if report.trim() == "ready" {
                state.ready = true;
            }
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn wait<T>(&self, limit: Duration, found: impl Fn(&State) -> Option<T>) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(value) = found(&state) {
                return Ok(Some(value));
            }
            if state.ended {
                bail!("the guest has ended");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
