//! What all threads of a tunnel share, and how a packet that is not forwarded gets out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use wg_noise::{
    CookieChecker, Instant, LocalStatic, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Wanted,
    padded_len,
};

use crate::admission::Admission;
use crate::allowed_ips_snapshots::Snapshots;
use crate::configuration::Configuration;
use crate::datagrams::{Datagram, SendFailure, Sender};
use crate::endpoint::Endpoint;
use crate::handshakes::Handshakes;
use crate::index_table::Indices;
use crate::lanes::Lanes;
use crate::link::LinkWatch;
use crate::log_limit::LogLimit;
use crate::offloads::Offloads;
use crate::outbound::Outbound;
use crate::peer::Peer;
use crate::receivers::Receivers;
use crate::sockets::Sockets;
use crate::timers::Timers;
use crate::tun::Tun;
use crate::{clock, ecn, icmp, tun};

/// Shared by the threads of a tunnel.
///
/// Locks, outermost first: `link`, `configuration`, then those inside `handshakes` and `timers`.
/// The data path takes only the last two, for a handshake message and for a deadline that comes
/// nearer, and, in wg-noise, a keypair's replay window for each batch that was opened, a peer's
/// staged packets while it has no session, and the cookie secret and the limit of proven
/// addresses for a handshake message. None of
/// these is held while another is taken or a system call waits, and nobody holds one for longer
/// than a batch takes.
///
/// The workers of a lane's direction wait for one another besides (`turns`): to read, and to let
/// out what they have made in the order in which it was read. Who waits for either holds no lock,
/// but for the batch of an outbound worker that sleeps: who stands in for it holds that, and only
/// the worker, when it is woken, waits for it.
pub(crate) struct Engine {
    pub(crate) tun: Tun,
    pub(crate) offloads: Offloads,
    pub(crate) lanes: Lanes,
    pub(crate) mtu: AtomicUsize,
    /// `None` without a private key.
    pub(crate) identity: ArcSwapOption<Identity>,
    pub(crate) allowed_ips: Snapshots<Owner>,
    pub(crate) indices: Arc<Indices>,
    /// `None` while the link is down.
    pub(crate) sockets: ArcSwapOption<Sockets>,
    pub(crate) receivers: Receivers,
    /// For each queue of the device.
    outbound: Vec<Outbound>,
    pub(crate) admission: Admission,
    pub(crate) handshakes: Handshakes,
    pub(crate) timers: Timers,
    pub(crate) limits: Limits,
    pub(crate) icmp: icmp::Errors,
    pub(crate) stop_event: EventFd,
    pub(crate) gone_event: EventFd,
    link: Mutex<LinkWatch>,
    configuration: RwLock<Configuration>,
    stopping: AtomicBool,
}

/// The private key and what is derived from it once.
pub(crate) struct Identity {
    pub(crate) local: LocalStatic,
    pub(crate) cookies: CookieChecker,
}

/// Whose an allowed IP is.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) peer: Arc<Peer>,
    /// Its place among the allowed IPs of the peer.
    pub(crate) position: u64,
}

/// One limit for each kind of message that packets cause.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) tun: LogLimit,
    pub(crate) udp: LogLimit,
    pub(crate) outbound: LogLimit,
    pub(crate) inbound: LogLimit,
    pub(crate) handshakes: LogLimit,
}

impl Engine {
    pub(crate) fn new(
        tun: Tun,
        offloads: Offloads,
        lanes: Lanes,
        link: LinkWatch,
    ) -> Result<Self, Errno> {
        let outbound = std::iter::repeat_with(Outbound::default).take(tun.queues()).collect();
        Ok(Self {
            tun,
            offloads,
            lanes,
            mtu: AtomicUsize::new(tun::DEFAULT_MTU as usize),
            identity: ArcSwapOption::empty(),
            allowed_ips: Snapshots::default(),
            indices: Indices::new(),
            sockets: ArcSwapOption::empty(),
            receivers: Receivers::default(),
            outbound,
            admission: Admission::default(),
            handshakes: Handshakes::default(),
            timers: Timers::new()?,
            limits: Limits::default(),
            icmp: icmp::Errors::default(),
            stop_event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            gone_event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            link: Mutex::new(link),
            configuration: RwLock::default(),
            stopping: AtomicBool::new(false),
        })
    }

    // A thread that panics under one of these locks leaves nothing half done that others cannot
    // read, and the daemon ends with it anyway.

    pub(crate) fn configuration(&self) -> RwLockReadGuard<'_, Configuration> {
        self.configuration.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn configuration_mut(&self) -> RwLockWriteGuard<'_, Configuration> {
        self.configuration.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> MutexGuard<'_, LinkWatch> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way out of a lane; lanes share one where the device has fewer queues.
    pub(crate) fn outbound(&self, lane: usize) -> &Outbound {
        &self.outbound[lane % self.outbound.len()]
    }

    /// Tells every thread to end.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // An eventfd refuses only what would overflow it.
        let _ = self.stop_event.write(1);
        self.receivers.stop();
        self.handshakes.stop();
        self.timers.stop();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The interface is no more.
    pub(crate) fn set_gone(&self) {
        let _ = self.gone_event.write(1);
    }

    /// Does what the protocol wants for a peer and sees to its next deadline.
    pub(crate) fn fulfil(&self, peer: &Arc<Peer>, wanted: Wanted, now: Instant) {
        if peer.is_removed() || self.sockets.load().is_none() {
            return;
        }
        let sent = wanted.staged && self.send_staged(peer, now);
        if wanted.keepalive && !sent {
            self.send_keepalive(peer, now);
        }
        if wanted.initiation {
            self.handshakes.initiate(peer);
        }
        self.timers.schedule(peer);
    }

