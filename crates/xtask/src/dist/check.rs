//! Installs the archives as a user would, and uses what they hold.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testbed::{debian, eventually, privileges, programs};

use super::binaries::Binaries;
use super::debian_root::{Base, Root};
use super::{Archives, Release, container, debian_package, image, tarball};
use crate::build;

const LIMIT: Duration = Duration::from_secs(60);

/// What the original's users have: a tunnel that systemd starts, and an administrator's profile.
const CONFIG: &str = "\
[Interface]
PrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=
Address = 10.66.0.2/24, fd66::2/64
PostUp = true

[Peer]
PublicKey = 1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.66.0.0/24, 172.16.5.0/24, fd77::/48
";

/// Checks everything; `of_musl` and `of_machine` are what the archives were made of.
pub(super) fn run(
    release: &Release,
    archives: &Archives,
    [of_musl, of_machine]: [&Binaries; 2],
) -> Result<()> {
    ensure!(privileges::is_root(), "the check needs root");
    privileges::check_tun()?;
    println!("\nChecks");
    packed_again(release, archives, [of_musl, of_machine])?;
    image_holds_the_programs(archives)?;
    let base = Base::get()?;
    fresh(&base, archives)?;
    let original = original_package()?;
    for how in ["apt-get", "dpkg"] {
        upgrade(&base, archives, &original, how)?;
    }
    container::executes_the_examples(&base, archives)?;
    good("README's containers make tunnels with the kernel's WireGuard");
    prefix_keeps_its_modes(archives)?;
    let unpacked = unpack(&archives.tarball, "unpacked")?;
    let programs = fs::read_dir(&unpacked)?.next().context("an empty tarball")??.path().join("bin");
    static_programs(&programs)
}

fn good(what: &str) {
    println!("ok  {what}");
}

fn packed_again(
    release: &Release,
    archives: &Archives,
    [of_musl, of_machine]: [&Binaries; 2],
) -> Result<()> {
    let folder = release.folder.join("again");
    fs::create_dir_all(&folder)?;
    let again = Release { folder, ..*release };
    for (first, second) in [
        (&archives.tarball, tarball(&again, of_musl)?),
        (&archives.package, debian_package::build(&again, of_machine)?),
        (&archives.image, image(&again, of_musl)?),
    ] {
        ensure!(fs::read(first)? == fs::read(&second)?, "{} is another", second.display());
    }
    fs::remove_dir_all(&again.folder)?;
    good("packed again, every archive is the same to the byte");
    Ok(())
}

fn image_holds_the_programs(archives: &Archives) -> Result<()> {
    let mut tar = Command::new("tar");
    let listed = testbed::run(tar.arg("-tf").arg(&archives.image), b"", LIMIT)?.success()?.stdout;
    let files: Vec<_> = listed.lines().filter(|line| !line.ends_with('/')).collect();
    let expected = ["./bin/wg", "./bin/wg-quick", "./bin/wg-userspace", "./var/run"];
    ensure!(files == expected, "the root file system holds {files:?}");
    good("the root file system holds the programs and a link, nothing else");
    Ok(())
}

