//! What the kernel says of an interface.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NlaBuffer, NlasIterator, Parseable};
use netlink_packet_wireguard::{
    WireguardAllowedIpAttr, WireguardAttribute, WireguardPeerAttribute, WireguardTimeSpec,
};
use wg_config::{AllowedIp, PresharedKey, PrivateKey, PublicKey};

use super::socket::malformed;
use crate::{Device, Peer};

// The nests are walked here and their leaves parsed by the package: it would hold a device's peers
// in lists of lists, with keys that are not wiped when they grow.
pub(super) const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
pub(super) const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// Adds the attributes of one message of a dump. A peer that does not fit a message is continued in
/// the next, where its public key is repeated.
pub(super) fn add(device: &mut Device, attributes: NlasIterator<&[u8]>) -> io::Result<()> {
    for attribute in attributes {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == WGDEVICE_A_PEERS {
            for peer in NlasIterator::new(attribute.value()) {
                add_peer(&mut device.peers, peer.map_err(malformed)?.value())?;
            }
            continue;
        }
        match WireguardAttribute::parse(&attribute).map_err(malformed)? {
            WireguardAttribute::IfName(name) => device.name = name,
            WireguardAttribute::PrivateKey(key) => {
                device.private_key = Some(PrivateKey::from(key)).filter(|key| !key.is_zero());
            }
            WireguardAttribute::PublicKey(key) => {
                device.public_key = Some(PublicKey::from(key)).filter(|key| !key.is_zero());
            }
            WireguardAttribute::ListenPort(port) => device.listen_port = port,
            WireguardAttribute::Fwmark(fwmark) => device.fwmark = fwmark,
            _ => {}
        }
    }
    Ok(())
}

fn add_peer(peers: &mut Vec<Peer>, attributes: &[u8]) -> io::Result<()> {
    let mut attributes = NlasIterator::new(attributes);
    let first = attributes.next().ok_or_else(|| malformed("a peer without attributes"))?;
    let first = first.map_err(malformed)?;
    let not_a_key = || malformed("a peer that does not begin with its public key");
    // Nests must not get to the package, which panics on an empty prefix length.
    if first.kind() != WGPEER_A_PUBLIC_KEY {
        return Err(not_a_key());
    }
    let WireguardPeerAttribute::PublicKey(key) = parse(&first)? else {
        return Err(not_a_key());
    };
    let key = PublicKey::from(key);
    if peers.last().is_none_or(|last| last.public_key != key) {
        peers.push(Peer {
            public_key: key,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: 0,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: Vec::new(),
        });
    }
    let Some(peer) = peers.last_mut() else { return Ok(()) };
    for attribute in attributes {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == WGPEER_A_ALLOWEDIPS {
            for allowed_ip in NlasIterator::new(attribute.value()) {
                peer.allowed_ips.push(allowed_ip_of(allowed_ip.map_err(malformed)?.value())?);
            }
            continue;
        }
        match parse(&attribute)? {
            WireguardPeerAttribute::PresharedKey(key) => {
                peer.preshared_key = Some(PresharedKey::from(key)).filter(|key| !key.is_zero());
            }
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                peer.persistent_keepalive = seconds;
            }
            WireguardPeerAttribute::LastHandshake(time) => peer.last_handshake = since_epoch(time),
            WireguardPeerAttribute::RxBytes(bytes) => peer.rx_bytes = bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.tx_bytes = bytes,
            _ => {}
        }
    }
    Ok(())
}

fn parse(attribute: &NlaBuffer<&[u8]>) -> io::Result<WireguardPeerAttribute> {
    WireguardPeerAttribute::parse(attribute).map_err(malformed)
}

fn allowed_ip_of(attributes: &[u8]) -> io::Result<AllowedIp> {
    let (mut address, mut cidr) = (None, None);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == WGALLOWEDIP_A_CIDR_MASK && attribute.value().is_empty() {
            return Err(malformed("an allowed IP with an empty prefix length"));
        }
        match WireguardAllowedIpAttr::parse(&attribute).map_err(malformed)? {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(ip),
            WireguardAllowedIpAttr::Cidr(bits) => cidr = Some(bits),
            _ => {}
        }
    }
    let (Some(address), Some(cidr)) = (address, cidr) else {
        return Err(malformed("an allowed IP without address or prefix length"));
    };
    AllowedIp::new(address, cidr).map_err(malformed)
}

