//! A test host.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::init::Init;
use crate::join::Namespaces;
use crate::run::{self, Output};
use crate::{network, programs};

/// A machine for tests: network, mount, process and host name namespaces with private `/run`,
/// `/etc/wireguard`, `/etc/hosts`, `/etc/resolv.conf` (no name server) and a loopback interface.
/// All else, the temporary folder too, is the real machine's.
///
/// Dropping it ends all its processes, daemons too, and removes everything it had.
#[derive(Debug)]
pub struct Host {
    name: String,
    programs: PathBuf,
    namespaces: Arc<Namespaces>,
    init: Init,
}

/// A process of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id inside the host.
    pub pid: u32,
    /// Its arguments, joined by spaces.
    pub command: String,
}

impl Host {
    /// Makes a host that runs the programs of [`programs::folder`]. Several may have the same
    /// name.
    ///
    /// # Errors
    /// Without root, or where the kernel or a container refuses a namespace or a mount.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_programs(name, programs::folder()?)
    }

    /// Makes a host that runs our programs from the folder `programs`.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with_programs(name: &str, programs: impl Into<PathBuf>) -> Result<Self> {
        let init = Init::start(name)?;
        let namespaces = Namespaces::of(init.pid()).context("cannot open the host's namespaces")?;
        let namespaces = Arc::new(namespaces);
        let host = Self { name: name.to_owned(), programs: programs.into(), namespaces, init };
        host.write_file("/etc/hostname", format!("{name}\n"), 0o644)?;
        host.write_file(
            "/etc/hosts",
            format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n"),
            0o644,
        )?;
        host.write_file("/etc/resolv.conf", "", 0o644)?;
        host.write_file("/etc/nsswitch.conf", NAME_SERVICES, 0o644)?;
        network::prepare(&host)?;
        Ok(host)
    }

    /// The name given to [`Host::new`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside, from the root folder, as root, in the C locale, with our
    /// built programs first in `PATH` and no `WG_…` variable but `WG_NO_OFFLOAD` and `WG_LANES`.
    /// Its standard streams are the caller's.
    ///
    /// # Panics
    /// When `program` is one of ours and is not built: anything else of that name must not be
    /// tested instead.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        if let Some(name) = programs::NAMES.iter().find(|name| Path::new(name) == program) {
            let built = self.programs.join(name);
            assert!(
                built.is_file(),
                "{} is not built: run `cargo build --workspace` first",
                built.display()
            );
        }
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{}:{SYSTEM_PATH}", self.programs.display()))
            .env("HOME", "/root")
            .env("LC_ALL", "C")
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LIB_BACKTRACE")
            .env_remove("LOG_LEVEL");
        for (name, _) in std::env::vars_os() {
            // Offloads and lanes are how the tests are run, not what one of them sets.
            let is_ours = name == "WG_NO_OFFLOAD" || name == "WG_LANES";
            if name.to_string_lossy().starts_with("WG_") && !is_ours {
                command.env_remove(name);
            }
        }
        Arc::clone(&self.namespaces).join_in(&mut command);
        command
    }

    /// Runs `line`, split at white space, inside and to its end: `host.run("wg show wg0")`.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute; it is killed then.
    pub fn run(&self, line: &str) -> Result<Output> {
        self.run_with_input(line, "")
    }

    /// As [`Host::run`], with `input` on standard input.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_with_input(&self, line: &str, input: impl AsRef<[u8]>) -> Result<Output> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("an empty command line")?);
        self.run_command(command.args(words), input)
    }

    /// Runs a command made by [`Host::command`] to its end.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_command(&self, command: &mut Command, input: impl AsRef<[u8]>) -> Result<Output> {
        run::run(command, input.as_ref(), TIME_LIMIT).with_context(|| format!("on {}", self.name))
    }

    /// Calls `function` in a thread of its own inside the host's network. The sockets it makes
    /// stay there.
    ///
    /// # Panics
    /// When `function` does.
    pub fn in_network<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.namespaces.enter_network().expect("the namespace was entered before");
            function()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Where the host's file `path` is for this process. Absolute symbolic links on the way lead
    /// to the real machine, so `/var/run` has to be called `/run`.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{}", self.init.pid(), path.trim_start_matches('/')))
    }

    /// Writes a file inside, as `/etc/wireguard/wg0.conf`, over an older one. Its folder must
    /// exist; `mode` holds whatever the umask is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let place = self.path(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let write = || {
            let mut file = options.open(&place)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(bytes.as_ref())
        };
        write().with_context(|| format!("cannot write {path} of {}", self.name))
    }

    /// Reads a file inside.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path))
            .with_context(|| format!("cannot read {path} of {}", self.name))
    }

    /// Makes `name` resolve to `address`, beside the addresses it already has.
    ///
    /// # Errors
    /// When `/etc/hosts` cannot be written.
    pub fn add_host_name(&self, address: IpAddr, name: &str) -> Result<()> {
        let hosts = self.read_file("/etc/hosts")?;
        self.write_file("/etc/hosts", format!("{hosts}{address} {name}\n"), 0o644)
    }

    /// The processes that run inside, the init and the dead aside, in the order of their ids.
    ///
    /// # Errors
    /// When the host's `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let mut processes = BTreeMap::new();
        for entry in fs::read_dir(self.path("/proc")).context("cannot read the host's /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // The dead have no arguments, and whoever goes meanwhile has no file.
            let arguments =
                fs::read(self.path(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
            if pid == 1 || arguments.is_empty() {
                continue;
            }
            let command =
                String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
            processes.insert(pid, Process { pid, command });
        }
        Ok(processes.into_values().collect())
    }

    /// The process id of the host's init, as this process sees it; it names the namespaces in
    /// `/proc`.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.init.pid().as_raw()
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }
}

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Name service plugins would ask daemons of the real machine.
const NAME_SERVICES: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n";
const TIME_LIMIT: Duration = Duration::from_secs(60);