/// Installs on a machine that had no WireGuard, uses everything, and removes it.
fn fresh(base: &Base, archives: &Archives) -> Result<()> {
    let root = base.copy("fresh")?;
    // As a later release has them.
    for name in ["wg", "wg-quick"] {
        let profile = format!(
            "include <tunables/global>\nprofile {name} /usr/bin/{name} {{\n  \
             include if exists <local/{name}>\n}}\n"
        );
        root.run(&format!("printf %s '{profile}' > /etc/apparmor.d/{name}"))?.success()?;
    }
    let before = root.files()?;
    install(&root, &archives.package, "apt-get")?;
    good("installs in a fresh Debian with apt-get");
    // The units name their manuals.
    let manuals = !super::files_in(&build::workspace()?.join("man"))?.is_empty();
    let man = if manuals { "yes" } else { "no" };
    for line in [
        "dpkg --verify culvert",
        "dpkg --audit",
        &format!("systemd-analyze verify --man={man} wg-quick@wg0.service wg-quick.target"),
    ] {
        let output = root.run(line)?.success()?;
        ensure!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
        good(line);
    }
    use_programs(&root)?;
    documents(&root)?;
    for profile in ["wg-userspace", "wg", "wg-quick"] {
        let parse = "apparmor_parser --skip-kernel-load --skip-cache --debug";
        let output = root.run(&format!("{parse} /etc/apparmor.d/{profile}"))?.success()?;
        let rule = if profile == "wg-userspace" { "/dev/net/tun" } else { "/wireguard/" };
        ensure!(output.stdout.contains(rule), "{profile} has no rule for {rule}: {output}");
    }
    good("AppArmor's parser reads our profile, and our rules in the distribution's profiles");
    root.run("apt-get -qq purge culvert")?.success()?;
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.into_iter().collect(), root.files()?.into_iter().collect());
    let difference: Vec<_> = before.symmetric_difference(&after).collect();
    ensure!(difference.is_empty(), "removing leaves {difference:#?}");
    let left = root.host.processes()?;
    ensure!(left.is_empty(), "removing leaves {left:?}");
    good("removing the package leaves nothing");
    Ok(())
}

fn install(root: &Root, package: &Path, how: &str) -> Result<()> {
    root.put(package)?;
    let name = package.file_name().context("a package has a name")?.display();
    let options = "-qq --yes --no-install-recommends";
    let line = match how {
        "apt-get" => format!("apt-get install {options} /root/{name}"),
        _ => format!("dpkg --auto-deconfigure --install /root/{name}"),
    };
    root.run(&line)?.success().map(drop)
}

fn use_programs(root: &Root) -> Result<()> {
    let key = root.run("wg genkey | wg pubkey")?.success()?;
    ensure!(key.stdout.len() == 45 && key.stderr.is_empty(), "{key}");
    good("wg genkey | wg pubkey");
    let config = format!("umask 077; printf %s '{CONFIG}' > /etc/wireguard/wg0.conf");
    root.run(&config)?.success()?;
    root.run("wg-quick up wg0")?.success()?;
    let shown =
        root.run("wg show wg0 endpoints; ip -brief address show wg0; ip route")?.success()?;
    for expected in ["192.0.2.1:51820", "10.66.0.2/24 fd66::2/64", "172.16.5.0/24 dev wg0"] {
        ensure!(shown.stdout.contains(expected), "no {expected} in {shown}");
    }
    root.run("wg-quick down wg0")?.success()?;
    eventually("the daemon's end", LIMIT, || root.host.processes().ok()?.is_empty().then_some(()))?;
    good("wg-quick up wg0, wg show, wg-quick down wg0");
    enabled(root)?;
    root.run("systemctl disable wg-quick@wg0.service && rm /etc/wireguard/wg0.conf")?.success()?;
    Ok(())
}

/// Enables the original's unit by its name, and follows where that leads.
fn enabled(root: &Root) -> Result<()> {
    root.run("systemctl enable wg-quick@wg0.service")?.success()?;
    let line = "cat /etc/systemd/system/multi-user.target.wants/wg-quick@wg0.service";
    let unit = root.run(line)?.success()?.stdout;
    ensure!(unit.contains("ExecStart=/usr/bin/wg-quick up %i\n"), "{unit}");
    good("systemctl enable wg-quick@wg0.service");
    Ok(())
}

/// Shows every manual and loads every completion that the sources have.
fn documents(root: &Root) -> Result<()> {
    let workspace = build::workspace()?;
    let mut manuals = Vec::new();
    for path in super::files_in(&workspace.join("man"))? {
        let name = super::name_of(&path)?;
        let (title, section) = name.rsplit_once('.').context("a manual is of a section")?;
        let shown = root.run(&format!("man --warnings {section} {title}"))?.success()?;
        ensure!(shown.stdout.contains(title) && shown.stderr.is_empty(), "{shown}");
        manuals.push(name.to_owned());
    }
    good(&format!("man shows {}", list(&manuals)));
    let mut completions = Vec::new();
    for path in super::files_in(&workspace.join("completions"))? {
        let name = super::name_of(&path)?;
        if let Some(program) = name.strip_suffix(".bash") {
            let load = "source /usr/share/bash-completion/bash_completion; _completion_loader";
            let loaded =
                root.run(&format!("{load} {program}; complete -p {program}"))?.success()?;
            ensure!(loaded.stdout.contains(program), "{loaded}");
            completions.push(program.to_owned());
        }
    }
    good(&format!("bash completes {}", list(&completions)));
    Ok(())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing, there being nothing".to_owned() } else { names.join(", ") }
}

