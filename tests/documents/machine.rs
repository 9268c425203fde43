//! The examples that change a machine, on one of its own: Culvert is installed from source there, and
//! systemd brings a tunnel up.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::{OUTER_V4, ip};
use testbed::documents::{self, Example, Executor, Kind};
use testbed::{Host, Output, connect, eventually, packages, programs, report, run};

/// How systemd's command line begins.
const SYSTEMD: &str = "/lib/systemd/systemd --system";
/// For systemd to boot, and to end a service.
const LIMIT: Duration = Duration::from_secs(60);
/// For the programs to be built.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

#[test]
fn what_is_installed_from_source_is_used() -> Result<()> {
    if !fs::read_to_string("/proc/self/uid_map")?.split_whitespace().eq(["0", "0", "4294967295"]) {
        let reason = "a user namespace's root can neither install packages nor boot systemd";
        return report::cannot_run("what_is_installed_from_source_is_used", reason);
    }
    packages::ensure(&["bash-completion", "man-db", "sudo", "systemd"])?;
    let machine = Machine::boot()?;
    let (install, manuals): (Vec<_>, Vec<_>) = documents::examples(Executor::Machine)?
        .into_iter()
        .partition(|example| example.place.starts_with("README.md:"));
    for example in &install {
        machine.execute(example)?;
    }
    what_is_installed_is_found(&machine)?;

    let server = Host::new("server")?;
    connect(&server, "eth0", &machine.host, "eth0")?;
    server.add_address("eth0", &format!("{}/24", OUTER_V4[0]))?;
    machine.host.add_address("eth0", &format!("{}/24", OUTER_V4[1]))?;
    server.write_file("/etc/wireguard/wg0.conf", documents::first_tunnel("server")?, 0o600)?;
    machine.write("/etc/wireguard/wg0.conf", &documents::first_tunnel("laptop")?)?;
    machine.run(&format!("echo {} server.example >> /etc/hosts", OUTER_V4[0]))?.success()?;
    server.run("wg-quick up wg0")?.success()?;
    for example in &manuals {
        machine.execute(example)?;
    }
    let active = machine.run("systemctl is-enabled wg-quick@wg0; systemctl is-active wg-quick@wg0");
    ensure!(active?.success()?.stdout == "enabled\nactive\n", "it is neither enabled nor active");
    let replies = machine.host.ping(ip("10.201.0.1"))?;
    ensure!(replies.received() > 0, "nothing comes through the tunnel");

    // What the service does is what `wg-quick` does.
    let more = "echo 'AllowedIPs = 10.202.0.0/24' >> /etc/wireguard/wg0.conf";
    machine.run(&format!("{more}; systemctl reload wg-quick@wg0"))?.success()?;
    let routes = machine.run("ip route")?.success()?.stdout;
    ensure!(routes.contains("10.202.0.0/24 dev wg0"), "{routes}");
    machine.run("systemctl stop wg-quick.target")?.success()?;
    eventually("the end of the interface", LIMIT, || {
        machine.host.interfaces().ok()?.iter().all(|name| name != "wg0").then_some(())
    })
}

/// By whoever looks for it: the shell, man(1), bash's completion, systemd.
fn what_is_installed_is_found(machine: &Machine) -> Result<()> {
    for name in programs::NAMES {
        let script = format!(
            "command -v {name}; realpath $(man --where {name}); man --warnings {name} | cat; \
             . /usr/share/bash-completion/bash_completion; _completion_loader {name}; \
             complete -p {name}"
        );
        let found = machine.run(&script)?.success()?;
        for expected in [
            format!("/usr/local/bin/{name}\n"),
            format!("/usr/local/share/man/man8/{name}.8\n"),
            format!("{}(8)", name.to_uppercase()),
            format!("complete -F _{} {name}\n", name.replace('-', "_")),
        ] {
            ensure!(found.stdout.contains(&expected), "no {expected:?}: {found}");
        }
        ensure!(found.stderr.is_empty(), "{found}");
    }
    let mode = machine.run("stat --format=%a /etc/wireguard")?.success()?.stdout;
    ensure!(mode == "700\n", "the mode of /etc/wireguard is {mode}");
    machine.run("man --where 5 wg.conf")?.success()?;
    machine.run("systemctl daemon-reload")?.success()?;
    let verify = "systemd-analyze verify --man=yes wg-quick@wg0.service wg-quick.target 2>&1";
    let complaints = machine.run(verify)?.success()?.stdout;
    ensure!(!complaints.contains("wg-quick"), "{complaints}");
    Ok(())
}

