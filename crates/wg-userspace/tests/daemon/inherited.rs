//! Descriptors that were opened for the daemon.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
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
        let mut stream = std::os::unix::net::UnixStream::connect(&place).ok()?;
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
    for flags in [libc::IFF_TAP | libc::IFF_NO_PI, libc::IFF_TUN | libc::IFF_VNET_HDR] {
        let tun = open_tun(&host, flags)?;
        let mut daemon = start(&host, &[("WG_TUN_FD", &tun)])?;
        ensure!(daemon.wait()?.code() == Some(1));
    }
    let output = host
        .run_command(host.command("wg-userspace").env("WG_TUN_FD", "none").arg("wg0"), "")?
        .code(1)?;
    ensure!(output.stderr.contains("WG_TUN_FD: expected the number"), "{}", output.stderr);
    Ok(())
}
