//! Datagrams sent from one host to the other at a rate, and counted.
//!
//! iperf3 takes a system call for every packet and more between them, and so more of a small
//! machine's processors than the daemon that is measured; and at a given rate it sends a
//! millisecond's packets in one burst, which overruns queues at rates that the tunnel carries
//! when the packets come evenly. Here a system call takes up to 64 packets, and a rate is kept in
//! bursts of a few packets.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt,
};

use super::rate::Passed;
use super::site::Site;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// A sender that was held up sends at most so many packets at once and forgets the others: what
/// is measured is a rate, not how much queues hold.
const MAX_BURST: f64 = 128.0;
/// The pause between two bursts; the kernel adds some 50 µs.
const PAUSE: Duration = Duration::from_micros(100);
/// Nothing is under way any more when nothing has come for so long.
const SILENCE: Duration = Duration::from_millis(200);
/// What waits for the receiver never overflows, bytes.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Sends packets of `length` bytes of payload from the first host to the second for `time`:
/// `rate` each second, or as many as go.
///
/// # Errors
/// When a socket cannot be made or used.
pub(super) fn send(
    site: &Site,
    length: usize,
    rate: Option<f64>,
    time: Duration,
) -> Result<Passed> {
    let [from, to] = site.addresses();
    let bind = |side: usize, address: IpAddr| {
        let socket = site.hosts[side].in_network(|| UdpSocket::bind((address, 0)));
        socket.with_context(|| format!("no UDP socket on {address}"))
    };
    let (sender, receiver) = (bind(0, from)?, bind(1, to)?);
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("no receive buffer")?;
    receiver.set_read_timeout(Some(SILENCE))?;
    let target = receiver.local_addr()?;
    let all_sent = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let receive = scope.spawn(|| site.on_side(1, || count(&receiver, &all_sent)));
        let sent = site.on_side(0, || stream(&sender, target, length, rate, time));
        all_sent.store(true, Ordering::Relaxed);
        let received = receive.join().map_err(|_| anyhow!("the receiver panicked"))?;
        let (sent, (received, last)) = (sent?, received?);
        Ok(Passed {
            sent,
            received,
            seconds: last.max(start + time).duration_since(start).as_secs_f64(),
        })
    })
}

/// Sends, and says how many packets.
fn stream(
    socket: &UdpSocket,
    target: SocketAddr,
    length: usize,
    rate: Option<f64>,
    time: Duration,
) -> Result<u64> {
    let payload = vec![0; length];
    let packets = [[IoSlice::new(&payload)]; BATCH];
    let addresses = [Some(SockaddrStorage::from(target)); BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut sent = 0;
    let start = Instant::now();
    let mut allowance = Allowance { rate, owed: 0.0, last: start };
    while start.elapsed() < time {
        let now = allowance.packets(Instant::now()).min(BATCH);
        if now == 0 {
            thread::sleep(PAUSE);
            continue;
        }
        let fd = socket.as_raw_fd();
        let done = sendmmsg(fd, &mut headers, &packets[..now], addresses, [], MsgFlags::empty());
        let done = done.context("cannot send through the tunnel")?.count();
        allowance.spend(done);
        sent += done as u64;
    }
    Ok(sent)
}

/// How many packets may be sent.
struct Allowance {
    rate: Option<f64>,
    owed: f64,
    last: Instant,
}

impl Allowance {
    fn packets(&mut self, now: Instant) -> usize {
        let Some(rate) = self.rate else { return BATCH };
        let passed = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        self.owed = (self.owed + rate * passed).min(MAX_BURST);
        self.owed as usize
    }

    fn spend(&mut self, packets: usize) {
        self.owed -= packets as f64;
    }
}

/// Counts what comes until all is sent and nothing comes any more; and when the last came.
fn count(socket: &UdpSocket, all_sent: &AtomicBool) -> Result<(u64, Instant)> {
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    // What does not fit is cut off.
    let mut heads = [[0]; BATCH];
    let mut received = 0;
    let mut last = Instant::now();
    loop {
        let mut buffers = heads.each_mut().map(|head| [IoSliceMut::new(head)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut buffers, flags, None) {
            Ok(packets) => {
                received += packets.count() as u64;
                last = Instant::now();
            }
            Err(Errno::EAGAIN) if all_sent.load(Ordering::Relaxed) => return Ok((received, last)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot receive from the tunnel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_owes_is_bounded() {
        let start = Instant::now();
        let mut allowance = Allowance { rate: Some(1000.0), owed: 0.0, last: start };
        assert_eq!(allowance.packets(start + Duration::from_micros(10_500)), 10);
        allowance.spend(10);
        // The half packet is not lost.
        assert_eq!(allowance.packets(start + Duration::from_micros(11_000)), 1);
        assert_eq!(allowance.packets(start + Duration::from_secs(10)), MAX_BURST as usize);
        let mut unlimited = Allowance { rate: None, owed: 0.0, last: start };
        assert_eq!(unlimited.packets(start), BATCH);
    }
}
