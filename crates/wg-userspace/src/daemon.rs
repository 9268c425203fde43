//! The daemon: from the TUN device and the socket to their end.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::Inotify;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use wg_tunnel::{Tun, Tunnel};

use crate::clients::Clients;
use crate::inherited::Inherited;
use crate::options::Options;
use crate::uapi_socket::{Place, UapiSocket};
use crate::{memory, privileges};

/// The wait after an error that will not go away by itself.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Runs the interface until it or its socket is removed, or a signal asks to end. `ready` is
/// called once clients can connect.
pub(crate) fn run(
    options: &Options,
    inherited: Inherited,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Blocked before there are threads, so that none of them is interrupted.
    let signals = block_signals()?;
    privileges::begin()?;
    memory::set_up();
    let tun = match inherited.tun {
        Some(fd) => Tun::from_fd(fd, options.offloads)?,
        None => Tun::create(&options.interface, options.offloads, options.lanes)?,
    };
    let interface = tun.name().to_owned();
    let socket = match inherited.uapi {
        Some(fd) => UapiSocket::from_fd(fd, &interface)?,
        None => UapiSocket::bind(&interface)?,
    };
    end_with_any_thread(socket.place().cloned());
    let watch = socket.watch()?;
    socket.listener().set_nonblocking(true)?;
    // While it can still be found out.
    wg_tunnel::count_processors();
    privileges::restrict_threads(socket.place().and_then(Place::directory));
    let tunnel = Tunnel::start(tun, options.offloads, options.lanes);
    let tunnel = Arc::new(tunnel.context("cannot start the tunnel")?);
    let clients = Clients::start(&interface, &tunnel).context("cannot start the UAPI threads")?;
    privileges::restrict_system_calls();
    ready()?;
    log::info!("ready");
    serve(&Events { signals, socket: &socket, watch, tunnel: &tunnel }, clients);
    // Whoever sees that the socket is gone may want the port; nobody should find an interface whose
    // daemon is ending.
    tunnel.stop();
    drop(socket);
    Ok(())
}

/// What the main thread waits for.
struct Events<'a> {
    signals: SignalFd,
    socket: &'a UapiSocket,
    watch: Option<Inotify>,
    tunnel: &'a Tunnel,
}

fn serve(events: &Events<'_>, mut clients: Clients) {
    loop {
        let listener = events.socket.listener().as_fd();
        let watch = events.watch.as_ref().map(Inotify::as_fd);
        let fds = [events.signals.as_fd(), events.tunnel.gone(), listener];
        let [signal, gone, connection, removed] = match wait(fds, watch) {
            Ok(ready) => ready,
            Err(errno) => {
                log::error!("cannot wait for events: {}", errno.desc());
                std::thread::sleep(ERROR_PAUSE);
                continue;
            }
        };
        if signal {
            log::info!("asked to end by a signal");
            return;
        }
        if gone {
            log::info!("the interface is gone");
            return;
        }
        if removed && !still_there(events) {
            log::info!("the UAPI socket is gone");
            return;
        }
        if connection {
            accept(events, &mut clients);
        }
    }
}

/// Waits for any of the descriptors; tells which are ready.
fn wait(fds: [BorrowedFd<'_>; 3], watch: Option<BorrowedFd<'_>>) -> Result<[bool; 4], Errno> {
    let mut fds: Vec<_> =
        fds.into_iter().chain(watch).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut ready = [false; 4];
    for (ready, fd) in ready.iter_mut().zip(&fds) {
        *ready = fd.any().unwrap_or(false);
    }
    Ok(ready)
}

/// Whether our socket is still at its path, after the directory has changed.
fn still_there(events: &Events<'_>) -> bool {
    // What exactly happened does not matter, only that it was read.
    while events.watch.as_ref().is_some_and(|watch| watch.read_events().is_ok()) {}
    events.socket.place().is_none_or(Place::is_ours)
}

fn accept(events: &Events<'_>, clients: &mut Clients) {
    match events.socket.listener().accept() {
        Ok((stream, _)) => clients.add(stream),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(error) => {
            log::error!("cannot accept a UAPI client: {error}");
            if !clients.cut_one() {
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }
}

fn block_signals() -> anyhow::Result<SignalFd> {
    let mut signals = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|s| signals.add(s));
    signals.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("cannot wait for signals")
}

/// A thread that panics ends the whole process: half a tunnel would look like a whole one.
fn end_with_any_thread(place: Option<Place>) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        if let Some(place) = &place {
            place.remove();
        }
        std::process::abort();
    }));
}
