//! Descriptors that were opened for the daemon.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Child;

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use testbed::{Host, eventually};

use crate::{PATIENCE, uapi};

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);

/// Opens a TUN or TAP device in the host's network.
fn open_tun(host: &Host, flags: i32) -> Result<OwnedFd> {
    host.in_network(|| {
        let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(b"given0") {
            *to = *from as libc::c_char;
        }
        let flags = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as i16 };
        let request = libc::ifreq { ifr_name: name, ifr_ifru: flags };
        // SAFETY: the request is live, and the kernel only reads it.
        unsafe { set_interface(file.as_raw_fd(), &raw const request) }?;
        Ok(file.into())
    })
}

/// Starts the daemon with descriptors that survive the exec.
fn start(host: &Host, variables: &[(&str, &OwnedFd)]) -> Result<Child> {
    let mut command = host.command("wg-userspace");
    for (variable, fd) in variables {
        let fd = fd.try_clone()?;
        let number = fd.as_raw_fd();
        command.env(variable, number.to_string());
        let keep = move || Ok(fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)?);
        // SAFETY: between fork and exec there is only one system call. Before the fork, the
        // descriptor would get into the children of other tests too.
        unsafe { command.pre_exec(keep) };
    }
    Ok(command.args(["-f", "ignored"]).spawn()?)
}

#[test]
fn an_open_device_and_a_listening_socket_are_taken_over() -> Result<()> {
    let host = Host::new("given")?;
    let tun = open_tun(&host, libc::IFF_TUN | libc::IFF_NO_PI)?;
    let place = host.path("/run/given.sock");
    let socket = OwnedFd::from(UnixListener::bind(&place)?);
    let mut daemon = start(&host, &[("WG_TUN_FD", &tun), ("WG_UAPI_FD", &socket)])?;
    drop((tun, socket));
    host.set_up("given0")?;
    let port = eventually("the port", PATIENCE, || {
        let mut stream = UnixStream::connect(&place).ok()?;
        wg_control::uapi::write_get(&mut stream).ok()?;
        let port = wg_control::uapi::read_device(&stream, "given0").ok()?.listen_port;
        (port != 0).then_some(port)
    })?;
    ensure!(host.in_network(|| std::net::UdpSocket::bind(("0.0.0.0", port))).is_err());
    host.delete_link("given0")?;
    ensure!(daemon.wait()?.success());
    ensure!(place.exists(), "a socket elsewhere is its maker's");
    Ok(())
}

/// At the end the daemon removes the usual path if its own socket is there, and only then.
#[test]
fn a_socket_that_is_taken_over_is_removed_from_the_usual_path_alone() -> Result<()> {
    for usual in [false, true] {
        let host = Host::new("place")?;
        let tun = open_tun(&host, libc::IFF_TUN | libc::IFF_NO_PI)?;
        // The daemon has to find it under the name that this process gives it, too.
        let directory =
            std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
        std::fs::create_dir_all(&directory)?;
        std::os::unix::fs::symlink(&directory, host.path("/run/wireguard"))?;
        let theirs = UnixListener::bind(directory.join("given0.sock"))?;
        let ours = UnixListener::bind(directory.join("other.sock"))?;
        let given = OwnedFd::from(if usual { theirs } else { ours });
        let mut daemon = start(&host, &[("WG_TUN_FD", &tun), ("WG_UAPI_FD", &given)])?;
        drop((tun, given));
        let name = if usual { "given0.sock" } else { "other.sock" };
        eventually("an answer", PATIENCE, || {
            let mut stream = UnixStream::connect(directory.join(name)).ok()?;
            wg_control::uapi::write_get(&mut stream).ok()?;
            wg_control::uapi::read_device(&stream, "given0").ok()
        })?;
        host.delete_link("given0")?;
        ensure!(daemon.wait()?.success());
        ensure!(directory.join("given0.sock").exists() != usual, "usual: {usual}");
        ensure!(directory.join("other.sock").exists());
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

#[test]
fn the_socket_is_named_after_the_device() -> Result<()> {
    let host = Host::new("named")?;
    let tun = open_tun(&host, libc::IFF_TUN | libc::IFF_NO_PI)?;
    let mut daemon = start(&host, &[("WG_TUN_FD", &tun)])?;
    drop(tun);
    eventually("the socket", PATIENCE, || uapi::get(&host, "given0").ok())?;
    host.delete_link("given0")?;
    ensure!(daemon.wait()?.success());
    uapi::wait_for_end(&host, "given0")
}

#[test]
fn a_device_of_another_kind_is_refused() -> Result<()> {
    let host = Host::new("refused")?;
    let tap = open_tun(&host, libc::IFF_TAP | libc::IFF_NO_PI)?;
    let mut daemon = start(&host, &[("WG_TUN_FD", &tap)])?;
    ensure!(daemon.wait()?.code() == Some(1));
    let output = host
        .run_command(host.command("wg-userspace").env("WG_TUN_FD", "none").arg("wg0"), "")?
        .code(1)?;
    ensure!(output.stderr.contains("WG_TUN_FD: expected the number"), "{}", output.stderr);
    Ok(())
}

#[test]
fn one_descriptor_is_not_both_device_and_socket() -> Result<()> {
    let host = Host::new("both")?;
    let output = host.run("env WG_TUN_FD=7 WG_UAPI_FD=07 wg-userspace wg0")?.code(1)?;
    ensure!(output.stderr.contains("name the same file descriptor"), "{}", output.stderr);
    Ok(())
}
