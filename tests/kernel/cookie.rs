//! A responder under load answers an initiation with a cookie, and lets in who returns it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use culvert_tests::interop_matrix::tell;
use culvert_tests::{Daemon, OUTER_V4, Pair, original_wg};
use nix::unistd::gettid;
use testbed::{Ping, vm};
use wg_config::PublicKey;

const MINUTES: Duration = Duration::from_secs(300);
const PORT: u16 = 51820;
/// An initiation that got a cookie is repeated after 5 s.
const PATIENCE: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 5;
/// More than the 512 waiting handshakes from which on a responder is under load.
const BURST: usize = 1000;
const SOURCES: u8 = 20;

/// One after the other, since the module's load is that of all its interfaces.
#[test]
fn cookies_are_returned_by_ours_and_by_the_module() -> Result<()> {
    vm::test_within(2 * MINUTES, || {
        for (initiator, responder) in
            [(Daemon::Ours, Daemon::Kernel), (Daemon::Kernel, Daemon::Ours)]
        {
            // The initiation has to meet a responder that is under load, but not beyond its means:
            // how fast either is depends on what else this machine does.
            let mut outcome = under_load(initiator, responder);
            for _ in 1..ATTEMPTS {
                outcome = outcome.or_else(|_| under_load(initiator, responder));
            }
            tell(initiator, responder, "cookie", outcome)?;
        }
        Ok(())
    })
}

/// The initiator's traffic goes through a relay that looks at it, while junk comes from the
/// responder's own host.
fn under_load(initiator: Daemon, responder: Daemon) -> Result<()> {
    let pair = Pair::start(initiator, responder, OUTER_V4)?;
    let host = &pair.initiator;
    let socket = || -> Result<UdpSocket> {
        let socket = host.in_network(|| UdpSocket::bind((OUTER_V4[0], 0)))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(socket)
    };
    let (near, far) = (socket()?, socket()?);
    far.connect((OUTER_V4[1], PORT))?;
    // Not from the initiator's address, since a source gets so many cookies in a second, and from
    // several, since a source has so much room.
    let flooding: Vec<_> = (1..=SOURCES)
        .map(|source| {
            let source = Ipv4Addr::new(127, 0, 0, source);
            let socket = pair.responder.in_network(|| UdpSocket::bind((source, 0)))?;
            socket.connect((Ipv4Addr::LOCALHOST, PORT))?;
            anyhow::Ok(socket)
        })
        .collect::<Result<_>>()?;
    let behind: SocketAddr = format!("{}:{PORT}", OUTER_V4[0]).parse()?;

    let wg = original_wg()?;
    let key = host.run(&format!("{wg} show wg0 peers"))?.success()?.stdout;
    let endpoint = near.local_addr()?;
    host.run(&format!("{wg} set wg0 peer {} endpoint {endpoint}", key.trim()))?.success()?;

    let key = pair.responder.run(&format!("{wg} show wg0 public-key"))?.success()?.stdout;
    let mut junk = initiation_from_nobody(PublicKey::from_base64(key.trim().as_bytes())?);
    if responder == Daemon::Kernel {
        // The module queues before it looks at mac1; ours has to do with what it lets in.
        junk[116] ^= 1;
    }
    let seen = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let (sent, first_burst) = mpsc::channel();
    let answered = thread::scope(|scope| {
        scope.spawn(|| flood(&flooding, &junk, &sent, &done));
        scope.spawn(|| relay(&near, |message| far.send(message), &seen, &done));
        scope.spawn(|| relay(&far, |message| near.send_to(message, behind), &seen, &done));
        first_burst.recv()?;
        let deadline = Instant::now() + PATIENCE;
        let ping = Ping { count: 1, patience: Duration::from_secs(10), ..Ping::default() };
        let mut answered: Result<bool> = Ok(false);
        while matches!(answered, Ok(false)) && Instant::now() < deadline {
            let report = host.ping_with(pair.responder_addresses()[0], ping);
            answered = report.map(|report| report.received() > 0);
        }
        done.store(true, Ordering::Relaxed);
        answered
    })?;

    let seen = seen.into_inner().expect("no thread panicked");
    let mut handshake = [
        Message::Initiation { returns_cookie: false },
        Message::Cookie,
        Message::Initiation { returns_cookie: true },
        Message::Response,
    ]
    .iter()
    .peekable();
    for message in &seen {
        handshake.next_if_eq(&message);
    }
    ensure!(answered && handshake.peek().is_none(), "answered: {answered}, seen: {seen:?}");
    Ok(())
}

/// A message, as far as the relay looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Initiation { returns_cookie: bool },
    Response,
    Cookie,
    Data,
    Other,
}

impl Message {
    fn of(bytes: &[u8]) -> Self {
        match (bytes.first(), bytes.len()) {
            // The last 16 bytes are mac2, zero without a cookie.
            (Some(1), 148) => Self::Initiation { returns_cookie: bytes[132..] != [0; 16] },
            (Some(2), 92) => Self::Response,
            (Some(3), 64) => Self::Cookie,
            (Some(4), _) => Self::Data,
            _ => Self::Other,
        }
    }
}

fn relay(
    from: &UdpSocket,
    send: impl Fn(&[u8]) -> io::Result<usize>,
    seen: &Mutex<Vec<Message>>,
    done: &AtomicBool,
) {
    let mut buffer = [0; 2048];
    while !done.load(Ordering::Relaxed) {
        // The read times out from time to time, to see whether all is done.
        if let Ok(length) = from.recv(&mut buffer) {
            seen.lock().expect("no thread panicked").push(Message::of(&buffer[..length]));
            let _ = send(&buffer[..length]);
        }
    }
}

/// An initiation with a valid mac1 for the responder with that key, and nothing else valid in it.
fn initiation_from_nobody(responder: PublicKey) -> [u8; 148] {
    let mut message = [7; 148];
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    message[132..].fill(0);
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(responder.as_bytes());
    let mut mac = Blake2sMac::<U16>::new_from_slice(&key.finalize()).expect("it has 32 bytes");
    Mac::update(&mut mac, &message[..116]);
    message[116..132].copy_from_slice(&mac.finalize().into_bytes());
    message
}

/// Sends bursts of `junk` and tells after each. The thread runs at real-time priority: on a single
/// processor the responder would otherwise empty its queue as fast as it is filled.
fn flood(sockets: &[UdpSocket], junk: &[u8], sent: &mpsc::Sender<()>, done: &AtomicBool) {
    let thread = gettid().to_string();
    let status = Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).status();
    assert!(status.is_ok_and(|status| status.success()), "no real-time priority");
    while !done.load(Ordering::Relaxed) {
        for socket in sockets.iter().cycle().take(BURST) {
            let _ = socket.send(junk);
        }
        let _ = sent.send(());
        // Load is remembered for a second.
        thread::sleep(Duration::from_millis(500));
    }
}
