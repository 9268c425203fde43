//! One route netlink socket and its requests.

use std::cell::RefCell;
use std::io;

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::Handle;
use rtnetlink::sys::AsyncSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::{Cause, Error};

/// How often a dump is taken again because the tables changed under it.
const DUMP_ATTEMPTS: usize = 8;

/// The network of the namespace in which it was opened.
pub struct Hostnet {
    runtime: Runtime,
    connection: RefCell<Connection>,
}

/// A socket, and who reads and writes it: that ends at the first system call that fails.
struct Connection {
    handle: Handle,
    task: JoinHandle<()>,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`.
    Ipv6,
}

impl Hostnet {
    /// Opens a socket in the current network namespace.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn open() -> Result<Self, Error> {
        Self::connect().map_err(|error| Error {
            what: "open a netlink socket".to_owned(),
            cause: Cause::Socket(error.to_string()),
        })
    }

    fn connect() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let connection = RefCell::new(Connection::open(&runtime)?);
        Ok(Self { runtime, connection })
    }

    /// Sends a change and waits for its acknowledgement; `flags` are added to request and ack.
    pub(crate) fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map_err(|cause| Error { what: what(), cause })?;
        Ok(())
    }

    /// Asks for one object.
    pub(crate) fn get(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Cause> {
        let answer = self.exchange(message, NLM_F_REQUEST)?;
        answer.messages.into_iter().next().ok_or_else(|| Cause::Socket("no answer".to_owned()))
    }

    /// Asks for a whole table.
    pub(crate) fn dump(
        &self,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Cause> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(Cause::Socket(format!("the tables changed during each of {DUMP_ATTEMPTS} dumps")))
    }

    fn exchange(&self, message: RouteNetlinkMessage, flags: u16) -> Result<Answer, Cause> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut handle = self.handle().map_err(|error| Cause::Socket(error.to_string()))?;
        self.runtime.block_on(async {
            let mut responses =
                handle.request(request).map_err(|error| Cause::Socket(error.to_string()))?;
            let mut answer = Answer::default();
            let mut answered = false;
            while let Some(response) = responses.next().await {
                answer.interrupted |= response.header.flags & NLM_F_DUMP_INTR != 0;
                match response.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        answer.messages.push(inner);
                        answered |= flags == NLM_F_REQUEST;
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        let flags = response.header.flags;
                        return Err(Cause::from_nack(flags, error.raw_code(), &error.header));
                    }
                    NetlinkPayload::Overrun(_) => {
                        return Err(Cause::Socket("the socket's buffer overflowed".to_owned()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => answered = true,
                    _ => {}
                }
            }
            // Nothing more than this is told of a socket that broke.
            answered.then_some(answer).ok_or_else(|| Cause::Socket("no whole answer".to_owned()))
        })
    }

    /// The way to the connection, a new one where the last has ended: what undoes a change that
    /// failed must not fail with it.
    fn handle(&self) -> io::Result<Handle> {
        let mut connection = self.connection.borrow_mut();
        if connection.task.is_finished() {
            *connection = Connection::open(&self.runtime)?;
        }
        Ok(connection.handle.clone())
    }
}

impl Connection {
    fn open(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        let (mut connection, handle, _) = rtnetlink::new_connection()?;
        // Without them nothing tells a whole answer from one that a broken socket cut off.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        // A kernel before 4.20 knows not all of these. It then says less in its errors, and a
        // dump holds more than was asked for, so every dump is filtered here as well.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { handle, task: runtime.spawn(connection) })
    }
}

#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Inet,
            Family::Ipv6 => Self::Inet6,
        }
    }
}