/// A host whose root folder is this machine's with a layer above it that takes what is written, and
/// where systemd runs. The workspace and what Cargo keeps are this machine's.
struct Machine {
    host: Host,
    /// systemd's process id on the host, 0 until it has started.
    systemd: u32,
    group: ControlGroup,
}

impl Machine {
    fn boot() -> Result<Self> {
        let host = Host::new("machine")?;
        let group = ControlGroup::make(&host)?;
        // Whatever fails from here on, the host ends before its group.
        let mut machine = Self { host, systemd: 0, group };
        let host = &machine.host;
        let mut boot = host.command("bash");
        boot.args(["-c", include_str!("machine.sh")]);
        boot.env("GROUP", machine.group.path()).env("SHARED", env::join_paths(shared()?)?);
        host.run_command(&mut boot, "")?.success()?;
        let systemd = eventually("systemd", LIMIT, || {
            let processes = host.processes().ok()?;
            processes.iter().find(|one| one.command.starts_with(SYSTEMD)).map(|one| one.pid)
        });
        machine.systemd =
            systemd.with_context(|| host.read_file("/run/machine/log").unwrap_or_default())?;
        eventually("systemd to boot", LIMIT, || {
            machine.run("systemctl is-active basic.target").ok()?.success().ok()
        })?;
        Ok(machine)
    }

    /// Executes commands in the workspace.
    fn execute(&self, example: &Example) -> Result<()> {
        let attempt = || {
            ensure!(example.kind == Kind::Console { fails: false }, "it is no list of commands");
            let (script, shown) = example.script()?;
            ensure!(shown.is_empty(), "what is shown is not compared");
            let mut shell = self.shell(&format!("set -e -o pipefail\n{script}"));
            run(&mut shell, b"", BUILD_LIMIT)?.success()?;
            example.executed()
        };
        attempt().with_context(|| format!("{}\n{}", example.place, example.text))
    }

    /// Runs a script to its end.
    fn run(&self, script: &str) -> Result<Output> {
        self.host.run_command(&mut self.shell(script), "")
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let mut shell = self.shell(&format!("umask 077; cat > {path}"));
        self.host.run_command(&mut shell, text)?.success().map(drop)
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = self.host.command("nsenter");
        shell.arg(format!("--target={}", self.systemd));
        shell.args(["--mount", "--pid", "--cgroup", "--root", "--wd", "bash", "-c"]);
        shell.arg(format!("cd '{}'\n{script}", documents::workspace().display()));
        let path = env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("/usr/local/sbin:/usr/local/bin:{path}"));
        shell.env_remove("CARGO_TARGET_DIR");
        // This process is Cargo's child. What that has set would have it build packages anew.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                shell.env_remove(&*name);
            }
        }
        shell
    }
}

/// The folders that a machine shares with this one: the workspace, where the programs are built, and
/// what Cargo and rustup keep.
fn shared() -> Result<Vec<PathBuf>> {
    let workspace = documents::workspace().canonicalize()?;
    let home = PathBuf::from(env::var_os("HOME").context("no HOME")?);
    let kept = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")].map(|(variable, folder)| {
        env::var_os(variable).map_or_else(|| home.join(folder), PathBuf::from)
    });
    let kept = kept.into_iter().filter(|folder| folder.is_dir());
    Ok([workspace, programs::target_folder()?].into_iter().chain(kept).collect())
}

/// A control group that systemd may divide. It is removed when this is dropped, which has to be when
/// no process is in it any more.
struct ControlGroup {
    /// The folder with all groups of the second version. Through it this process finds its own, also
    /// when the host has ended.
    _all: File,
    /// The folder as this process sees it.
    folder: PathBuf,
    name: String,
}

impl ControlGroup {
    /// Where the host has all groups.
    const ALL: &str = "/run/groups";

    fn make(host: &Host) -> Result<Self> {
        host.run(&format!("mkdir {}", Self::ALL))?.success()?;
        host.run(&format!("mount -t cgroup2 groups {}", Self::ALL))?.success()?;
        let name = format!("culvert-{}", std::process::id());
        let all = File::open(host.path(Self::ALL))?;
        let folder = Path::new("/proc/self/fd").join(all.as_raw_fd().to_string()).join(&name);
        if folder.exists() {
            // A process that had this id was killed.
            remove(&folder).context("cannot remove an old control group")?;
        }
        fs::create_dir(&folder).context("cannot make a control group")?;
        Ok(Self { _all: all, folder, name })
    }

    /// The folder as the host sees it.
    fn path(&self) -> String {
        format!("{}/{}", Self::ALL, self.name)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The last process has ended, but its group may not know yet.
        let removed = eventually("an empty control group", LIMIT, || remove(&self.folder).ok());
        if let Err(error) = removed {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// Removes a control group and those in it. Their files go with them.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