    /// Sends the staged packets, or initiates a handshake for them; `false` when there are none.
    fn send_staged(&self, peer: &Arc<Peer>, now: Instant) -> bool {
        let mut any = false;
        // Others may stage packets until they notice the session.
        while peer.noise.has_staged() {
            any = true;
            // Without a session they stay where the thread that makes one finds them.
            if peer.noise.reserve(0, now).is_none() {
                self.handshakes.initiate(peer);
                break;
            }
            self.seal_staged(peer, now);
        }
        any
    }

    fn seal_staged(&self, peer: &Arc<Peer>, now: Instant) {
        let packets = peer.noise.take_staged();
        if packets.is_empty() {
            return;
        }
        // Only a reset has taken the session away since, which drops staged packets too.
        let Some(reservation) = peer.noise.reserve(packets.len() as u64, now) else { return };
        let mtu = self.mtu.load(Ordering::Relaxed);
        let messages: Vec<_> = (reservation.first..)
            .zip(&packets)
            .map(|(counter, packet)| {
                let mut message = vec![0; padded_len(packet.len(), mtu) + TRANSPORT_OVERHEAD];
                message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
                reservation.keypair.seal(counter, &mut message);
                message
            })
            .collect();
        let marks = packets.iter().map(|packet| ecn::outer(packet));
        self.send(peer, messages.iter().map(Vec::as_slice).zip(marks));
        if peer.noise.sent(&reservation.keypair, true, now).initiation {
            self.handshakes.initiate(peer);
        }
    }

    /// Sends an empty transport message, or initiates a handshake, which ends with one.
    fn send_keepalive(&self, peer: &Arc<Peer>, now: Instant) {
        let Some(reservation) = peer.noise.reserve(1, now) else {
            self.handshakes.initiate(peer);
            return;
        };
        let mut message = [0; TRANSPORT_OVERHEAD];
        reservation.keypair.seal(reservation.first, &mut message);
        self.send(peer, std::iter::once((&message[..], 0)));
        let wanted = peer.noise.sent(&reservation.keypair, false, now);
        if wanted.initiation {
            self.handshakes.initiate(peer);
        }
        if wanted.staged {
            self.send_staged(peer, now);
        }
    }

    /// Sends messages, each with its outer traffic class, to a peer's endpoint and counts them.
    pub(crate) fn send<'a>(
        &self,
        peer: &Arc<Peer>,
        messages: impl Iterator<Item = (&'a [u8], u8)> + Clone,
    ) {
        let sockets = self.sockets.load();
        let (Some(sockets), Some(endpoint)) = (sockets.as_deref(), peer.endpoint()) else {
            return;
        };
        let mut bytes: usize = messages.clone().map(|(bytes, _)| bytes.len()).sum();
        let segment = peer.may_segment();
        let datagrams = messages.map(|(bytes, tos)| Datagram { bytes, endpoint, segment, tos });
        sockets.send(FIRST_LANE, &mut Sender::default(), &datagrams, |i, failure| {
            if let SendFailure::Dropped(_) = failure {
                bytes -= datagrams.clone().nth(i).map_or(0, |datagram| datagram.bytes.len());
            }
            self.send_failed(peer, &endpoint, failure);
        });
        peer.count_sent(bytes);
    }

    /// A datagram went wrong, which is no reason to stop: the network may come back.
    pub(crate) fn send_failed(&self, peer: &Peer, endpoint: &Endpoint, failure: SendFailure) {
        match failure {
            SendFailure::Source => peer.clear_source(),
            SendFailure::Segments => peer.stop_segmenting(),
            SendFailure::Dropped(errno) => {
                if self.limits.udp.allow(clock::now()) {
                    let address = endpoint.address;
                    log::warn!("{peer}: cannot send to {address}: {}", errno.desc());
                }
            }
        }
    }

    /// The host refused a packet or the device is gone.
    pub(crate) fn tun_write_failed(&self, errno: Errno) {
        if tun::is_gone(errno) {
            self.set_gone();
        } else if self.limits.tun.allow(clock::now()) {
            log::debug!("cannot write to the interface: {}", errno.desc());
        }
    }

    /// Takes over the link's state: sockets are bound while it is up.
    pub(crate) fn set_link(&self, up: bool, mtu: u32) {
        if self.mtu.swap(mtu as usize, Ordering::Relaxed) != mtu as usize {
            log::debug!("the interface's MTU is {mtu}");
        }
        // Once it stops the port is let go of for good.
        let up = up && !self.is_stopping();
        let mut configuration = self.configuration_mut();
        if configuration.link_up == up {
            return;
        }
        configuration.link_up = up;
        if !up {
            log::debug!("the interface is down");
            self.unbind(&mut configuration);
            configuration.peers.values().for_each(|configured| configured.peer.noise.reset());
            return;
        }
        log::debug!("the interface is up");
        match self.bind_sockets(configuration.listen_port, configuration.fwmark) {
            Ok(sockets) => self.bind(&mut configuration, sockets),
            Err(error) => {
                log::error!("{error}");
                return;
            }
        }
        let peers = configuration.waiting_peers();
        drop(configuration);
        self.resume(&peers);
    }

    /// Starts what [`Configuration::waiting_peers`] wait for, now that there are sockets.
    pub(crate) fn resume(&self, peers: &[Arc<Peer>]) {
        let now = clock::now();
        for peer in peers {
            let keepalive = peer.noise.persistent_keepalive() > 0;
            self.fulfil(peer, Wanted { staged: true, keepalive, initiation: false }, now);
        }
    }
}

/// The lane by which leaves what no lane has forwarded.
pub(crate) const FIRST_LANE: usize = 0;

/// The wait of a thread after an error that may last, so that it does not become a busy loop.
pub(crate) const ERROR_PAUSE: Duration = Duration::from_millis(100);
