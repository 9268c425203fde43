//! The interface itself: in the kernel, or as a userspace daemon's TUN device.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use wg_control::DeviceUpdate;
use wg_hostnet::Link;

use crate::hook::success;
use crate::host::Host;
use crate::say;
use crate::signals::Interrupted;

/// How long a daemon may take to answer, or to go.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Makes the interface in the kernel; where that knows no WireGuard, starts the userspace daemon and
/// waits until it answers. The host then knows its index.
///
/// # Errors
/// When neither works. Nothing is left behind.
pub(crate) fn create_link(host: &Host) -> anyhow::Result<()> {
    create(host)?;
    host.made.set(Some(host.link()?.index));
    Ok(())
}

fn create(host: &Host) -> anyhow::Result<()> {
    let refusal = match host.net.create_wireguard(&host.interface) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !refusal.is(Errno::EOPNOTSUPP) {
        return Err(refusal.into());
    }
    say(format_args!("{refusal}"));
    let (name, program) = implementation(host)?;
    say(format_args!(
        "[!] This kernel has no WireGuard. Falling back to a userspace implementation."
    ));
    say(format_args!("[#] {name} {}", host.interface));
    let started = start(host, &program);
    if started.is_err() && host.net.link(&host.interface)?.is_some() {
        delete_link(host)?;
    }
    started
}

/// Sets the MTU in bytes and brings the interface up. A daemon of ours listens then.
///
/// # Errors
/// What the kernel or the daemon says.
pub(crate) fn set_mtu_and_up(host: &Host, mtu: u32) -> anyhow::Result<()> {
    let link = host.link()?;
    host.net.set_mtu_and_up(&link, mtu)?;
    if link.kind.as_deref() == Some("wireguard") {
        return Ok(());
    }
    // A daemon sees in its own time that the link is up; ours looks before it answers.
    host.configure(&DeviceUpdate::default())
}

/// Removes the interface that was made, whatever its name is now. Where it is a daemon's, that ends,
/// and its socket is waited for. An interface that is gone already is no error.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn delete_link(host: &Host) -> anyhow::Result<()> {
    let Some(link) = our_link(host)? else {
        return remove_stale_socket(host);
    };
    match host.net.delete_link(&link) {
        Err(error) if !error.is(Errno::ENODEV) => return Err(error.into()),
        _ => {}
    }
    if link.kind.as_deref() == Some("wireguard") {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    while socket(host).exists() {
        if Instant::now() > deadline {
            return remove_stale_socket(host);
        }
        sleep(POLL);
    }
    Ok(())
}

/// Whether there is anything for [`delete_link`] to remove.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn is_left(host: &Host) -> anyhow::Result<bool> {
    Ok(our_link(host)?.is_some() || wg_control::is_socket_stale(&host.interface))
}

/// `WG_QUICK_USERSPACE_IMPLEMENTATION`, else our own: what to call it, and where it is.
fn implementation(host: &Host) -> anyhow::Result<(String, PathBuf)> {
    let chosen = env::var_os("WG_QUICK_USERSPACE_IMPLEMENTATION").filter(|name| !name.is_empty());
    let name = chosen.unwrap_or_else(|| "wg-userspace".into());
    let shown = name.to_string_lossy().into_owned();
    match host.programs.find(&name) {
        Some(program) => Ok((shown, program)),
        None => {
            bail!("this kernel has no WireGuard, and there is no `{shown}' in PATH to do its work")
        }
    }
}

fn start(host: &Host, program: &Path) -> anyhow::Result<()> {
    let mut command = host.programs.command(program);
    // In a process group of its own, so that a later Ctrl-C does not reach the daemon.
    command.arg(&host.interface).process_group(0);
    // Should we be killed, it must not make the interface after a `down'.
    // SAFETY: between fork and exec the closure only calls prctl, which is async-signal-safe.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
    let mut child = host
        .signals
        .spawn(&mut command)
        .with_context(|| format!("`{}' cannot be run", program.display()))?;
    success(host.signals.wait(&mut child)?)
        .with_context(|| format!("`{}' could not start", program.display()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        host.signals.check()?;
        let error = match host.device() {
            Ok(_) => return Ok(()),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            bail!("`{}' does not answer: {error}", program.display());
        }
        sleep(POLL);
    }
}

/// The interface of the index that the journal knows, else of the name; either may be something
/// else's by now.
fn our_link(host: &Host) -> anyhow::Result<Option<Link>> {
    let link = match host.made.get() {
        Some(index) => host.net.link_by_index(index)?,
        None => host.net.link(&host.interface)?,
    };
    Ok(link.filter(|link| matches!(link.kind.as_deref(), Some("wireguard" | "tun"))))
}

fn remove_stale_socket(host: &Host) -> anyhow::Result<()> {
    let socket = socket(host);
    if wg_control::is_socket_stale(&host.interface) {
        fs::remove_file(&socket).with_context(|| format!("{}: remove", socket.display()))?;
    }
    Ok(())
}

fn socket(host: &Host) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{}.sock", host.interface))
}
