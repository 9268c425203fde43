//! A netlink socket for many requests at once, whose answers are there when the sending is over.

use std::io;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use nix::errno::Errno;

use crate::Cause;

/// A netlink socket. The kernel does what is sent before it returns from the sending.
pub(crate) struct Socket(netlink_sys::Socket);

/// What the kernel says of one request.
pub(crate) struct Answer {
    /// The request's sequence number.
    pub(crate) number: u32,
    /// An acknowledgement or an object; or why not.
    pub(crate) outcome: Result<(), Cause>,
}

impl Socket {
    /// Opens a socket of this protocol in the current network namespace.
    pub(crate) fn open(protocol: isize) -> Result<Self, Cause> {
        let mut socket = netlink_sys::Socket::new(protocol).map_err(|error| cause(&error))?;
        // Old kernels know these not, and then say less in their errors.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        socket.bind_auto().map_err(|error| cause(&error))?;
        Ok(Self(socket))
    }

    /// Sends framed requests in one go.
    pub(crate) fn send(&self, frames: &[u8]) -> Result<(), Cause> {
        let kernel = netlink_sys::SocketAddr::new(0, 0);
        self.0.send_to(frames, &kernel, 0).map(|_| ()).map_err(|error| cause(&error))
    }

    /// All answers to what was sent.
    pub(crate) fn answers(&self) -> Result<Vec<Answer>, Cause> {
        let mut answers = Vec::new();
        let mut datagram = Vec::with_capacity(DATAGRAM_LEN);
        loop {
            datagram.clear();
            match self.0.recv(&mut datagram, nix::libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(cause(&error)),
            }
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let (answer, length) = read(rest)?;
                answers.push(answer);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Appends a request to those that are sent together.
pub(crate) fn frame<M>(frames: &mut Vec<u8>, message: M, flags: u16, number: u32)
where
    M: NetlinkSerializable + Into<NetlinkPayload<M>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let start = frames.len();
    frames.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut frames[start..]);
}

/// More than the kernel puts into one datagram of answers, in bytes.
const DATAGRAM_LEN: usize = 32 * 1024;

/// The first of the answers, and its length in bytes.
fn read(bytes: &[u8]) -> Result<(Answer, usize), Cause> {
    const NLMSG_ERROR: u16 = 2;
    let invalid = || Cause::Socket("an answer that is none".to_owned());
    let message = NetlinkBuffer::new_checked(bytes).map_err(|_| invalid())?;
    let mut outcome = Ok(());
    if message.message_type() == NLMSG_ERROR {
        let (code, request) = message.payload().split_first_chunk().ok_or_else(invalid)?;
        let code = i32::from_ne_bytes(*code);
        if code != 0 {
            outcome = Err(Cause::from_nack(message.flags(), code, request));
        }
    }
    Ok((Answer { number: message.sequence_number(), outcome }, message.length() as usize))
}

fn cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(errno) => Cause::Kernel { errno: Errno::from_raw(errno), sentence: None },
        None => Cause::Socket(error.to_string()),
    }
}
