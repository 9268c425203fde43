//! TCP connections that must last as long as the run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::Host;

/// Bytes sent at once, and awaited before the next.
const BLOCK: usize = 16 << 10;
/// Between two blocks.
const PAUSE: Duration = Duration::from_millis(100);
/// What takes longer is lost. A tunnel whose key has changed is back after a handshake, of which
/// one in five seconds is tried, and TCP waits longer each time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client's connection, in use by a thread of its own.
pub(super) struct Stream<'scope> {
    bytes: Arc<AtomicU64>,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<'scope> Stream<'scope> {
    /// Connects and asks for answers until told to stop.
    pub(super) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        client: &'env Host,
        target: SocketAddr,
        stop: &'env AtomicBool,
    ) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        let thread = scope.spawn(move || {
            let stream = client
                .in_network(|| TcpStream::connect_timeout(&target, PATIENCE))
                .context("cannot connect")?;
            let exchanged = exchange(stream, &count, stop);
            exchanged.with_context(|| format!("lost after {} bytes", count.load(Ordering::Relaxed)))
        });
        Self { bytes, thread }
    }

    /// Bytes that came back.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether there is nothing more to come.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end: the bytes that came back, or how the connection was lost.
    pub(super) fn join(self) -> Result<u64> {
        match self.thread.join() {
            Ok(ended) => ended.map(|()| self.bytes.load(Ordering::Relaxed)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Sends back what comes over each connection, for as long as the process lives.
pub(super) fn answer(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            // How it ends is the client's to judge.
            let _ = std::io::copy(&mut &stream, &mut &stream);
        });
    }
}

fn exchange(mut stream: TcpStream, count: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut answer = vec![0; BLOCK];
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let block: Vec<u8> = (0..BLOCK as u64).map(|at| (number * 31 + at * 7) as u8).collect();
        stream.write_all(&block).context("cannot send")?;
        stream.read_exact(&mut answer).context("no answer")?;
        ensure!(answer == block, "the answer is another");
        count.fetch_add(BLOCK as u64, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    Ok(())
}
