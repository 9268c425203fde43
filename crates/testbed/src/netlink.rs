//! One route netlink request and its answer. The testbed has its own, smallest client, so that the
//! programs under test are not checked by their own code.

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Asks the kernel, in the calling thread's network namespace, for a change, and waits until it is
/// made.
///
/// # Errors
/// The kernel's reason for a refusal.
pub(crate) fn change(message: RouteNetlinkMessage) -> Result<()> {
    let socket = Socket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | creating(&request.payload);
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
        NetlinkPayload::Error(error) => Err(error.to_io().into()),
        other => bail!("the kernel answered with {other:?}"),
    }
}

fn creating(payload: &NetlinkPayload<RouteNetlinkMessage>) -> u16 {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewLink(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::NewRoute(_),
        ) => NLM_F_CREATE | NLM_F_EXCL,
        _ => 0,
    }
}
