//! A peer of the engine: the protocol's peer, its endpoint and its counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wg_noise::{PublicKey, StagingBudget};

use crate::endpoint::Endpoint;

/// Shared by all threads; the data path reads snapshots and adds to atomics.
pub(crate) struct Peer {
    pub(crate) noise: wg_noise::Peer,
    endpoint: ArcSwapOption<Endpoint>,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    removed: AtomicBool,
    /// The way to the endpoint takes no long datagrams cut by the kernel.
    unsegmented: AtomicBool,
    /// An initiation waits in the handshake queue.
    pub(crate) initiation_queued: AtomicBool,
    /// Nanoseconds of the earliest deadline in the timers' heap, `u64::MAX` for none.
    pub(crate) scheduled: AtomicU64,
}

impl Peer {
    pub(crate) fn new(
        public_key: PublicKey,
        staging: Arc<StagingBudget>,
        endpoint: Option<Endpoint>,
    ) -> Self {
        Self {
            noise: wg_noise::Peer::with_budget(public_key, staging),
            endpoint: ArcSwapOption::new(endpoint.map(Arc::new)),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            unsegmented: AtomicBool::new(false),
            initiation_queued: AtomicBool::new(false),
            scheduled: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.load().as_deref().copied()
    }

    /// Follows the peer to where its last authenticated packet came from, or where the
    /// configuration says.
    pub(crate) fn set_endpoint(&self, endpoint: Endpoint) {
        if self.endpoint() != Some(endpoint) {
            self.unsegmented.store(false, Ordering::Relaxed);
            self.endpoint.store(Some(Arc::new(endpoint)));
        }
    }

    /// Lets the kernel choose the source address again.
    pub(crate) fn clear_source(&self) {
        self.endpoint.rcu(|endpoint| {
            endpoint.as_ref().map(|endpoint| match endpoint.source {
                Some(_) => Arc::new(Endpoint::from(endpoint.address)),
                None => endpoint.clone(),
            })
        });
    }

    /// Whether datagrams to the endpoint may go as one (`UDP_SEGMENT`).
    pub(crate) fn may_segment(&self) -> bool {
        !self.unsegmented.load(Ordering::Relaxed)
    }

    /// Sends datagrams one by one until the endpoint changes.
    pub(crate) fn stop_segmenting(&self) {
        if !self.unsegmented.swap(true, Ordering::Relaxed) {
            log::debug!("{self}: datagrams do not fit the way to the endpoint in one piece");
        }
    }

    /// Bytes received and sent, headers of messages included, outer IP headers not.
    pub(crate) fn transfer(&self) -> (u64, u64) {
        (self.rx_bytes.load(Ordering::Relaxed), self.tx_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The peer is no longer configured; threads that still hold it send nothing more, and what
    /// they hold has no secrets.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.noise.set_preshared_key(None);
        self.noise.reset();
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// `peer(AbCd…WxYz)`, for logs.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode(self.noise.public_key().as_bytes());
        write!(f, "peer({}…{})", &key[..4], &key[39..43])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use wg_noise::{
        IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, Message, PresharedKey,
        Tai64n,
    };

    use super::*;

    #[test]
    fn a_removed_peer_has_nothing_left_to_do() {
        let peer = Peer::new([7; 32].into(), Arc::default(), None);
        peer.noise.stage(&[1; 100]);
        let _ = peer.noise.set_persistent_keepalive(25, Instant::from_nanos(1));
        assert!(peer.noise.deadline().is_some() && !peer.is_removed());
        peer.remove();
        assert!(peer.is_removed());
        assert!(!peer.noise.has_staged());
        assert_eq!(peer.noise.deadline(), None);
    }

    #[test]
    fn a_removed_peer_keeps_no_preshared_key() {
        struct Anywhere;
        impl IndexTable for Anywhere {
            fn release(&self, _: u32) {}
        }
        let index = || LocalIndex::new(1, Arc::new(Anywhere));
        let (here, there) = (LocalStatic::new(&[1; 32]), LocalStatic::new(&[2; 32]));
        let (now, rng) = (Instant::from_nanos(1), &mut UnwrapErr(SysRng));
        let peer = Peer::new(*there.public_key(), Arc::default(), None);
        peer.noise.set_preshared_key(Some(PresharedKey::from([5; 32])));
        peer.remove();
        // A far end without one agrees with it.
        let far = wg_noise::Peer::new(*here.public_key());
        let wall = Tai64n::from_unix(Duration::from_secs(1));
        let message = far.initiate(&there, index(), now, wall, rng).unwrap();
        let Some(Message::Initiation(message)) = Message::parse(&message) else { panic!() };
        let opened = IncomingInitiation::open(&here, message).unwrap();
        let response = peer.noise.consume_initiation(&here, opened, index(), now, rng).unwrap();
        let Some(Message::Response(response)) = Message::parse(&response) else { panic!() };
        assert!(far.consume_response(&there, response, now, Duration::ZERO).is_ok());
    }
}
