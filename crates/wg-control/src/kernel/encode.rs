//! A change to an interface as netlink attributes, in as many messages as it takes.

use std::{io, mem};

use netlink_packet_core::Emitable;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags,
    WireguardAttribute, WireguardDeviceFlags, WireguardPeer, WireguardPeerAttribute,
    WireguardPeerFlags,
};
use wg_config::AllowedIpChange;
use zeroize::Zeroize;

use crate::{DeviceUpdate, PeerUpdate};

/// Bytes of attributes in one message. A nest's length is a 16-bit field, so all peers of a message
/// have to fit 65,535 bytes, and a socket's send buffer limits a message too.
const MESSAGE_LIMIT: usize = 32 << 10;

/// Room that is enough for the interface's own settings, or for a peer with one allowed IP.
const RESERVE: usize = 256;

/// The attributes of one message. Keys among them are wiped when it is dropped.
pub(super) struct Attributes(Vec<WireguardAttribute>);

/// Passes the messages that make up `update` on, at least one. Only the first sets what belongs to
/// the interface, and only a peer's first part sets what belongs to the peer: later parts change
/// allowed IPs.
pub(super) fn messages(
    name: &str,
    update: &DeviceUpdate,
    send: impl FnMut(&Attributes) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = Writer {
        name,
        settings: settings(name, update),
        peers: Vec::new(),
        room: MESSAGE_LIMIT - RESERVE,
        send,
    };
    for peer in &update.peers {
        writer.peer(peer)?;
    }
    writer.flush()
}

impl Attributes {
    /// The attribute that names the interface.
    pub(super) fn of_interface(name: &str) -> Self {
        // With room for all there can be: growing would leave a copy of the private key behind.
        let mut attributes = Vec::with_capacity(6);
        attributes.push(WireguardAttribute::IfName(name.to_owned()));
        Self(attributes)
    }
}

impl Emitable for Attributes {
    fn buffer_len(&self) -> usize {
        self.0.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.0.as_slice().emit(buffer);
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            match attribute {
                WireguardAttribute::PrivateKey(key) => key.zeroize(),
                WireguardAttribute::Peers(peers) => peers.iter_mut().for_each(wipe),
                _ => {}
            }
        }
    }
}

fn wipe(peer: &mut WireguardPeer) {
    for attribute in &mut peer.0 {
        if let WireguardPeerAttribute::PresharedKey(key) = attribute {
            key.zeroize();
        }
    }
}

struct Writer<'a, F> {
    name: &'a str,
    settings: Attributes,
    peers: Vec<WireguardPeer>,
    room: usize,
    send: F,
}

impl<F: FnMut(&Attributes) -> io::Result<()>> Writer<'_, F> {
    fn peer(&mut self, update: &PeerUpdate) -> io::Result<()> {
        if self.room < RESERVE {
            self.flush()?;
        }
        let mut changes = update.allowed_ips.iter().map(allowed_ip).peekable();
        let mut part = first_part(update);
        loop {
            self.room = self.room.saturating_sub(RESERVE);
            let mut fitting = Vec::new();
            while let Some(change) = changes.next_if(|change| change.buffer_len() <= self.room) {
                self.room -= change.buffer_len();
                fitting.push(change);
            }
            if !fitting.is_empty() {
                part.push(WireguardPeerAttribute::AllowedIps(fitting));
            }
            self.peers.push(WireguardPeer(part));
            if changes.peek().is_none() {
                return Ok(());
            }
            self.flush()?;
            part = later_part(update);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut message = mem::replace(&mut self.settings, Attributes::of_interface(self.name));
        self.room = MESSAGE_LIMIT - RESERVE;
        if !self.peers.is_empty() {
            message.0.push(WireguardAttribute::Peers(mem::take(&mut self.peers)));
        }
        (self.send)(&message)
    }
}

fn settings(name: &str, update: &DeviceUpdate) -> Attributes {
    let mut attributes = Attributes::of_interface(name);
    if let Some(key) = &update.private_key {
        attributes.0.push(WireguardAttribute::PrivateKey(*key.as_bytes()));
    }
    if let Some(port) = update.listen_port {
        attributes.0.push(WireguardAttribute::ListenPort(port));
    }
    if let Some(fwmark) = update.fwmark {
        attributes.0.push(WireguardAttribute::Fwmark(fwmark));
    }
    if update.replace_peers {
        attributes.0.push(WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
    }
    attributes
}

fn first_part(update: &PeerUpdate) -> Vec<WireguardPeerAttribute> {
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::RemoveMe, update.remove);
    flags.set(WireguardPeerFlags::UpdateOnly, update.update_only);
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, update.replace_allowed_ips);
    // With room for all there can be: growing would leave a copy of the preshared key behind.
    let mut part = Vec::with_capacity(6);
    part.push(WireguardPeerAttribute::PublicKey(*update.public_key.as_bytes()));
    if !flags.is_empty() {
        part.push(WireguardPeerAttribute::Flags(flags));
    }
    if let Some(key) = &update.preshared_key {
        part.push(WireguardPeerAttribute::PresharedKey(*key.as_bytes()));
    }
    if let Some(endpoint) = update.endpoint {
        part.push(WireguardPeerAttribute::Endpoint(endpoint));
    }
    if let Some(seconds) = update.persistent_keepalive {
        part.push(WireguardPeerAttribute::PersistentKeepalive(seconds));
    }
    part
}

