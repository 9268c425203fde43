//! The clients of the UAPI socket, each served by a thread of its own.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use wg_control::SecretWriter;
use wg_control::uapi::{Request, RequestReader, write_device, write_errno};
use wg_tunnel::Tunnel;

use crate::{device, memory};

/// Connections at a time. When there are more, the one that has been silent for longest is cut,
/// so that clients that hang never keep others out. Reading an answer is not silence, nor is
/// waiting while we work on a request.
const MAX_CLIENTS: usize = 32;
/// In place of the time when a client was last heard, while we work on its request.
const AT_WORK: u64 = u64::MAX;
/// Peers in a request or an answer from which on it is worth while to give the memory back.
const MANY_PEERS: usize = 1000;
/// Bytes of stack for a client's thread.
const STACK: usize = 512 * 1024;

/// The connections now open, and the threads that serve them. There are as many threads as there
/// may be connections, started at once: a machine that has run out of memory or of processes later
/// could not give them, and the standard library ends the process where a thread's first steps
/// fail.
pub(crate) struct Clients {
    queue: Arc<Queue>,
    open: Vec<Client>,
    /// Counts what clients do: the order in which they were last heard.
    clock: Arc<AtomicU64>,
}

struct Client {
    stream: Arc<UnixStream>,
    heard: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

/// Connections that wait for a thread, and threads that wait for one.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// One for each thread.
    wake: [Condvar; MAX_CLIENTS],
}

#[derive(Default)]
struct Waiting {
    connections: VecDeque<Connection>,
    /// The numbers of the threads that wait. The last to come is the first to go: clients that come
    /// one after the other are all served by one thread, and what the allocator keeps for each
    /// thread is kept for few.
    threads: Vec<usize>,
    /// There will be no more.
    ended: bool,
}

impl Clients {
    /// Starts the threads. They hold the tunnel only while they work on a request, so that it
    /// and its keys go when the daemon ends.
    pub(crate) fn start(interface: &str, tunnel: &Arc<Tunnel>) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        for number in 0..MAX_CLIENTS {
            let (queue, tunnel) = (queue.clone(), Arc::downgrade(tunnel));
            let interface = interface.to_owned();
            let thread = std::thread::Builder::new().name("uapi client".to_owned());
            thread.stack_size(STACK).spawn(move || queue.serve(number, &interface, &tunnel))?;
        }
        Ok(Self { queue, open: Vec::with_capacity(MAX_CLIENTS), clock: Arc::default() })
    }

    /// Serves a new connection.
    pub(crate) fn add(&mut self, stream: UnixStream) {
        self.open.retain(|client| !client.done.load(Ordering::Acquire));
        if self.open.len() >= MAX_CLIENTS {
            self.cut_one();
        }
        if !memory::has_room_to_read(0) {
            log::error!("cannot serve a UAPI client: {}", Errno::ENOMEM.desc());
            return;
        }
        let client = Client {
            stream: Arc::new(stream),
            heard: Arc::new(AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed))),
            done: Arc::default(),
        };
        self.queue.push(Connection {
            stream: client.stream.clone(),
            heard: client.heard.clone(),
            done: client.done.clone(),
            clock: self.clock.clone(),
            request: Cell::new(0),
        });
        self.open.push(client);
    }

    /// Ends the connection that has been silent for longest; `false` when there is none.
    pub(crate) fn cut_one(&mut self) -> bool {
        let oldest =
            (0..self.open.len()).min_by_key(|i| self.open[*i].heard.load(Ordering::Relaxed));
        let Some(oldest) = oldest else { return false };
        let client = self.open.swap_remove(oldest);
        log::debug!("too many UAPI clients: the one silent for longest is cut off");
        let _ = client.stream.shutdown(Shutdown::Both);
        let mut waiting = self.queue.lock();
        waiting.connections.retain(|connection| !Arc::ptr_eq(&connection.stream, &client.stream));
        true
    }
}

