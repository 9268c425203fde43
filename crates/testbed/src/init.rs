//! The first process of a host: makes its namespaces and private file systems, then waits for the
//! test to end.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, clone};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, mkdir, read, sethostname, symlinkat, write};

/// The running first process. Dropping it ends every process of the host.
#[derive(Debug)]
pub(crate) struct Init {
    pid: Pid,
    /// The init ends when the last copy of this end is closed, however this process ends.
    _lifeline: UnixStream,
}

impl Init {
    /// Makes the namespaces of a host called `name` and returns when its file systems are ready.
    ///
    /// # Errors
    /// Without root, or where the kernel or a container refuses a namespace or a mount: the step
    /// and the kernel's reason.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let files = Files::plan(name)?;
        let (mut ours, theirs) = UnixStream::pair()?;
        let flags = CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS;
        let theirs = OwnedFd::from(theirs);
        let child = Box::new(|| live(&files, &theirs));
        let mut stack = vec![0; 256 * 1024];
        // SAFETY: the child has its own copy of the memory and makes system calls only; it neither
        // allocates nor takes a lock.
        let pid = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
        let pid = pid.map_err(|errno| match errno {
            Errno::EPERM => anyhow!(
                "a test host needs root: run as root, or as `cargo xtask test`, which enters a \
                 user namespace where the system allows it"
            ),
            errno => anyhow!("cannot make the namespaces of a test host: {}", errno.desc()),
        })?;
        drop(theirs);
        let init = Self { pid, _lifeline: ours.try_clone()? };
        let mut report = [0; 128];
        let length = ours.read(&mut report).context("the init of a test host says nothing")?;
        match report[..length] {
            [READY] => Ok(init),
            [errno, ref step @ ..] => bail!(
                "a test host cannot {}: {}",
                String::from_utf8_lossy(step),
                Errno::from_raw(errno.into()).desc()
            ),
            [] => bail!("the init of a test host ended before it was ready"),
        }
    }

    /// The process id of the init, as this process sees it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // The kernel lets the init of a process namespace end only after all others in it.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The report of an init that is ready; a failed step is reported with an error number instead.
const READY: u8 = 0;

