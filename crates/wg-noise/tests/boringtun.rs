//! The handshake, data and cookies with a second, independent implementation as the peer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey as TheirPublicKey, StaticSecret};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_noise::{
    CookieChecker, IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, MacState,
    Message, Peer, PresharedKey, PublicKey, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Tai64n,
    Wanted, padded_len,
};

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const MTU: usize = 1420;

struct Anything;

impl IndexTable for Anything {
    fn release(&self, _index: u32) {}
}

/// We and boringtun, each other's only peer.
struct Pair {
    rng: ChaCha20Rng,
    local: LocalStatic,
    peer: Peer,
    tunn: Tunn,
}

impl Pair {
    fn new(preshared: Option<[u8; 32]>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut ours);
        rng.fill_bytes(&mut theirs);
        let local = LocalStatic::new(&ours);
        let their_public = TheirPublicKey::from(&StaticSecret::from(theirs));
        let peer = Peer::new(PublicKey::from(their_public.to_bytes()));
        peer.set_preshared_key(preshared.map(PresharedKey::from));
        let our_public = TheirPublicKey::from(*local.public_key().as_bytes());
        let tunn = Tunn::new(theirs.into(), our_public, preshared, None, 5, None);
        Self { rng, local, peer, tunn }
    }

    fn initiate(&mut self) -> Vec<u8> {
        let wall = Tai64n::from_unix(unix());
        let index = index(0xaabb_ccdd);
        let message = self.peer.initiate(&self.local, index, NOW, wall, &mut self.rng);
        message.expect("nothing was sent before").to_vec()
    }

    fn answer(&mut self, initiation: &[u8]) -> Vec<u8> {
        let Some(Message::Initiation(message)) = Message::parse(initiation) else {
            panic!("not an initiation");
        };
        let checker = CookieChecker::new(self.local.public_key());
        assert_eq!(checker.check(message, source(), NOW), MacState::Mac1);
        let opened = IncomingInitiation::open(&self.local, message).unwrap();
        assert_eq!(opened.public_key(), self.peer.public_key());
        let index = index(0x1122_3344);
        let response = self.peer.consume_initiation(&self.local, opened, index, NOW, &mut self.rng);
        response.unwrap().to_vec()
    }

    fn finish(&mut self, response: &[u8]) -> Wanted {
        let Some(Message::Response(message)) = Message::parse(response) else {
            panic!("not a response");
        };
        self.peer.consume_response(&self.local, message, NOW, unix()).unwrap()
    }

    /// A transport message of ours.
    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let reservation = self.peer.reserve(1, NOW).expect("there is a session");
        let mut message = vec![0; padded_len(packet.len(), MTU) + TRANSPORT_OVERHEAD];
        message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
        reservation.keypair.seal(reservation.first, &mut message);
        let _ = self.peer.sent(&reservation.keypair, !packet.is_empty(), NOW);
        message
    }

    /// The padded plaintext of a transport message of theirs.
    fn open(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let Some(Message::Transport { receiver, counter }) = Message::parse(&message) else {
            panic!("not a transport message");
        };
        let keypair = self.peer.keypair(receiver, NOW).expect("there is a session");
        let plaintext = keypair.open(counter, &mut message).unwrap().to_vec();
        let mut fresh = [true];
        keypair.accept(&[counter], &mut fresh);
        assert_eq!(fresh, [true]);
        let _ = self.peer.received(&keypair, !plaintext.is_empty(), NOW, unix());
        plaintext
    }

    /// What boringtun sends when the user gives it `packet`.
    fn their_send(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        sent(self.tunn.encapsulate(packet, &mut buffer))
    }

    /// What boringtun answers to a datagram.
    fn their_answer(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        sent(self.tunn.decapsulate(Some(source().ip()), datagram, &mut buffer))
    }

    /// The packet that boringtun gives its user for a datagram, empty for a keepalive.
    fn their_receive(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        match self.tunn.decapsulate(None, datagram, &mut buffer) {
            TunnResult::WriteToTunnelV4(packet, _) => packet.to_vec(),
            TunnResult::Done => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    fn data_flows_both_ways(&mut self) {
        for len in [20, 21, 36, 1419, 1420] {
            let packet = ipv4_packet(len);
            let message = self.seal(&packet);
            assert_eq!(self.their_receive(&message), packet);
            let message = self.their_send(&packet);
            assert_eq!(self.open(message)[..len], packet);
        }
    }
}

#[test]
fn we_initiate() {
    for preshared in [None, Some([0x5a; 32])] {
        let mut pair = Pair::new(preshared);
        let initiation = pair.initiate();
        let response = pair.their_answer(&initiation);
        let wanted = pair.finish(&response);
        assert!(wanted.keepalive && wanted.staged);
        let keepalive = pair.seal(&[]);
        assert_eq!(pair.their_receive(&keepalive), []);
        pair.data_flows_both_ways();
    }
}

#[test]
fn they_initiate() {
    for preshared in [None, Some([0x5a; 32])] {
        let mut pair = Pair::new(preshared);
        let initiation = pair.their_send(&ipv4_packet(100));
        let response = pair.answer(&initiation);
        assert!(pair.peer.reserve(1, NOW).is_none(), "not confirmed yet");
        let confirmation = pair.their_answer(&response);
        assert_eq!(pair.open(confirmation), []);
        assert_eq!(pair.peer.last_handshake().map(|since| since.as_secs()), Some(unix().as_secs()));
        pair.data_flows_both_ways();
    }
}

#[test]
fn another_preshared_key_is_refused_by_the_initiator() {
    let mut pair = Pair::new(Some([1; 32]));
    pair.peer.set_preshared_key(Some(PresharedKey::from([2; 32])));
    let initiation = pair.their_send(&ipv4_packet(100));
    let response = pair.answer(&initiation);
    let mut buffer = [0; 2048];
    assert!(matches!(pair.tunn.decapsulate(None, &response, &mut buffer), TunnResult::Err(_)));
}

#[test]
fn they_take_our_cookie_and_prove_their_address() {
    let mut pair = Pair::new(None);
    let checker = CookieChecker::new(pair.local.public_key());
    let initiation = pair.their_send(&ipv4_packet(100));
    let reply = checker.reply(&initiation, source(), NOW, &mut pair.rng);
    let mut buffer = [0; 2048];
    assert!(matches!(pair.tunn.decapsulate(None, &reply, &mut buffer), TunnResult::Done));
    let again = sent(pair.tunn.format_handshake_initiation(&mut buffer, true));
    assert_eq!(checker.check(&again, source(), NOW), MacState::Mac2);
}

/// The bytes that boringtun wants on the network.
fn sent(result: TunnResult<'_>) -> Vec<u8> {
    match result {
        TunnResult::WriteToNetwork(datagram) => datagram.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// A packet with a header that boringtun believes.
fn ipv4_packet(len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|i| i as u8).collect();
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    packet
}

fn index(value: u32) -> LocalIndex {
    LocalIndex::new(value, Arc::new(Anything))
}

fn source() -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 51820)
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
