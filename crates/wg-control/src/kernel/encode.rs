//! A change to an interface as netlink attributes, in as many messages as it takes.
//!
//! The nests are written here and their leaves by the package: it would have lists of lists, and
//! work out the length of each for every one around it.

use std::io;

use netlink_packet_core::{Emitable, NLA_F_NESTED, Nla};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIpAttr, WireguardAllowedIpFlags, WireguardAttribute,
    WireguardDeviceFlags, WireguardPeerAttribute, WireguardPeerFlags,
};
use wg_config::{AllowedIpChange, KEY_LEN};
use zeroize::Zeroizing;

use super::decode::{WGDEVICE_A_PEERS, WGPEER_A_ALLOWEDIPS};
use crate::{DeviceUpdate, PeerUpdate};

// Kernel: include/uapi/linux/wireguard.h.
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
/// The kernel looks at no kind where a nest lists peers or allowed IPs.
const LISTED: u16 = 0;

/// Bytes of attributes in one message. A nest's length is a 16-bit field, so all peers of a message
/// have to fit 65,535 bytes, and a socket's send buffer limits a message too.
const MESSAGE_LIMIT: usize = 32 << 10;

/// Room that is enough for the interface's own settings, or for a peer with one allowed IP.
const RESERVE: usize = 256;

/// Bytes of the longest allowed IP: its nest, family, IPv6 address, prefix length and flags.
const LONGEST_ALLOWED_IP: usize = 4 + 8 + 20 + 8 + 8;

/// The attributes of one message, in memory that never moves and is zeroed when it is dropped.
pub(super) struct Attributes(Zeroizing<Vec<u8>>);

/// Passes the messages that make up `update` on, at least one. Only the first sets what belongs to
/// the interface, and only a peer's first part sets what belongs to the peer: later parts change
/// allowed IPs.
pub(super) fn messages(
    name: &str,
    update: &DeviceUpdate,
    send: impl FnMut(&Attributes) -> io::Result<()>,
) -> io::Result<()> {
    let mut message = Attributes::of_interface(name);
    let start = message.0.len();
    message.settings(update);
    let mut writer = Writer { message, start, peers: None, send };
    for peer in &update.peers {
        writer.peer(peer)?;
    }
    writer.flush()
}

impl Attributes {
    /// The attribute that names the interface.
    pub(super) fn of_interface(name: &str) -> Self {
        let mut attributes = Self(Zeroizing::new(Vec::with_capacity(MESSAGE_LIMIT)));
        attributes.push(&WireguardAttribute::IfName(name.to_owned()));
        attributes
    }