/// Cuts all connections, and ends the threads when they have done what they are at.
impl Drop for Clients {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.ended = true;
        waiting.connections.clear();
        self.queue.wake.iter().for_each(Condvar::notify_one);
        for client in &self.open {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Queue {
    fn push(&self, connection: Connection) {
        let mut waiting = self.lock();
        waiting.connections.push_back(connection);
        if let Some(thread) = waiting.threads.pop() {
            self.wake[thread].notify_one();
        }
    }

    /// Serves connections as thread `number`, one after the other, until there will be no more.
    fn serve(&self, number: usize, interface: &str, tunnel: &Weak<Tunnel>) {
        while let Some(connection) = self.next(number) {
            if let Err(error) = serve(interface, tunnel, &connection) {
                log::debug!("UAPI client: {error}");
            }
            // The client sees the end even while the list still holds the stream.
            let _ = connection.stream.shutdown(Shutdown::Both);
            connection.done.store(true, Ordering::Release);
        }
    }

    fn next(&self, number: usize) -> Option<Connection> {
        let mut waiting = self.lock();
        loop {
            // A thread may wake without having been called.
            waiting.threads.retain(|thread| *thread != number);
            let connection = waiting.connections.pop_front();
            if connection.is_some() || waiting.ended {
                return connection;
            }
            waiting.threads.push(number);
            waiting = self.wake[number].wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that notes when its client last sent or took something.
struct Connection {
    stream: Arc<UnixStream>,
    heard: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    clock: Arc<AtomicU64>,
    /// Bytes read since the last request was done.
    request: Cell<usize>,
}

impl Connection {
    fn note(&self) {
        self.heard.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Does what the client has asked for. Meanwhile it is last in line to be cut off.
    fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.heard.store(AT_WORK, Ordering::Relaxed);
        let done = work();
        self.request.set(0);
        self.note();
        done
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !memory::has_room_to_read(self.request.get()) {
            return Err(Errno::ENOMEM.into());
        }
        let length = (&*self.stream).read(buffer)?;
        self.request.set(self.request.get() + length);
        self.note();
        Ok(length)
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = (&*self.stream).write(bytes)?;
        self.note();
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).flush()
    }
}

/// Answers requests until the client has no more or breaks the protocol.
fn serve(interface: &str, tunnel: &Weak<Tunnel>, connection: &Connection) -> anyhow::Result<()> {
    let mut requests = RequestReader::new(connection);
    loop {
        let request = match requests.next() {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                let mut answer = SecretWriter::new(connection);
                write_errno(&mut answer, error.errno())?;
                answer.flush()?;
                return Err(error.into());
            }
        };
        // Otherwise the daemon is ending.
        let Some(tunnel) = tunnel.upgrade() else { return Ok(()) };
        let mut answer = SecretWriter::new(connection);
        let allowed_ips = tunnel.allowed_ip_count();
        let has_room = match &request {
            Request::Get => memory::has_room_to_show(tunnel.peer_count(), allowed_ips),
            Request::Set(update) => memory::has_room_to_apply(update, allowed_ips),
        };
        if !has_room {
            log::error!("cannot do what a UAPI client asks for: {}", Errno::ENOMEM.desc());
            drop(request);
            connection.request.set(0);
            write_errno(&mut answer, Errno::ENOMEM as i32)?;
            answer.flush()?;
            continue;
        }
        let mut is_large;
        let mut removed = None;
        match request {
            Request::Get => {
                let device = connection.work(|| device::from_status(interface, tunnel.status()));
                write_device(&mut answer, &device)?;
                is_large = device.peers.len() >= MANY_PEERS;
            }
            Request::Set(update) => {
                is_large = update.peers.len() >= MANY_PEERS;
                let errno = match connection.work(|| tunnel.apply(device::to_update(update))) {
                    Ok(taken_away) => {
                        is_large |= taken_away.peer_count() >= MANY_PEERS;
                        removed = Some(taken_away);
                        0
                    }
                    Err(error) => {
                        log::error!("{error}");
                        error.errno()
                    }
                };
                write_errno(&mut answer, errno)?;
            }
        }
        answer.flush()?;
        // What there was before may be much to take down: the client does not wait for that.
        drop(removed);
        if is_large {
            memory::give_back();
        }
    }
}
