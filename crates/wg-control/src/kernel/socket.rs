//! A blocking netlink socket: one request, its replies, its end.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use netlink_sys::SocketAddr;
use nix::errno::Errno;
use zeroize::Zeroizing;

/// The kernel fills at most 32 KiB per read of a dump (net/netlink/af_netlink.c).
const RECEIVE_BUFFER: usize = 64 << 10;
const HEADER: usize = 16;
/// The command, the version and two reserved bytes.
pub(super) const GENERIC_HEADER: usize = 4;

/// Generic netlink's own family, which knows the others (kernel: include/uapi/linux/genetlink.h).
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

pub(super) struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    /// What was received last.
    received: Zeroizing<Vec<u8>>,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// One object, or a change.
    Single,
    /// All objects.
    Dump,
}

impl Socket {
    /// Opens a socket for one of `netlink_sys::protocols`.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(protocol)?;
        socket.bind_auto()?;
        // Without this the kernel's answer to a faulty request repeats it, keys and all.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, received: Zeroizing::new(vec![0; RECEIVE_BUFFER]) })
    }

    /// Sends a request and passes the body of every reply on.
    ///
    /// # Errors
    /// The kernel's; `EINTR` when a dump is not consistent; what `reply` returns.
    pub(super) fn request(
        &mut self,
        message_type: u16,
        request: Request,
        body: &impl Emitable,
        mut reply: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.send(message_type, request, body)?;
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
            let mut rest = &self.received[..length];
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(malformed)?;
                let length = (message.length() as usize).next_multiple_of(4).min(rest.len());
                rest = &rest[length..];
                if message.sequence_number() != self.sequence {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => {
                        ended(message.payload())?;
                        return if interrupted { Err(Errno::EINTR.into()) } else { Ok(()) };
                    }
                    _ => reply(message.payload())?,
                }
            }
        }
    }

    /// The number of a generic netlink family.
    ///
    /// # Errors
    /// `ENOENT` when the kernel has no such family.
    pub(super) fn family(&mut self, name: &str) -> io::Result<u16> {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        let request = Generic {
            command: CTRL_CMD_GETFAMILY,
            attributes: &DefaultNla::new(CTRL_ATTR_FAMILY_NAME, name),
        };
        let mut family = None;
        self.request(GENL_ID_CTRL, Request::Single, &request, |reply| {
            for attribute in attributes(reply, GENERIC_HEADER)? {
                let attribute = attribute.map_err(malformed)?;
                if let (CTRL_ATTR_FAMILY_ID, &[low, high]) = (attribute.kind(), attribute.value()) {
                    family = Some(u16::from_ne_bytes([low, high]));
                }
            }
            Ok(())
        })?;
        family.ok_or_else(|| Errno::ENOENT.into())
    }

    fn send(
        &mut self,
        message_type: u16,
        request: Request,
        body: &impl Emitable,
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Zeroizing::new(vec![0; HEADER + body.buffer_len()]);
        let mut header = NetlinkHeader::default();
        header.length = message.len() as u32;
        header.message_type = message_type;
        header.flags = match request {
            Request::Single => NLM_F_REQUEST | NLM_F_ACK,
            Request::Dump => NLM_F_REQUEST | NLM_F_DUMP,
        };
        header.sequence_number = self.sequence;
        header.emit(&mut message[..HEADER]);
        body.emit(&mut message[HEADER..]);
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match self.socket.recv(&mut &mut self.received[..], 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }
}

/// The body of a generic netlink message of version 1.
pub(super) struct Generic<'a, A> {
    pub(super) command: u8,
    pub(super) attributes: &'a A,
}

impl<A: Emitable> Emitable for Generic<'_, A> {
    fn buffer_len(&self) -> usize {
        GENERIC_HEADER + self.attributes.buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer[..GENERIC_HEADER].copy_from_slice(&[self.command, 1, 0, 0]);
        self.attributes.emit(&mut buffer[GENERIC_HEADER..]);
    }
}

/// The attributes that follow a header of `skip` bytes.
pub(super) fn attributes(message: &[u8], skip: usize) -> io::Result<NlasIterator<&[u8]>> {
    message.get(skip..).map(NlasIterator::new).ok_or_else(|| malformed("a message without header"))
}

/// An answer of the kernel that makes no sense.
pub(super) fn malformed(problem: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_string())
}

/// What an error message or the end of a dump says; both begin with a negated error number.
fn ended(body: &[u8]) -> io::Result<()> {
    match body.first_chunk() {
        None => Ok(()),
        Some(&bytes) => match i32::from_ne_bytes(bytes) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        },
    }
}