/// This release's own package of wireguard-tools.
fn original_package() -> Result<PathBuf> {
    let folder = programs::target_folder()?.join("debian/original");
    fs::create_dir_all(&folder)?;
    let found = || -> Result<Option<PathBuf>> { Ok(super::files_in(&folder)?.into_iter().next()) };
    if found()?.is_none() {
        debian::download("wireguard-tools", &folder)?;
    }
    found()?.context("apt-get downloads nothing")
}

/// Puts our package in the place of the original, with a tunnel that is enabled, and once more over
/// itself. No systemd runs there: what it would be told is written down.
fn upgrade(base: &Base, archives: &Archives, original: &Path, how: &str) -> Result<()> {
    let root = base.copy("upgrade")?;
    install(&root, original, "dpkg")?;
    root.run(&format!("umask 077; printf %s '{CONFIG}' > /etc/wireguard/wg0.conf"))?.success()?;
    enabled(&root)?;
    let told = record_systemctl(&root)?;
    install(&root, &archives.package, how)?;
    let starts = told()?;
    ensure!(
        matches!(&*starts, [start] if start.ends_with(" start wg-quick@wg0.service")),
        "systemd is told to start {starts:?}"
    );
    install(&root, &archives.package, "dpkg")?;
    let starts = told()?;
    ensure!(starts.is_empty(), "an upgrade tells systemd to start {starts:?}");
    let state = "dpkg-query --show --showformat='${db:Status-Abbrev}' wireguard-tools || true";
    let state = root.run(state)?.success()?.stdout;
    ensure!(!state.starts_with("ii"), "wireguard-tools is still there: {state}");
    let output = root.run("dpkg --verify culvert; dpkg --audit")?.success()?;
    ensure!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
    let version = root.run("wg --version")?.success()?.stdout;
    ensure!(version.contains("Culvert"), "{version}");
    ensure!(
        root.run("cat /etc/wireguard/wg0.conf")?.success()?.stdout == CONFIG,
        "the file is kept"
    );
    let unit = "/etc/systemd/system/multi-user.target.wants/wg-quick@wg0.service";
    let unit = root.run(&format!("cat {unit}"))?.success()?.stdout;
    ensure!(
        unit == fs::read_to_string(build::workspace()?.join("systemd/wg-quick@.service"))?,
        "{unit}"
    );
    root.run("systemd-analyze verify --man=no wg-quick@wg0.service")?.success()?;
    // The original's own package satisfied others, which ours has to do.
    let upstream =
        version.strip_prefix("wireguard-tools v").and_then(|rest| rest.split(' ').next());
    let upstream = upstream.with_context(|| format!("no version in {version}"))?;
    // As the metapackage wireguard does, in the release that has the version we match.
    let needs = format!("apt-get -qq --simulate satisfy 'wireguard-tools (>= {upstream}-2)'");
    let needs = root.run(&needs)?.success()?.stdout;
    ensure!(!needs.contains("Inst"), "{needs}");
    let needs = "apt-get -qq --simulate --no-install-recommends install wireguard";
    let needs = root.run(needs)?.success()?.stdout;
    ensure!(needs.contains("Inst wireguard "), "{needs}");
    ensure!(!needs.contains("Remv") && !needs.contains("Inst wireguard-tools"), "{needs}");
    // Away, and in its place once more: it has left files of configuration.
    root.run("apt-get -qq --yes remove culvert")?.success()?;
    told()?;
    install(&root, &archives.package, "dpkg")?;
    let starts = told()?;
    ensure!(starts.len() == 1, "systemd is told to start {starts:?}");
    // And back.
    root.run("apt-get -qq --yes remove culvert")?.success()?;
    ensure!(
        root.run("cat /etc/wireguard/wg0.conf")?.success()?.stdout == CONFIG,
        "the file is kept"
    );
    install(&root, original, "dpkg")?;
    let output = root.run("dpkg --verify wireguard-tools; dpkg --audit")?.success()?;
    ensure!(output.stdout.is_empty(), "{output}");
    good(&format!(
        "{how} puts it in the place of wireguard-tools, units kept, enabled tunnels started; and back"
    ));
    Ok(())
}

