//! Receiving handshake messages: several sockets, in turn.
//!
//! A flood that comes faster than it can be looked at fills a socket, and the kernel drops what
//! comes next, whoever sent it. So the filter of the port gives each source one of several sockets
//! ([`PortFilter`](crate::port_filter::PortFilter)), and from each as much is taken as from every
//! other: a flood from one source takes the room of few others. Who shares a socket with it does
//! not do so for long, for under load sources are spread anew from time to time: the next attempt
//! of a peer most likely meets another socket.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::AddressFamily;

use crate::clock;
use crate::engine::Engine;
use crate::inbound::{self, Buffers};
use crate::sockets::Sockets;

/// log₂ of the number of sockets of a family.
pub(crate) const BITS: u32 = 3;
/// Under load sources stay with a socket for so long: less than the time between two attempts
/// of a peer (REKEY_TIMEOUT, 5 s).
const SPREAD_TIME: Duration = Duration::from_secs(2);

/// Takes what comes to the sockets for handshake messages of `family` until they are closed.
pub(crate) fn run(
    engine: &Arc<Engine>,
    sockets: &Sockets,
    family: AddressFamily,
    buffers: &mut Buffers,
) {
    let inlets: Vec<_> = sockets.inlets_of(family).filter(|inlet| inlet.lane.is_none()).collect();
    if inlets.is_empty() {
        return;
    }
    let mut fds: Vec<_> =
        inlets.iter().map(|inlet| PollFd::new(inlet.as_fd(), PollFlags::POLLIN)).collect();
    let mut last_spread = clock::now();
    while !sockets.is_closed() {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => {
                inbound::receive_failed(engine, errno);
                continue;
            }
        }
        for (inlet, fd) in inlets.iter().zip(&fds) {
            // An error is something to read, too.
            if fd.any() == Some(true) {
                inbound::receive_waiting(engine, inlet, buffers);
            }
        }
        let now = clock::now();
        if now.since(last_spread) >= SPREAD_TIME && engine.handshakes.is_under_load(now) {
            last_spread = now;
            sockets.spread_handshakes(family);
        }
    }
}
