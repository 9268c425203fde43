//! A running tunnel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::socket::AddressFamily;

use crate::apply::Removed;
use crate::engine::Engine;
use crate::handshakes::Handshakes;
use crate::lanes::Lanes;
use crate::link::LinkWatch;
use crate::offloads::Offloads;
use crate::receivers::Receivers;
use crate::routes::Routes;
use crate::status::Status;
use crate::timers::Timers;
use crate::tun::Tun;
use crate::update::{ApplyError, Update};
use crate::{link, outbound};

/// A TUN device and the threads that forward its packets. Dropping it ends them, and the
/// interface with them.
///
/// Sockets belong to the network namespace of the thread that binds them, which may be any that
/// calls it: all callers must be in the namespace where it was started.
pub struct Tunnel {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Tunnel {
    /// Starts the threads. Outward there are no more lanes than the device has queues. UDP sockets
    /// are bound while the interface is up.
    ///
    /// # Errors
    /// When the interface's state cannot be followed or a thread not be started.
    pub fn start(tun: Tun, offloads: Offloads, lanes: Lanes) -> io::Result<Self> {
        let link = LinkWatch::open(&tun)?;
        let routes = Routes::open()?;
        let engine = Arc::new(Engine::new(tun, offloads, lanes, link)?);
        let tunnel = Self { engine, threads: Mutex::default() };
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for lane in (0..lanes.count()).map(Some).chain([None]) {
                let (name, workers) = match lane {
                    Some(lane) => (format!("udp-to-tun {lane}"), lanes.workers()),
                    None => ("udp-handshakes".to_owned(), 1),
                };
                for _ in 0..workers {
                    tunnel.spawn(&name, move |engine| Receivers::run(engine, family, lane))?;
                }
            }
        }
        tunnel.engine.sync_link();
        tunnel.spawn("link", link::run)?;
        tunnel.spawn("routes", move |engine| routes.run(engine))?;
        tunnel.spawn("timers", Timers::run)?;
        tunnel.spawn("handshakes", Handshakes::run)?;
        for lane in 0..tunnel.engine.tun.queues() {
            for _ in 0..lanes.workers() {
                tunnel.spawn(&format!("tun-to-udp {lane}"), move |engine| {
                    outbound::run(engine, lane);
                })?;
            }
        }
        Ok(tunnel)
    }

    /// Changes the configuration, whole or not at all. Returns what was removed, which may be many
    /// peers, for the caller to drop when nobody waits.
    ///
    /// # Errors
    /// When the port cannot be bound, packets cannot be marked, or there are too many peers.
    pub fn apply(&self, update: Update) -> Result<Removed, ApplyError> {
        self.engine.sync_link();
        self.engine.apply(update)
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.engine.configuration().peers.len()
    }

    /// How many allowed IPs all peers have.
    pub fn allowed_ip_count(&self) -> usize {
        self.engine.allowed_ips.load().len()
    }

    /// The configuration and state now.
    pub fn status(&self) -> Status {
        self.engine.sync_link();
        self.engine.status()
    }

    /// Becomes readable when the interface is gone.
    pub fn gone(&self) -> BorrowedFd<'_> {
        self.engine.gone_event.as_fd()
    }

    /// Ends the threads and lets go of the port, for good. The interface stays until this is
    /// dropped.
    pub fn stop(&self) {
        self.engine.begin_stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that panicked has said so itself.
            let _ = thread.join();
        }
        let mut configuration = self.engine.configuration_mut();
        self.engine.unbind(&mut configuration);
        // Nothing binds it again.
        configuration.link_up = false;
    }

    fn spawn(&self, name: &str, run: impl FnOnce(&Arc<Engine>) + Send + 'static) -> io::Result<()> {
        let engine = self.engine.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || run(&engine))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop();
    }
}