/// What a failed step was to do, and the kernel's reason.
type Failure = (&'static str, Errno);

/// All paths that the child needs, made before it exists: it must not allocate.
struct Files {
    name: CString,
    /// Links from the private `/etc` to the real one: target and name.
    etc: Vec<(CString, CString)>,
    /// Where `/var/run` is no link to `/run`, it has to become the same folder.
    separate_var_run: bool,
}

/// Where the real `/etc` can be read inside a host.
const REAL_ETC: &str = "/run/host/etc";
/// What of `/etc` a host has for itself.
const PRIVATE: [&str; 5] = ["hostname", "hosts", "nsswitch.conf", "resolv.conf", "wireguard"];

impl Files {
    fn plan(name: &str) -> Result<Self> {
        let mut etc = Vec::new();
        for entry in fs::read_dir("/etc").context("cannot read /etc")? {
            let entry = entry?;
            let file_name = entry.file_name();
            if PRIVATE.iter().any(|private| file_name == OsStr::new(private)) {
                continue;
            }
            // A link is copied, since a relative one means something else elsewhere.
            let target = match fs::read_link(entry.path()) {
                Ok(target) => target,
                Err(_) => Path::new(REAL_ETC).join(&file_name),
            };
            etc.push((
                CString::new(target.as_os_str().as_bytes())?,
                CString::new(Path::new("/etc").join(&file_name).as_os_str().as_bytes())?,
            ));
        }
        let separate_var_run = match fs::canonicalize("/var/run") {
            Ok(path) => path != Path::new("/run"),
            Err(_) => false,
        };
        Ok(Self { name: CString::new(name)?, etc, separate_var_run })
    }
}

/// The life of the init.
fn live(files: &Files, lifeline: &OwnedFd) -> isize {
    // Other hosts' lifelines were copied with everything else.
    close_all_but(lifeline.as_raw_fd());
    let report = match set_up(files) {
        Ok(()) => write(lifeline, &[READY]),
        Err((step, errno)) => {
            let mut report = [0; 128];
            report[0] = errno as u8;
            let length = step.len().min(report.len() - 1);
            report[1..=length].copy_from_slice(&step.as_bytes()[..length]);
            write(lifeline, &report[..=length])
        }
    };
    if report.is_err() {
        return 1;
    }
    // Nothing is ever sent: this returns when the test has ended.
    while read(lifeline, &mut [0]) == Err(Errno::EINTR) {}
    0
}

fn close_all_but(kept: RawFd) {
    let kept = kept as libc::c_uint;
    if kept > 3 {
        close_range(3, kept - 1);
    }
    close_range(kept.max(2) + 1, libc::c_uint::MAX);
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: nothing in this process uses the other descriptors; it is a copy of its parent's
    // memory that never returns to the parent's code.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

fn set_up(files: &Files) -> Result<(), Failure> {
    // A test that captures output must not wait for the init to end.
    let null =
        open(c"/dev/null", OFlag::O_RDWR, Mode::empty()).map_err(|e| ("open /dev/null", e))?;
    dup2_stdin(&null).map_err(|e| ("close standard input", e))?;
    dup2_stdout(&null).map_err(|e| ("close standard output", e))?;
    nix::unistd::dup2_stderr(&null).map_err(|e| ("close standard error", e))?;

    let _ = prctl::set_name(c"testbed-host");
    sethostname(OsStr::from_bytes(files.name.as_bytes())).map_err(|e| ("set its name", e))?;
    // Ignoring it makes the kernel bury the processes that are left to the init.
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: replaces no handler that this process relies on.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }.map_err(|e| ("ignore its children", e))?;

    mount_file_systems(files)
}

fn mount_file_systems(files: &Files) -> Result<(), Failure> {
    let none = MsFlags::empty();
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    attach(None, c"/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
        .map_err(|e| ("keep its mounts to itself", e))?;
    attach(Some(c"proc"), c"/proc", Some(c"proc"), none, None)
        .map_err(|e| ("mount its own /proc", e))?;
    // Only for programs that look for interfaces there; containers often forbid it.
    let _ = attach(Some(c"sysfs"), c"/sys", Some(c"sysfs"), none, None);

    attach(Some(c"run"), c"/run", Some(c"tmpfs"), none, Some(c"mode=755"))
        .map_err(|e| ("mount its own /run", e))?;
    if files.separate_var_run {
        attach(Some(c"/run"), c"/var/run", None, bind, None)
            .map_err(|e| ("make /var/run the same as /run", e))?;
    }
    for folder in [c"/run/host", c"/run/host/etc"] {
        mkdir(folder, Mode::from_bits_truncate(0o755)).map_err(|e| ("make a folder in /run", e))?;
    }
    attach(Some(c"/etc"), c"/run/host/etc", None, bind, None)
        .map_err(|e| ("keep the real /etc at hand", e))?;
    // A guard only, so that a test cannot write to the real one through a link.
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let _ = attach(None, c"/run/host/etc", None, read_only, None);

    attach(Some(c"etc"), c"/etc", Some(c"tmpfs"), none, Some(c"mode=755"))
        .map_err(|e| ("mount its own /etc", e))?;
    for (target, link) in &files.etc {
        symlinkat(target.as_c_str(), nix::fcntl::AT_FDCWD, link.as_c_str())
            .map_err(|e| ("link to the real /etc", e))?;
    }
    mkdir(c"/etc/wireguard", Mode::from_bits_truncate(0o700))
        .map_err(|e| ("make its own /etc/wireguard", e))
}

fn attach(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: MsFlags,
    data: Option<&CStr>,
) -> nix::Result<()> {
    mount(source, target, kind, flags, data)
}
