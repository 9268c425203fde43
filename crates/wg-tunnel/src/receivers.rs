//! The threads that read from the UDP sockets. They are started with the tunnel and turn from the
//! old sockets to the new: once a tunnel runs, no thread and no buffer for one has to be had from a
//! machine that may have run out of either.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::AddressFamily;

use crate::engine::Engine;
use crate::handshake_inlets;
use crate::inbound::{self, Buffers};
use crate::sockets::Sockets;

/// What the threads read from.
#[derive(Default)]
pub(crate) struct Receivers {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default)]
struct Turn {
    sockets: Option<Arc<Sockets>>,
    /// Counts the changes of sockets, so that each thread takes each of them once.
    number: u64,
    /// Threads that have not let go of their sockets.
    reading: usize,
    stopped: bool,
}

impl Receivers {
    /// Closes the sockets that are read from, waits until no thread holds them, and reads from
    /// these.
    pub(crate) fn turn_to(&self, sockets: Option<Arc<Sockets>>) {
        let mut turn = self.lock();
        turn.close();
        while turn.reading > 0 {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        turn.sockets = sockets;
        turn.number += 1;
        self.changed.notify_all();
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        let mut turn = self.lock();
        turn.stopped = true;
        turn.close();
        self.changed.notify_all();
    }

    /// Reads from the socket of this family and lane or, with `None`, from those for handshake
    /// messages, where there are any, until [`Receivers::stop`].
    pub(crate) fn run(engine: &Arc<Engine>, family: AddressFamily, lane: Option<usize>) {
        let receivers = &engine.receivers;
        let mut buffers = Buffers::new();
        let mut last = 0;
        while let Some((number, sockets)) = receivers.begin(last) {
            match lane {
                None => handshake_inlets::run(engine, &sockets, family, &mut buffers),
                Some(_) => {
                    let mut inlets = sockets.inlets_of(family);
                    if let Some(inlet) = inlets.find(|inlet| inlet.lane == lane) {
                        inbound::run(engine, &sockets, inlet, &mut buffers);
                    }
                }
            }
            last = number;
            receivers.end(sockets);
        }
    }

    /// Waits for sockets other than those of number `last`; `None` when there will be none.
    fn begin(&self, last: u64) -> Option<(u64, Arc<Sockets>)> {
        let mut turn = self.lock();
        loop {
            if turn.stopped {
                return None;
            }
            if let Some(sockets) = turn.sockets.clone().filter(|_| turn.number != last) {
                turn.reading += 1;
                return Some((turn.number, sockets));
            }
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, sockets: Arc<Sockets>) {
        // First: whoever waits for us wants the port to be free.
        drop(sockets);
        self.lock().reading -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn close(&mut self) {
        if let Some(sockets) = self.sockets.take() {
            sockets.close();
        }
    }
}
