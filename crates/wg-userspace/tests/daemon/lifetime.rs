//! From the start to the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Host, eventually};
use wg_control::DeviceUpdate;

use crate::{PATIENCE, uapi};

#[test]
fn the_interface_can_be_configured_as_soon_as_the_command_returns() -> Result<()> {
    let host = Host::new("ready")?;
    let output = host.run("wg-userspace wg0")?.success()?;
    ensure!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let update = DeviceUpdate { listen_port: Some(777), ..DeviceUpdate::default() };
    uapi::set(&host, "wg0", &update)?;
    ensure!(uapi::get(&host, "wg0")?.listen_port == 777);
    let mode = |path: &str| -> Result<u32> {
        Ok(fs::metadata(host.path(path))?.permissions().mode() & 0o777)
    };
    ensure!(mode("/run/wireguard/wg0.sock")? == 0o600);
    ensure!(mode("/run/wireguard")? == 0o755);
    let mtu = host.run("cat /sys/class/net/wg0/mtu")?.success()?;
    ensure!(mtu.stdout == "1420\n", "{}", mtu.stdout);
    Ok(())
}

#[test]
fn sockets_are_bound_while_the_link_is_up() -> Result<()> {
    let host = Host::new("up")?;
    host.run("wg-userspace wg0")?.success()?;
    let bound = |port: u16| {
        host.in_network(|| {
            let v4 = std::net::UdpSocket::bind(("0.0.0.0", port)).is_err();
            let v6 = std::net::UdpSocket::bind(("::", port)).is_err();
            v4 && v6
        })
    };
    ensure!(uapi::get(&host, "wg0")?.listen_port == 0);
    host.set_up("wg0")?;
    // The very next request sees it.
    let port = uapi::get(&host, "wg0")?.listen_port;
    ensure!(port != 0 && bound(port));
    set_down(&host)?;
    ensure!(uapi::get(&host, "wg0")?.listen_port == port, "the port is remembered");
    eventually("the sockets' end", PATIENCE, || (!bound(port)).then_some(()))?;
    host.set_up("wg0")?;
    ensure!(uapi::get(&host, "wg0")?.listen_port == port && bound(port));
    Ok(())
}

#[test]
fn removing_the_interface_ends_the_daemon() -> Result<()> {
    let host = Host::new("unlink")?;
    host.run("wg-userspace wg0")?.success()?;
    host.set_up("wg0")?;
    host.delete_link("wg0")?;
    uapi::wait_for_end(&host, "wg0")
}

#[test]
fn the_port_is_free_when_the_socket_has_gone() -> Result<()> {
    let host = Host::new("port")?;
    let update = DeviceUpdate { listen_port: Some(777), ..DeviceUpdate::default() };
    for _ in 0..20 {
        let mut daemon = host.command("wg-userspace").args(["--foreground", "wg0"]).spawn()?;
        eventually("the socket", PATIENCE, || uapi::connect(&host, "wg0").ok())?;
        uapi::set(&host, "wg0", &update)?;
        host.set_up("wg0")?;
        ensure!(uapi::get(&host, "wg0")?.listen_port == 777);
        kill(Pid::from_raw(daemon.id().try_into()?), Signal::SIGTERM)?;
        // Without a pause: the port has to be free at once.
        let deadline = Instant::now() + PATIENCE;
        while uapi::path(&host, "wg0").exists() {
            ensure!(Instant::now() < deadline, "the socket is still there");
            std::thread::yield_now();
        }
        host.in_network(|| std::net::UdpSocket::bind(("0.0.0.0", 777)))?;
        ensure!(daemon.wait()?.success());
    }
    Ok(())
}

#[test]
fn removing_the_socket_ends_the_daemon() -> Result<()> {
    let host = Host::new("socket")?;
    host.run("wg-userspace wg0")?.success()?;
    fs::remove_file(uapi::path(&host, "wg0"))?;
    uapi::wait_for_end(&host, "wg0")
}

#[test]
fn signals_end_the_daemon() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let host = Host::new("signal")?;
        let mut daemon = host.command("wg-userspace").args(["--foreground", "wg0"]).spawn()?;
        eventually("the socket", PATIENCE, || uapi::connect(&host, "wg0").ok())?;
        kill(Pid::from_raw(daemon.id().try_into()?), signal)?;
        let status = daemon.wait()?;
        ensure!(status.success(), "{signal}: {status}");
        uapi::wait_for_end(&host, "wg0")?;
    }
    Ok(())
}

#[test]
fn a_client_that_hangs_does_not_keep_the_daemon() -> Result<()> {
    let host = Host::new("hanging")?;
    host.run("wg-userspace wg0")?.success()?;
    let _hanging = uapi::connect(&host, "wg0")?;
    host.delete_link("wg0")?;
    uapi::wait_for_end(&host, "wg0")
}

#[test]
fn the_socket_of_a_daemon_that_was_killed_is_replaced() -> Result<()> {
    let host = Host::new("stale")?;
    host.run("wg-userspace wg0")?.success()?;
    let daemon = host.processes()?.pop().context("the daemon is gone")?;
    let kill = format!("kill -KILL {}", daemon.pid);
    host.run_command(host.command("sh").args(["-c", &kill]), "")?.success()?;
    eventually("the interface's end", PATIENCE, || {
        (!host.interfaces().ok()?.contains(&"wg0".to_owned())).then_some(())
    })?;
    ensure!(uapi::path(&host, "wg0").exists(), "a stale socket was left");
    host.run("wg-userspace wg0")?.success()?;
    uapi::get(&host, "wg0")?;
    Ok(())
}

#[test]
fn the_socket_of_another_daemon_is_left_alone() -> Result<()> {
    let host = Host::new("two")?;
    host.run("wg-userspace wg0")?.success()?;
    // One with a network of its own, so that only the socket is in the way.
    let output = host.run("unshare --net wg-userspace wg0")?.code(1)?;
    ensure!(output.stderr.contains("another daemon serves"), "{}", output.stderr);
    uapi::get(&host, "wg0")?;
    // A socket that someone else has put in the place of ours is not ours to remove.
    let path = uapi::path(&host, "wg0");
    let theirs = path.with_extension("new");
    let _listener = std::os::unix::net::UnixListener::bind(&theirs)?;
    fs::rename(&theirs, &path)?;
    eventually("the daemon's end", PATIENCE, || host.processes().ok()?.is_empty().then_some(()))?;
    ensure!(path.exists());
    Ok(())
}

/// Takes the interface down, as `ip link set wg0 down`.
fn set_down(host: &Host) -> Result<()> {
    host.in_network(|| crate::pair::set_flags("wg0", 0)).context("cannot set wg0 down")
}
