//! Echo requests from one host to an address.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::Host;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    /// How many requests.
    pub count: u16,
    /// How many bytes of payload each carries, at most 65,507.
    pub payload: usize,
    /// How long to wait for each reply.
    pub patience: Duration,
    /// The pause between a reply and the next request.
    pub pause: Duration,
}

impl Default for Ping {
    /// Five requests of 56 bytes; even a second attempt at a handshake, after five seconds, fits
    /// into the wait for the first.
    fn default() -> Self {
        Self {
            count: 5,
            payload: 56,
            patience: Duration::from_secs(10),
            pause: Duration::from_millis(50),
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct PingReport {
    /// Who was asked.
    pub target: IpAddr,
    /// How many requests were sent.
    pub sent: u16,
    /// The round trip time of each request, or why there is none.
    pub replies: Vec<Result<Duration, String>>,
}

impl PingReport {
    /// How many requests were answered.
    #[must_use]
    pub fn received(&self) -> usize {
        self.replies.iter().filter(|reply| reply.is_ok()).count()
    }

    /// How many per cent of the requests were not answered.
    #[must_use]
    pub fn loss(&self) -> usize {
        100 * (usize::from(self.sent) - self.received()) / usize::from(self.sent).max(1)
    }
}

impl fmt::Display for PingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, reply) in self.replies.iter().enumerate() {
            match reply {
                Ok(time) => writeln!(
                    f,
                    "reply from {}: seq={number} time={:.3} ms",
                    self.target,
                    time.as_secs_f64() * 1e3
                )?,
                Err(reason) => writeln!(f, "no reply from {}: seq={number} {reason}", self.target)?,
            }
        }
        let (sent, received, loss) = (self.sent, self.received(), self.loss());
        write!(f, "{sent} packets transmitted, {received} received, {loss}% packet loss")
    }
}

impl Host {
    /// Sends five echo requests to `target`, one after the other.
    ///
    /// # Errors
    /// When no ping socket can be opened, or there is no route. Lost packets are no error.
    pub fn ping(&self, target: IpAddr) -> Result<PingReport> {
        self.ping_with(target, Ping::default())
    }

    /// Sends echo requests as `ping` says.
    ///
    /// # Errors
    /// As [`Host::ping`].
    pub fn ping_with(&self, target: IpAddr, ping: Ping) -> Result<PingReport> {
        let socket = self
            .in_network(|| ping_socket(target))
            .with_context(|| format!("{} cannot ping {target}", self.name()))?;
        socket.set_read_timeout(Some(ping.patience))?;
        let mut replies = Vec::new();
        for number in 0..ping.count {
            if number > 0 {
                thread::sleep(ping.pause);
            }
            let reply = ask(&socket, target, number, ping.payload, ping.patience);
            replies.push(reply.map_err(|error| error.to_string()));
        }
        Ok(PingReport { target, sent: ping.count, replies })
    }
}

/// An ICMP echo socket. The kernel fills in identifier and checksum, and passes on only our
/// replies, without the IP header.
fn ping_socket(target: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    // Connecting, sending and receiving are the same for every kind of datagram.
    let socket = UdpSocket::from(socket);
    socket.connect(SocketAddr::new(target, 0))?;
    Ok(socket)
}

/// The round trip time of echo request `number`.
fn ask(
    socket: &UdpSocket,
    target: IpAddr,
    number: u16,
    payload: usize,
    patience: Duration,
) -> io::Result<Duration> {
    let (request_type, reply_type) = if target.is_ipv4() { (8, 0) } else { (128, 129) };
    let mut request = vec![request_type, 0, 0, 0, 0, 0];
    request.extend(number.to_be_bytes());
    request.extend((0..payload).map(|index| index as u8));
    let start = Instant::now();
    socket.send(&request)?;
    let mut reply = vec![0; request.len() + 1];
    while start.elapsed() < patience {
        let length = match socket.recv(&mut reply) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        // A reply to an earlier request, come too late, is not this one's.
        if length == request.len() && reply[0] == reply_type && reply[6..length] == request[6..] {
            return Ok(start.elapsed());
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("within {patience:?}")))
}