/// The kernel's zero is a peer that has never completed a handshake.
fn since_epoch(time: WireguardTimeSpec) -> Option<Duration> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanoseconds = u32::try_from(time.nano_seconds).ok().filter(|&part| part < 1_000_000_000)?;
    Some(Duration::new(seconds, nanoseconds)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_wireguard::{
        WireguardAddressFamily, WireguardAllowedIp, WireguardAttribute, WireguardPeer,
    };
    use proptest::prelude::*;

    use super::*;

    fn add_all(device: &mut Device, attributes: &[WireguardAttribute]) {
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        add(device, NlasIterator::new(&bytes[..])).unwrap();
    }

    fn peer(number: u8, mut more: Vec<WireguardPeerAttribute>, ip: u8) -> WireguardPeer {
        let allowed_ip = WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv4),
            WireguardAllowedIpAttr::IpAddr([10, 0, 0, ip].into()),
            WireguardAllowedIpAttr::Cidr(32),
        ]);
        more.insert(0, WireguardPeerAttribute::PublicKey([number; 32]));
        more.push(WireguardPeerAttribute::AllowedIps(vec![allowed_ip]));
        WireguardPeer(more)
    }

    #[test]
    fn a_peer_goes_on_in_the_next_message() {
        let mut device = Device::default();
        let counters =
            || vec![WireguardPeerAttribute::RxBytes(7), WireguardPeerAttribute::TxBytes(9)];
        add_all(
            &mut device,
            &[
                WireguardAttribute::ListenPort(1),
                WireguardAttribute::Peers(vec![peer(1, vec![], 1), peer(2, counters(), 2)]),
            ],
        );
        add_all(
            &mut device,
            &[WireguardAttribute::Peers(vec![peer(2, vec![], 3), peer(3, vec![], 4)])],
        );
        let peers: Vec<_> = device
            .peers
            .iter()
            .map(|peer| (peer.public_key.as_bytes()[0], peer.rx_bytes, peer.tx_bytes))
            .collect();
        assert_eq!((device.listen_port, peers), (1, vec![(1, 0, 0), (2, 7, 9), (3, 0, 0)]));
        let ips: Vec<_> = device.peers[1].allowed_ips.iter().map(AllowedIp::to_string).collect();
        assert_eq!(ips, ["10.0.0.2/32", "10.0.0.3/32"]);
    }

    /// Found by fuzzing: the package would index into the empty prefix length.
    #[test]
    fn a_peer_that_begins_with_allowed_ips_is_refused() {
        let nest = |kind: u16, inner: &[u8]| {
            let length = u16::try_from(inner.len()).unwrap() + 4;
            [&length.to_ne_bytes()[..], &(kind | 0x8000).to_ne_bytes(), inner].concat()
        };
        let empty_cidr = nest(WGALLOWEDIP_A_CIDR_MASK, &[]);
        let peer = nest(0, &nest(WGPEER_A_ALLOWEDIPS, &nest(0, &empty_cidr)));
        let message = nest(WGDEVICE_A_PEERS, &peer);
        let error = add(&mut Device::default(), NlasIterator::new(&message[..])).unwrap_err();
        assert!(error.to_string().contains("public key"), "{error}");
    }

    #[test]
    fn zeros_stand_for_nothing() {
        let mut device = Device::default();
        let none = vec![
            WireguardPeerAttribute::PresharedKey([0; 32]),
            WireguardPeerAttribute::LastHandshake(WireguardTimeSpec::default()),
        ];
        add_all(
            &mut device,
            &[
                WireguardAttribute::PrivateKey([0; 32]),
                WireguardAttribute::PublicKey([0; 32]),
                WireguardAttribute::Peers(vec![peer(1, none, 1)]),
            ],
        );
        assert_eq!((device.private_key, device.public_key), (None, None));
        assert_eq!((&device.peers[0].preshared_key, device.peers[0].last_handshake), (&None, None));
    }

    /// Attributes of any kind and content, in nests like the kernel's.
    fn attributes() -> impl Strategy<Value = Vec<u8>> {
        let leaf = (0_u16..12, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, value)| attribute(kind, &value));
        leaf.prop_recursive(4, 64, 6, |inner| {
            (0_u16..12, proptest::collection::vec(inner, 0..6))
                .prop_map(|(kind, inner)| attribute(kind, &inner.concat()))
        })
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    proptest! {
        #[test]
        fn nothing_the_kernel_could_say_panics(
            attributes in proptest::collection::vec(attributes(), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = attributes.concat();
            let _ = add(&mut Device::default(), NlasIterator::new(&bytes[..]));
            let _ = add(&mut Device::default(), NlasIterator::new(&bytes[..cut.index(bytes.len() + 1)]));
        }
    }
}
