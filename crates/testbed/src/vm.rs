//! A small virtual machine with the kernel's WireGuard module.
//!
//! Its root folder is this machine's: every program and file is where it is outside, and what a job
//! writes is gone afterwards, save in its own folder. So a test runs itself inside: see [`test`].
//!
//! The processor is emulated, since machines that are virtual themselves seldom offer more; a job
//! takes several times as long as outside.

mod initramfs;
mod job;
mod kernel;
mod pool;
mod serial;
mod test;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::{packages, programs};

pub use job::{Finished, Job};
pub use test::{inside, test, test_within};

/// A guest is up after five seconds on an idle machine; now and then one gets stuck.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
const BOOT_ATTEMPTS: u32 = 3;

/// The Debian packages a guest takes.
const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "xz-utils", "zstd"];

/// A running guest. It ends when this is dropped, and with this process at the latest.
pub struct Guest {
    line: serial::Line,
    folder: PathBuf,
    jobs: AtomicU32,
}

impl Guest {
    /// Boots a guest, fetching what it needs when it is not there yet.
    ///
    /// # Errors
    /// Where the kernel or the emulator cannot be had, and when no guest comes up.
    pub fn boot() -> Result<Guest> {
        if !cfg!(target_arch = "x86_64") {
            bail!("the guest's kernel is for x86-64");
        }
        let cache = programs::target_folder()?.join("vm");
        fs::create_dir_all(&cache)?;
        let lock = fs::File::create(cache.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        packages::ensure(PACKAGES)?;
        let kernel = kernel::fetch(&cache).context("cannot get the guest's kernel")?;
        remove_abandoned(&cache);
        drop(lock);

        static GUESTS: AtomicU32 = AtomicU32::new(0);
        let number = GUESTS.fetch_add(1, Ordering::Relaxed);
        let folder = cache.join(format!("guest-{}-{number}", process::id()));
        fs::create_dir_all(folder.join("jobs"))?;
        let busybox = find_program("busybox").context("busybox is not in PATH")?;
        fs::write(folder.join("initramfs"), initramfs::build(&kernel.modules, &busybox)?)?;
        fs::write(folder.join("jobs/agent"), include_str!("vm/agent.sh"))?;

        for _ in 0..BOOT_ATTEMPTS {
            let line = serial::Line::start(&kernel.image, &folder)?;
            let ready = line.wait_until_ready(BOOT_LIMIT);
            if ready.with_context(|| emulator_log(&folder))? {
                return Ok(Guest { line, folder, jobs: AtomicU32::new(0) });
            }
            eprintln!("a guest was not up after {BOOT_LIMIT:?}:\n{}", kernel_log(&folder));
        }
        bail!("no guest came up in {BOOT_ATTEMPTS} attempts");
    }

    /// A job for this guest; `name` tells it from others when it fails.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn job(&self, name: &str) -> Result<Job<'_>> {
        Job::new(self, self.jobs.fetch_add(1, Ordering::Relaxed), name)
    }

    /// The emulator's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.line.process_id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.line.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the emulator has said.
fn emulator_log(folder: &Path) -> String {
    let log = fs::read(folder.join("qemu.log")).unwrap_or_default();
    format!("qemu-system-x86_64: {}", String::from_utf8_lossy(&log).trim().replace('\n', " "))
}

/// What the guest's kernel has said.
fn kernel_log(folder: &Path) -> String {
    let log = fs::read(folder.join("kernel.log")).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// Removes the folders of guests whose process is gone.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("guest-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
