//! Questions to nf_tables, and batches that are done as a whole or not at all.

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily, NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::Cause;
use crate::socket::{Socket, frame};

/// A request to nf_tables.
pub(super) struct Request {
    family: NetfilterProtoFamily,
    flags: u16,
    message: NfTablesMessage,
}

impl Request {
    pub(super) fn new(family: NetfilterProtoFamily, flags: u16, message: NfTablesMessage) -> Self {
        Self { family, flags, message }
    }
}

/// Asks for one object; an error when there is none.
pub(super) fn ask(request: Request) -> Result<(), Cause> {
    let mut frames = Vec::new();
    append(&mut frames, request, 0, 1);
    match exchange(&frames)? {
        0 => Err(Cause::Socket("no answer".to_owned())),
        _ => Ok(()),
    }
}

/// Does all requests, or none of them.
pub(super) fn change(batch: Vec<Request>) -> Result<(), Cause> {
    send(batch, true)
}

/// Has the kernel look at all requests and do none of them.
pub(super) fn check(batch: Vec<Request>) -> Result<(), Cause> {
    // A batch without an end is looked at and given up.
    send(batch, false)
}

fn send(batch: Vec<Request>, commit: bool) -> Result<(), Cause> {
    let subsystem = u8::from(NetfilterSubsystem::NfTables);
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, subsystem.into());
    let control = |message| NetfilterMessage::new(header.clone(), message);
    let mut frames = Vec::new();
    frame(&mut frames, control(ControlMessage::BatchBegin), 0, 0);
    let mut number = 0;
    for request in batch {
        number += 1;
        append(&mut frames, request, NLM_F_ACK, number);
    }
    if commit {
        frame(&mut frames, control(ControlMessage::BatchEnd), 0, number + 1);
    }
    match exchange(&frames)? {
        acknowledged if acknowledged == number as usize => Ok(()),
        _ => Err(Cause::Socket("not every request was answered".to_owned())),
    }
}

fn append(frames: &mut Vec<u8>, request: Request, flags: u16, number: u32) {
    let header = NetfilterHeader::new(request.family, 0, 0);
    let message = NetfilterMessage::new(header, request.message);
    frame(frames, message, request.flags | flags, number);
}

/// How many answers there are, none of them an error.
fn exchange(frames: &[u8]) -> Result<usize, Cause> {
    let socket = Socket::open(NETLINK_NETFILTER)?;
    socket.send(frames)?;
    let answers = socket.answers()?;
    let count = answers.len();
    answers.into_iter().try_for_each(|answer| answer.outcome)?;
    Ok(count)
}