/// Makes the root look as if systemd ran, with its enabled units inactive as removing
/// wireguard-tools leaves them. The function returned gives what it was told to start since the
/// last call.
fn record_systemctl(root: &Root) -> Result<impl Fn() -> Result<Vec<String>>> {
    const TOLD: &str = "/run/systemctl.log";
    root.run("mv /usr/bin/systemctl /usr/bin/systemctl.real; mkdir -p /run/systemd/system")?
        .success()?;
    let script = format!(
        "#!/bin/sh\n\
         case \" $* \" in\n\
         *' is-active '*) exit 3 ;;\n\
         *' start '* | *' restart '*) echo \"$*\" >> {TOLD} ;;\n\
         *' is-enabled '*) SYSTEMD_OFFLINE=1 exec systemctl.real \"$@\" ;;\n\
         esac\n"
    );
    root.write("/usr/bin/systemctl", script.as_bytes(), 0o755)?;
    Ok(|| {
        let told = root.run(&format!("touch {TOLD}; cat {TOLD}; rm {TOLD}"))?.success()?.stdout;
        Ok(told.lines().map(str::to_owned).collect())
    })
}

/// Unpacks the tarball at a prefix with modes of its own, as the README says.
fn prefix_keeps_its_modes(archives: &Archives) -> Result<()> {
    let prefix = programs::target_folder()?.join("dist/prefix");
    if prefix.exists() {
        fs::remove_dir_all(&prefix)?;
    }
    let folders = ["bin", "share", "share/man"].map(|folder| prefix.join(folder));
    for folder in &folders {
        fs::create_dir_all(folder)?;
    }
    for folder in &folders {
        fs::set_permissions(folder, Permissions::from_mode(0o2775))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archives.tarball).arg("-C").arg(&prefix).arg("--strip-components=1");
    testbed::run(&mut tar, b"", LIMIT)?.success()?;
    for folder in &folders {
        let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
        ensure!(mode == 0o2775, "unpacking makes the mode of {} {mode:o}", folder.display());
    }
    let units = prefix.join("share/doc/culvert/systemd/wg-quick@.service");
    ensure!(prefix.join("bin/wg").exists() && units.exists(), "the prefix lacks programs or units");
    good("unpacking the tarball leaves the modes of the prefix alone");
    Ok(())
}

/// The folder with what a tarball holds.
fn unpack(archive: &Path, name: &str) -> Result<PathBuf> {
    let folder = programs::target_folder()?.join("dist").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut tar = Command::new("tar");
    testbed::run(tar.arg("-xf").arg(archive).arg("-C").arg(&folder), b"", LIMIT)?.success()?;
    Ok(folder)
}

/// The tests of containers and the recipes, with the programs in `folder`.
fn static_programs(folder: &Path) -> Result<()> {
    for name in programs::NAMES {
        let program = fs::read(folder.join(name))?;
        // The path of a dynamic linker, which a static program does not have.
        ensure!(!program.windows(9).any(|part| part == b"ld-linux-"), "{name} is not static");
    }
    good("the tarball's programs are static");
    for (what, package, arguments) in [
        ("tunnels come up in a root with nothing but them", "wg-quick", ["program", "container::"]),
        ("every recipe works with them", "culvert-tests", ["recipes", ""]),
    ] {
        let mut cargo = build::cargo()?;
        cargo.args(["test", "--quiet", "--package", package, "--test"]).args(arguments);
        cargo.env("CULVERT_BIN_DIR", folder);
        if !cargo.status().context("cannot start cargo")?.success() {
            bail!("not so: {what}");
        }
        good(what);
    }
    Ok(())
}