    fn settings(&mut self, update: &DeviceUpdate) {
        if let Some(key) = &update.private_key {
            self.push(&Key { kind: WGDEVICE_A_PRIVATE_KEY, bytes: key.as_bytes() });
        }
        if let Some(port) = update.listen_port {
            self.push(&WireguardAttribute::ListenPort(port));
        }
        if let Some(fwmark) = update.fwmark {
            self.push(&WireguardAttribute::Fwmark(fwmark));
        }
        if update.replace_peers {
            self.push(&WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers));
        }
    }

    fn first_part(&mut self, update: &PeerUpdate) {
        let mut flags = WireguardPeerFlags::empty();
        flags.set(WireguardPeerFlags::RemoveMe, update.remove);
        flags.set(WireguardPeerFlags::UpdateOnly, update.update_only);
        flags.set(WireguardPeerFlags::ReplaceAllowedIps, update.replace_allowed_ips);
        self.push(&WireguardPeerAttribute::PublicKey(*update.public_key.as_bytes()));
        if !flags.is_empty() {
            self.push(&WireguardPeerAttribute::Flags(flags));
        }
        if let Some(key) = &update.preshared_key {
            self.push(&Key { kind: WGPEER_A_PRESHARED_KEY, bytes: key.as_bytes() });
        }
        if let Some(endpoint) = update.endpoint {
            self.push(&WireguardPeerAttribute::Endpoint(endpoint));
        }
        if let Some(seconds) = update.persistent_keepalive {
            self.push(&WireguardPeerAttribute::PersistentKeepalive(seconds));
        }
    }

    /// A peer that is gone by now, or was not there to be updated, does not come into being by
    /// this.
    fn later_part(&mut self, update: &PeerUpdate) {
        self.push(&WireguardPeerAttribute::PublicKey(*update.public_key.as_bytes()));
        self.push(&WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly));
    }

    fn allowed_ip(&mut self, change: &AllowedIpChange) {
        let address = change.ip.address();
        let family = if address.is_ipv4() {
            WireguardAddressFamily::Ipv4
        } else {
            WireguardAddressFamily::Ipv6
        };
        let nest = self.begin(LISTED);
        self.push(&WireguardAllowedIpAttr::Family(family));
        self.push(&WireguardAllowedIpAttr::IpAddr(address));
        self.push(&WireguardAllowedIpAttr::Cidr(change.ip.cidr()));
        if change.remove {
            self.push(&WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
        }
        self.end(nest);
    }

    fn room(&self) -> usize {
        MESSAGE_LIMIT.saturating_sub(self.0.len())
    }

    fn push(&mut self, attribute: &impl Emitable) {
        let start = self.0.len();
        self.0.resize(start + attribute.buffer_len(), 0);
        attribute.emit(&mut self.0[start..]);
    }

    /// Begins a nest, to which belongs what is pushed before [`Attributes::end`].
    fn begin(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) {
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

impl Emitable for Attributes {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// A secret key; the package would have a copy of it.
struct Key<'a> {
    kind: u16,
    bytes: &'a [u8; KEY_LEN],
}

impl Nla for Key<'_> {
    fn value_len(&self) -> usize {
        KEY_LEN
    }

    fn kind(&self) -> u16 {
        self.kind
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(self.bytes);
    }
}

struct Writer<F> {
    message: Attributes,
    /// Where a message goes on behind the interface's name.
    start: usize,
    /// The nest of the message's peers.
    peers: Option<usize>,
    send: F,
}

impl<F: FnMut(&Attributes) -> io::Result<()>> Writer<F> {
    fn peer(&mut self, update: &PeerUpdate) -> io::Result<()> {
        if self.message.room() < RESERVE {
            self.flush()?;
        }
        let mut changes = update.allowed_ips.iter().peekable();
        let mut part = self.begin_peer();
        self.message.first_part(update);
        loop {
            if changes.peek().is_some() {
                let nest = self.message.begin(WGPEER_A_ALLOWEDIPS);
                while let Some(change) =
                    changes.next_if(|_| self.message.room() >= LONGEST_ALLOWED_IP)
                {
                    self.message.allowed_ip(change);
                }
                self.message.end(nest);
            }
            self.message.end(part);
            if changes.peek().is_none() {
                return Ok(());
            }
            self.flush()?;
            part = self.begin_peer();
            self.message.later_part(update);
        }
    }

    fn begin_peer(&mut self) -> usize {
        self.peers.get_or_insert_with(|| self.message.begin(WGDEVICE_A_PEERS));
        self.message.begin(LISTED)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(nest) = self.peers.take() {
            self.message.end(nest);
        }
        (self.send)(&self.message)?;
        self.message.0.truncate(self.start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use netlink_packet_core::{NlasIterator, Parseable};
    use netlink_packet_wireguard::{WireguardAllowedIp, WireguardPeer};
    use wg_config::{AllowedIp, PresharedKey, PrivateKey, PublicKey};

    use super::*;

    /// The messages' attributes, checked for their lengths.
    fn messages_of(update: &DeviceUpdate) -> Vec<Vec<WireguardAttribute>> {
        let mut all = Vec::new();
        messages("wg0", update, |message| {
            // The kernel reads a length that does not fit its field as another.
            assert!(message.buffer_len() <= MESSAGE_LIMIT, "{}", message.buffer_len());
            // A longer one would have been moved, and its keys left behind.
            assert_eq!(message.0.capacity(), MESSAGE_LIMIT);
            let attributes = NlasIterator::new(&message.0[..]);
            let attributes = attributes.map(|a| WireguardAttribute::parse(&a.unwrap()).unwrap());
            let mut attributes: Vec<_> = attributes.collect();
            assert_eq!(attributes.remove(0), WireguardAttribute::IfName("wg0".to_owned()));
            all.push(attributes);
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

    /// A peer with all there can be.
    fn peer(number: u8, allowed_ips: u32) -> PeerUpdate {
        let removed = |bits| {
            let address = IpAddr::from(Ipv6Addr::from_bits(bits));
            AllowedIpChange { ip: AllowedIp::new(address, 128).unwrap(), remove: true }
        };
        PeerUpdate {
            replace_allowed_ips: true,
            preshared_key: Some(PresharedKey::from([9; 32])),
            endpoint: Some("[2001:db8::1]:5".parse().unwrap()),
            persistent_keepalive: Some(7),
            allowed_ips: (0..u128::from(allowed_ips)).map(removed).collect(),
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
        let values = [
            WireguardPeerAttribute::PresharedKey([9; 32]),
            WireguardPeerAttribute::Endpoint("[2001:db8::1]:5".parse().unwrap()),
            WireguardPeerAttribute::PersistentKeepalive(7),
        ];
        let messages =
            messages_of(&DeviceUpdate { peers: vec![update.clone()], ..DeviceUpdate::default() });
        let mut changes = Vec::new();
        for (position, message) in messages.iter().enumerate() {
            let [part] = peers(message) else { panic!("message {position}: {message:?}") };
            let (values, flags) = match position {
                0 => (&values[..], WireguardPeerFlags::ReplaceAllowedIps),
                _ => (&[][..], WireguardPeerFlags::UpdateOnly),
            };
            assert_eq!(part[..2], [key.clone(), WireguardPeerAttribute::Flags(flags)]);
            assert_eq!(part[2..part.len() - 1], *values);
            let [.., WireguardPeerAttribute::AllowedIps(part)] = &part[..] else {
                panic!("part {position}: {part:?}")
            };
            changes.extend_from_slice(part);
        }
        assert!(messages.len() > 2);
        let expected = update.allowed_ips.iter().map(|change| {
            WireguardAllowedIp(vec![
                WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv6),
                WireguardAllowedIpAttr::IpAddr(change.ip.address()),
                WireguardAllowedIpAttr::Cidr(128),
                WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe),
            ])
        });
        assert_eq!(changes, expected.collect::<Vec<_>>());
    }

    /// Whatever room is left for them in the message that the ones before have begun.
    #[test]
    fn every_peer_fits_with_its_first_allowed_ip() {
        for padding in 0..60 {
            let updates = [peer(0, padding)].into_iter().chain((1..200).map(|n| peer(n, 3)));
            let update = DeviceUpdate { peers: updates.collect(), ..DeviceUpdate::default() };
            let messages = messages_of(&update);
            let mut given = vec![0; 200];
            for part in messages.iter().flat_map(|message| peers(message)) {
                let Some(WireguardPeerAttribute::PublicKey(key)) = part.first() else {
                    panic!("{part:?}")
                };
                let Some(WireguardPeerAttribute::AllowedIps(ips)) = part.last() else {
                    assert_eq!((key[0], padding), (0, 0), "{part:?}");
                    continue;
                };
                given[usize::from(key[0])] += ips.len();
            }
            assert_eq!(given[0], padding as usize);
            assert!(given[1..].iter().all(|count| *count == 3), "{given:?}");
        }
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
