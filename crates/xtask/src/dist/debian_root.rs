//! A fresh Debian root file system, of this machine's release, in which packages are tried.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testbed::{Host, Output, debian, packages, programs};

/// What a machine has beside the bare minimum: systemd, manuals, completions, AppArmor, containers.
const INCLUDED: [&str; 10] = [
    "apparmor",
    "bash-completion",
    "crun",
    "iproute2",
    "iputils-ping",
    "man-db",
    "netavark",
    "podman",
    "podman-docker",
    "systemd",
];
const LIMIT: Duration = Duration::from_secs(600);
/// Where a host sees its root file system.
const ROOT: &str = "/run/debian/root";

/// The root file system as debootstrap made it, kept in the target folder.
pub(super) struct Base {
    folder: PathBuf,
}

impl Base {
    /// Makes it unless it is there.
    pub(super) fn get() -> Result<Self> {
        let codename = debian::codename().context("this machine's release has no code name")?;
        let folder = programs::target_folder()?.join("debian").join(&codename);
        let list = folder.with_extension("included");
        let included = INCLUDED.join(",");
        if !fs::read_to_string(&list).is_ok_and(|listed| listed == included) {
            packages::ensure(&["debootstrap"])?;
            let mirror = debian::mirror().context("no Debian mirror is configured")?;
            println!("Making a Debian root file system of {codename}.");
            let unfinished = folder.with_extension("new");
            for old in [&folder, &unfinished] {
                if old.exists() {
                    fs::remove_dir_all(old)?;
                }
            }
            fs::create_dir_all(&unfinished)?;
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", &format!("--include={included}"), &codename]);
            debootstrap.arg(&unfinished).arg(mirror);
            testbed::run(&mut debootstrap, b"", LIMIT)?.success()?;
            fs::rename(unfinished, &folder)?;
            fs::write(list, included)?;
        }
        Ok(Self { folder })
    }

    /// Where it is. Nobody writes there.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A copy on a host of its own; what is written to it is gone with the host.
    pub(super) fn copy(&self, name: &str) -> Result<Root> {
        let host = Host::new(name)?;
        let run = |line: &str| host.run(line)?.success();
        run(&format!("mkdir -p /run/debian/upper /run/debian/work {ROOT}"))?;
        let base = self.folder.display();
        run(&format!(
            "mount -t overlay overlay {ROOT} \
             -o lowerdir={base},upperdir=/run/debian/upper,workdir=/run/debian/work"
        ))?;
        run(&format!("mount -t proc proc {ROOT}/proc"))?;
        run(&format!("mount -t tmpfs -o mode=755 tmpfs {ROOT}/run"))?;
        // apt wants a terminal for its log.
        run(&format!("mkdir -p {ROOT}/dev/net {ROOT}/dev/pts"))?;
        run(&format!("mount -t devpts -o newinstance,ptmxmode=666 devpts {ROOT}/dev/pts"))?;
        for device in ["null", "urandom", "net/tun"] {
            run(&format!("touch {ROOT}/dev/{device}"))?;
            run(&format!("mount --bind /dev/{device} {ROOT}/dev/{device}"))?;
        }
        Ok(Root { host })
    }
}

/// A running copy.
pub(super) struct Root {
    pub(super) host: Host,
}

impl Root {
    /// Runs a line of bash in it as root, with Debian's own search path.
    pub(super) fn run(&self, line: &str) -> Result<Output> {
        let mut chroot = self.host.command("/usr/sbin/chroot");
        chroot.args([ROOT, "/bin/bash", "-c", line]);
        chroot.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        chroot.env("DEBIAN_FRONTEND", "noninteractive");
        self.host.run_command(&mut chroot, "")
    }

    /// Copies a file to `/root`.
    pub(super) fn put(&self, file: &Path) -> Result<()> {
        let name = file.file_name().context("a file has a name")?;
        self.write(&format!("/root/{}", name.display()), &fs::read(file)?, 0o644)
    }

    /// Writes a file.
    pub(super) fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        self.host.write_file(&format!("{ROOT}{path}"), content, mode)
    }

    /// Every path that a package could leave something at, with its kind, mode and size; not what
    /// dpkg and apt write about packages, nor what is in memory.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let output = self.run(
            "find / -xdev \\( -path /var/lib/dpkg -o -path /var/cache -o -path /var/log \
             -o -path /root -o -path /dev -o -path /var/lib/apt \\) -prune -o \
             \\( -type d -printf '%p %y %m\\n' -o -printf '%p %y %m %s %l\\n' \\)",
        )?;
        let mut files: Vec<_> = output.success()?.stdout.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }
}
