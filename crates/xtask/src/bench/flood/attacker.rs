//! Who floods a port, and with what.

use std::fmt;
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::ValueEnum;
use getrandom::SysRng;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use rand_core::{Rng, UnwrapErr};
use testbed::Host;
use wg_noise::{
    INITIATION_LEN, IndexTable, Instant, LocalIndex, LocalStatic, Peer, PublicKey, Tai64n,
};

/// What the datagrams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Bytes that only look like initiations: their mac1 is wrong.
    Junk,
    /// Initiations with a valid mac1 by senders who are no peers.
    Strangers,
    /// One initiation of a peer, again and again.
    Replays,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Junk, Self::Strangers, Self::Replays];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Junk => "junk",
            Self::Strangers => "strangers",
            Self::Replays => "replays",
        })
    }
}

/// Different datagrams of a flood.
const DIFFERENT: usize = 256;
/// Datagrams of one system call.
const BATCH: usize = 64;

/// Different datagrams for a flood of the daemon whose key is `target`.
pub(super) fn datagrams(kind: Kind, target: &PublicKey, peer: &[u8; 32]) -> Vec<Vec<u8>> {
    let mut rng = UnwrapErr(SysRng);
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    (0..DIFFERENT)
        .map(|_| match kind {
            Kind::Junk => {
                let bytes: Vec<u8> = (0..INITIATION_LEN / 32 + 1).flat_map(|_| random()).collect();
                [&[1, 0, 0, 0], &bytes[4..INITIATION_LEN]].concat()
            }
            Kind::Strangers => initiation(target, &random()),
            Kind::Replays => initiation(target, peer),
        })
        .collect()
}

fn initiation(target: &PublicKey, private: &[u8; 32]) -> Vec<u8> {
    struct Anywhere;
    impl IndexTable for Anywhere {
        fn release(&self, _: u32) {}
    }
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Peer::new(*target)
        .initiate(
            &LocalStatic::new(private),
            LocalIndex::new(1, Arc::new(Anywhere)),
            Instant::from_nanos(0),
            Tai64n::from_unix(unix),
            &mut UnwrapErr(SysRng),
        )
        .expect("a new peer's first initiation is never held back")
        .to_vec()
}

/// Sends from `host` to `target`, as fast as one thread can, while it lives.
pub(super) struct Flood {
    state: Arc<State>,
    thread: Option<std::thread::JoinHandle<()>>,
    started: std::time::Instant,
}

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    pub(super) fn start(host: &Host, target: SocketAddr, datagrams: Vec<Vec<u8>>) -> Result<Self> {
        let socket = host.in_network(|| UdpSocket::bind("0.0.0.0:0"))?;
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || send(&socket, target, &datagrams, &shared))
            .context("cannot start a thread")?;
        Ok(Self { state, thread: Some(thread), started: std::time::Instant::now() })
    }

    /// Datagrams a second since the start.
    pub(super) fn rate(&self) -> f64 {
        let time: Duration = self.started.elapsed();
        self.state.sent.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn send(socket: &UdpSocket, target: SocketAddr, datagrams: &[Vec<u8>], state: &State) {
    let addresses = [Some(SockaddrStorage::from(target)); BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let batches: Vec<Vec<[IoSlice<'_>; 1]>> = datagrams
        .chunks(BATCH)
        .map(|batch| batch.iter().map(|datagram| [IoSlice::new(datagram)]).collect())
        .collect();
    for batch in batches.iter().cycle() {
        if state.stopped.load(Ordering::Relaxed) {
            return;
        }
        let fd = socket.as_raw_fd();
        // Refusals are part of the game: a closed port answers with ICMP.
        if let Ok(sent) = sendmmsg(fd, &mut headers, batch, addresses, [], MsgFlags::empty()) {
            state.sent.fetch_add(sent.count() as u64, Ordering::Relaxed);
        }
    }
}
