//! Receiving handshake messages: several sockets, in turn.
//!
//! A flood that comes faster than it can be looked at fills a socket, and the kernel drops what
//! comes next, whoever sent it. So the filter of the port gives each source one of several sockets
//! ([`PortFilter`](crate::port_filter::PortFilter)), and from each as much is taken as from every
//! other: a flood from one source takes the room of few others. Who shares a socket with it does
//! not do so for long, for sources are spread anew from time to time: the next attempt of a peer
//! most likely meets another socket. That costs microseconds, so it is done whenever messages come.
//! No sign of a flood would be sure: what has no valid mac1 puts nobody under load, and a socket
//! that is full of joined datagrams holds fewer than are taken at once.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::AddressFamily;

use crate::clock;
use crate::engine::Engine;
use crate::inbound::{self, Buffers};
use crate::sockets::{Inlet, Sockets};

/// log₂ of the number of sockets of a family.
pub(crate) const BITS: u32 = 3;
/// Sources stay with a socket for so long: less than the time between two attempts of a peer
/// (REKEY_TIMEOUT, 5 s).
const SPREAD_TIME: Duration = Duration::from_secs(2);

/// Takes what comes to the sockets for handshake messages of `family` until they are closed.
pub(crate) fn run(
    engine: &Arc<Engine>,
    sockets: &Sockets,
    family: AddressFamily,
    buffers: &mut Buffers,
) {
    receive_in_turn(sockets, family, SPREAD_TIME, |ready| match ready {
        Ok(inlet) => inbound::receive_waiting(engine, inlet, buffers),
        Err(errno) => inbound::receive_failed(engine, errno),
    });
}

/// Calls `receive` for each socket where something waits, or with what went wrong. Where something
/// came, sources are spread anew, once in `spread_time`.
fn receive_in_turn<'a>(
    sockets: &'a Sockets,
    family: AddressFamily,
    spread_time: Duration,
    mut receive: impl FnMut(Result<&'a Inlet, Errno>),
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
                receive(Err(errno));
                continue;
            }
        }
        for (inlet, fd) in inlets.iter().zip(&fds) {
            // An error is something to read, too.
            if fd.any() == Some(true) {
                receive(Ok(inlet));
            }
        }
        let now = clock::now();
        if now.since(last_spread) >= spread_time {
            last_spread = now;
            sockets.spread_handshakes(family);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};
    use std::sync::mpsc::{self, Receiver};
    use std::thread;

    use super::*;
    use crate::lanes::Lanes;
    use crate::offloads::Offloads;
    use crate::received::ReceivedBatch;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Which sockets messages of 64 sources come to, one of each.
    fn sockets_of_sources(sockets: &Sockets, told: &Receiver<RawFd>) -> Option<Vec<RawFd>> {
        let socket_of = |host| {
            let sender = UdpSocket::bind((Ipv4Addr::new(127, 0, 9, host), 0)).unwrap();
            sender.send_to(&[1; 148], (Ipv4Addr::LOCALHOST, sockets.port())).unwrap();
            told.recv_timeout(PATIENCE).ok()
        };
        (1..=64).map(socket_of).collect()
    }

    #[test]
    fn sources_are_spread_anew_when_their_time_is_over() {
        for (spread_time, are_spread) in [(Duration::MAX, false), (Duration::ZERO, true)] {
            let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::ONE).unwrap();
            let (tell, told) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut batch = ReceivedBatch::new();
                    receive_in_turn(&sockets, AddressFamily::Inet, spread_time, |ready| {
                        let inlet = ready.unwrap().as_fd();
                        // Nothing is there where the sockets are closed.
                        if batch.receive_waiting(inlet).is_ok() {
                            tell.send(inlet.as_raw_fd()).unwrap();
                        }
                    });
                });
                let [first, second] = [(); 2].map(|()| sockets_of_sources(&sockets, &told));
                // Before anything fails: the thread must not wait for ever.
                sockets.close();
                assert!(first.is_some() && second.is_some(), "a message did not come");
                assert_eq!(first != second, are_spread);
            });
        }
    }
}
