//! Floods of handshakes and of junk.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use anyhow::{Context, Result, ensure};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use testbed::{Amount, tcp_transfer};
use wg_noise::{
    COOKIE_REPLY_LEN, INITIATION_LEN, IndexTable, Instant, LocalIndex, LocalStatic, Peer, Tai64n,
};

use crate::PATIENCE;
use crate::faults::{logged, logging_pair};
use crate::pair::{Outside, Pair, WG, inner_v4, public_key};
use crate::uapi;

struct NoTable;

impl IndexTable for NoTable {
    fn release(&self, _index: u32) {}
}

/// An initiation that is right in everything but that nobody knows its sender.
fn initiation_of_a_stranger() -> Result<[u8; INITIATION_LEN]> {
    let responder = Peer::new((*public_key(2).as_bytes()).into());
    let index = LocalIndex::new(1, Arc::new(NoTable));
    let now = Instant::from_nanos(0) + Duration::from_secs(1000);
    let wall = Tai64n::from_unix(Duration::from_secs(1));
    let stranger = LocalStatic::new(&[77; 32]);
    responder
        .initiate(&stranger, index, now, wall, &mut UnwrapErr(SysRng))
        .context("the key is valid")
}

#[test]
fn sessions_go_on_and_strangers_get_cookies() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    pair.ping()?;
    let initiation = initiation_of_a_stranger()?;
    let target = pair.endpoint(2);
    let done = AtomicBool::new(false);
    let socket = pair.a.in_network(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut junk = [0xaa; INITIATION_LEN];
            junk[..4].copy_from_slice(&[1, 0, 0, 0]);
            // More than the handshake thread can do and less than a socket can take: it is the
            // queue that is tested here, not the machine.
            while !done.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    // Whether it is sent is the flooder's trouble.
                    let _ = socket.send_to(&initiation, target);
                    let _ = socket.send_to(&junk, target);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = (|| {
            let mut buffer = [0; 2048];
            let deadline = StdInstant::now() + PATIENCE;
            while !matches!(socket.recv(&mut buffer), Ok(COOKIE_REPLY_LEN)) {
                ensure!(StdInstant::now() < deadline, "no cookie came");
            }
            ensure!(buffer[0] == 3, "not a cookie reply: {:?}", &buffer[..4]);
            tcp_transfer(&pair.a, &pair.b, inner_v4(2), Amount::Bytes(4 << 20), PATIENCE)?;
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    // And then everything is as before.
    let before = uapi::peer(&pair.b, WG, &public_key(1))?.last_handshake;
    pair.a.in_network(|| crate::pair::set_flags(WG, 0))?;
    pair.a.set_up(WG)?;
    testbed::eventually("a new handshake", PATIENCE, || {
        let _ = pair.a.ping_with(
            inner_v4(2),
            testbed::Ping { count: 1, patience: Duration::from_millis(200), ..Default::default() },
        );
        let now = uapi::peer(&pair.b, WG, &public_key(1)).ok()?.last_handshake;
        (now > before).then_some(())
    })
}

/// The kernel gives it to every socket of the port; answered by each, it would bring more than was
/// sent to whoever is said to be its sender.
#[test]
fn a_handshake_message_for_the_whole_network_counts_once() -> Result<()> {
    let pair = logging_pair()?;
    let mut junk = [0xaa; INITIATION_LEN];
    junk[..4].copy_from_slice(&[1, 0, 0, 0]);
    let socket = || pair.b.in_network(|| UdpSocket::bind("192.0.2.2:0"));
    let broadcaster = socket()?;
    broadcaster.set_broadcast(true)?;
    broadcaster.send_to(&junk, ("192.0.2.255", pair.endpoint(1).port()))?;
    let refused = |socket: &UdpSocket| -> Result<String> {
        Ok(format!("from {} refused: invalid mac1", socket.local_addr()?))
    };
    logged(&pair.a, &refused(&broadcaster)?)?;
    // When the second of these was looked at, so was all that came before.
    for _ in 0..2 {
        let later = socket()?;
        later.send_to(&junk, pair.endpoint(1))?;
        logged(&pair.a, &refused(&later)?)?;
    }
    let log = pair.a.read_file("/run/log")?;
    let count = log.matches(&refused(&broadcaster)?).count();
    ensure!(count == 1, "it was looked at {count} times:\n{log}");
    Ok(())
}