/// A peer that is gone by now, or was not there to be updated, does not come into being by this.
fn later_part(update: &PeerUpdate) -> Vec<WireguardPeerAttribute> {
    vec![
        WireguardPeerAttribute::PublicKey(*update.public_key.as_bytes()),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
    ]
}

fn allowed_ip(change: &AllowedIpChange) -> WireguardAllowedIp {
    let address = change.ip.address();
    let family =
        if address.is_ipv4() { WireguardAddressFamily::Ipv4 } else { WireguardAddressFamily::Ipv6 };
    let mut attributes = vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(address),
        WireguardAllowedIpAttr::Cidr(change.ip.cidr()),
    ];
    if change.remove {
        attributes.push(WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
    }
    WireguardAllowedIp(attributes)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use wg_config::{AllowedIp, PresharedKey, PrivateKey, PublicKey};

    use super::*;

    /// The messages' attributes, checked for their lengths.
    fn messages_of(update: &DeviceUpdate) -> Vec<Vec<WireguardAttribute>> {
        let mut all = Vec::new();
        messages("wg0", update, |message| {
            // The kernel reads a length that does not fit its field as another.
            assert!(message.buffer_len() <= MESSAGE_LIMIT, "{}", message.buffer_len());
            assert_eq!(message.0[0], WireguardAttribute::IfName("wg0".to_owned()));
            all.push(message.0[1..].to_vec());
            Ok(())
        })
        .unwrap();
        all
    }

    fn peers(message: &[WireguardAttribute]) -> &[WireguardPeer] {
        match message.last() {
            Some(WireguardAttribute::Peers(peers)) => peers,
            _ => &[],
        }
    }

    fn peer(number: u8, allowed_ips: u32) -> PeerUpdate {
        let allowed_ip = |bits| AllowedIp::new(IpAddr::from(Ipv4Addr::from_bits(bits)), 32);
        PeerUpdate {
            replace_allowed_ips: true,
            preshared_key: Some(PresharedKey::from([9; 32])),
            allowed_ips: (0..allowed_ips).map(|bits| allowed_ip(bits).unwrap().into()).collect(),
            ..PeerUpdate::new(PublicKey::from([number; 32]))
        }
    }

    #[test]
    fn a_change_of_nothing_is_one_message() {
        assert_eq!(messages_of(&DeviceUpdate::default()), [[]]);
    }

    #[test]
    fn settings_go_into_the_first_message_alone() {
        let update = DeviceUpdate {
            private_key: Some(PrivateKey::from([1; 32])),
            listen_port: Some(0),
            fwmark: Some(0),
            replace_peers: true,
            peers: (0..200).map(|number| peer(number, 20)).collect(),
        };
        let messages = messages_of(&update);
        assert_eq!(
            messages[0][..4],
            [
                WireguardAttribute::PrivateKey([1; 32]),
                WireguardAttribute::ListenPort(0),
                WireguardAttribute::Fwmark(0),
                WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers),
            ]
        );
        assert!(messages.len() > 2 && messages[1..].iter().all(|message| message.len() == 1));
    }

    #[test]
    fn only_the_first_part_of_a_peer_sets_and_replaces() {
        let update = peer(3, 5_000);
        let key = WireguardPeerAttribute::PublicKey([3; 32]);
        let messages =
            messages_of(&DeviceUpdate { peers: vec![update.clone()], ..DeviceUpdate::default() });
        let mut changes = Vec::new();
        for (position, message) in messages.iter().enumerate() {
            let [part] = peers(message) else { panic!("message {position}: {message:?}") };
            let (head, flags) = match position {
                0 => (3, WireguardPeerFlags::ReplaceAllowedIps),
                _ => (2, WireguardPeerFlags::UpdateOnly),
            };
            assert_eq!(part[..2], [key.clone(), WireguardPeerAttribute::Flags(flags)]);
            let [WireguardPeerAttribute::AllowedIps(part)] = &part[head..] else {
                panic!("part {position}: {part:?}")
            };
            changes.extend_from_slice(part);
        }
        assert!(messages.len() > 2);
        assert_eq!(changes, update.allowed_ips.iter().map(allowed_ip).collect::<Vec<_>>());
    }

    #[test]
    fn a_failing_message_is_the_last() {
        let update = DeviceUpdate { peers: vec![peer(1, 5_000)], ..DeviceUpdate::default() };
        let mut sent = 0;
        let outcome = messages("wg0", &update, |_| {
            sent += 1;
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!((sent, outcome.unwrap_err().kind()), (1, io::ErrorKind::PermissionDenied));
    }
}
