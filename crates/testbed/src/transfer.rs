//! Bytes over TCP from one host to another, checked one by one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Host;

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// As much as goes in so much time.
    Time(Duration),
}

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// So many bytes, all as sent.
    pub bytes: u64,
    /// From the connection to the last byte, at the receiver.
    pub time: Duration,
}

impl Transfer {
    /// Payload bits a second.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64()
    }
}

/// Sends `amount` from `sender` to `receiver`, which listens on its address `address`.
///
/// # Errors
/// When no connection comes about, nothing moves for longer than `stall`, or what arrives is not
/// what was sent.
pub fn tcp_transfer(
    sender: &Host,
    receiver: &Host,
    address: IpAddr,
    amount: Amount,
    stall: Duration,
) -> Result<Transfer> {
    let listener = receiver
        .in_network(|| TcpListener::bind((address, 0)))
        .with_context(|| format!("{} cannot listen on {address}", receiver.name()))?;
    let target = listener.local_addr()?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let stream = sender.in_network(|| TcpStream::connect_timeout(&target, stall));
            match stream {
                Ok(stream) => send(stream, amount, stall).context("sending"),
                Err(error) => {
                    unblock(receiver, target);
                    Err(error).with_context(|| format!("cannot connect to {target}"))
                }
            }
        });
        let received = receive(&listener, stall).context("receiving");
        let sent = match sending.join() {
            Ok(sent) => sent?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let transfer = received?;
        ensure!(transfer.bytes == sent, "{sent} bytes sent, {} received", transfer.bytes);
        Ok(transfer)
    })
    .with_context(|| format!("TCP from {} to {} ({address})", sender.name(), receiver.name()))
}

/// The receiver waits for a connection that will not come; one from itself ends that.
fn unblock(receiver: &Host, target: SocketAddr) {
    let _ = receiver.in_network(|| TcpStream::connect(target));
}

fn send(mut stream: TcpStream, amount: Amount, stall: Duration) -> Result<u64> {
    stream.set_write_timeout(Some(stall))?;
    let pattern = pattern();
    let start = Instant::now();
    let mut sent = 0;
    loop {
        let left = match amount {
            Amount::Bytes(bytes) => usize::try_from(bytes - sent).unwrap_or(usize::MAX),
            Amount::Time(time) if start.elapsed() < time => usize::MAX,
            Amount::Time(_) => 0,
        };
        if left == 0 {
            break;
        }
        let from = (sent % pattern.len() as u64) as usize;
        let part = &pattern[from..from + left.min(pattern.len() - from)];
        match stream.write(part) {
            Ok(length) => sent += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("stalled for {stall:?} after {sent} bytes")
            }
            Err(error) => return Err(error.into()),
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // Until the receiver has read everything and closed.
    stream.set_read_timeout(Some(stall))?;
    let _ = stream.read(&mut [0]);
    Ok(sent)
}

fn receive(listener: &TcpListener, stall: Duration) -> Result<Transfer> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(stall))?;
    let pattern = pattern();
    let mut block = vec![0; pattern.len()];
    let start = Instant::now();
    let mut received = 0;
    loop {
        let from = (received % pattern.len() as u64) as usize;
        match stream.read(&mut block[from..]) {
            Ok(0) => return Ok(Transfer { bytes: received, time: start.elapsed() }),
            Ok(length) => {
                let part = from..from + length;
                ensure!(block[part.clone()] == pattern[part], "wrong bytes after {received}");
                received += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("stalled for {stall:?} after {received} bytes")
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A megabyte that is nowhere like itself a little further on, so that a lost, doubled or swapped
/// piece shows.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}
