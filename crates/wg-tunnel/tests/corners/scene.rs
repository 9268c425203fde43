//! A tunnel in a network namespace of the test's own thread, and the far end of it, whose
//! messages the test makes itself.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rand_core::UnwrapErr;
use wg_noise::{
    IncomingInitiation, IndexTable, Instant, LocalIndex, LocalStatic, Message, Peer,
    TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, Tai64n, padded_len,
};
use wg_tunnel::{
    AllowedIp, AllowedIpChange, Lanes, Offloads, PeerUpdate, PublicKey, Secret, Tun, Tunnel, Update,
};

pub(crate) const PORT: u16 = 4000;
pub(crate) const MTU: u16 = 1420;
/// Types of messages.
pub(crate) const INITIATION: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const COOKIE_REPLY: u8 = 3;
/// Nothing here takes so long, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The host's addresses in the tunnel, and the far end's.
pub(crate) const HERE: [&str; 2] = ["10.9.0.1", "fd09::1"];
pub(crate) const THERE: [&str; 2] = ["10.9.0.2", "fd09::2"];
/// In the tunnel's network, and nobody's.
pub(crate) const NOBODY: [&str; 2] = ["10.9.0.99", "fd09::99"];

const PRIVATE: [u8; 32] = [3; 32];
/// Private keys of far ends.
pub(crate) const ONE: [u8; 32] = [21; 32];
pub(crate) const TWO: [u8; 32] = [22; 32];

/// The tunnel under test.
pub(crate) struct Scene {
    pub(crate) tunnel: Tunnel,
}

/// The other end: one socket, one key, one peer.
pub(crate) struct Far {
    pub(crate) socket: UdpSocket,
    pub(crate) local: LocalStatic,
    pub(crate) peer: Peer,
    /// Where the tunnel is.
    pub(crate) target: SocketAddr,
}

/// A datagram as it came.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) tos: u8,
}

pub(crate) fn public(private: [u8; 32]) -> PublicKey {
    *LocalStatic::new(&private).public_key()
}

/// Runs `ip` in the thread's network.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments}");
}

/// A peer as an update that makes it, with an allowed IP of each family.
pub(crate) fn peer(private: [u8; 32], endpoint: Option<SocketAddr>) -> PeerUpdate {
    let allowed = [(THERE[0], 32), (THERE[1], 128)].map(|(ip, length)| AllowedIpChange {
        ip: AllowedIp::new(ip.parse().unwrap(), length).unwrap(),
        remove: false,
    });
    PeerUpdate {
        public_key: public(private),
        remove: false,
        update_only: false,
        preshared_key: None,
        endpoint,
        persistent_keepalive: None,
        replace_allowed_ips: true,
        allowed_ips: allowed.into(),
    }
}

pub(crate) fn with_peer(peer: PeerUpdate) -> Update {
    Update { peers: vec![peer], ..Update::default() }
}

/// Waits until packets to an address of the host's arrive, which the kernel sees to in its own time.
fn await_address(address: &str) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let end = Clock::now() + PATIENCE;
    while socket.send_to(b"here", socket.local_addr().unwrap()).is_err()
        || socket.recv(&mut [0; 4]).is_err()
    {
        assert!(Clock::now() < end, "nothing comes to {address}");
    }
}

impl Scene {
    /// A tunnel that is up, with addresses of both families and no peer.
    pub(crate) fn new() -> Self {
        ip("link set lo up");
        let all = Offloads::default();
        // How the tests are run, not what one of them sets.
        let lanes: Lanes = std::env::var("WG_LANES").unwrap_or_default().parse().unwrap();
        let tunnel = Tunnel::start(Tun::create("wg0", all, lanes).unwrap(), all, lanes).unwrap();
        let update = Update {
            private_key: Some(Secret::from(PRIVATE)),
            listen_port: Some(PORT),
            ..Update::default()
        };
        tunnel.apply(update).unwrap();
        ip(&format!("address add {}/24 dev wg0", HERE[0]));
        ip(&format!("address add {}/64 dev wg0 nodad", HERE[1]));
        ip("link set wg0 up");
        // Whoever answers has seen that the link is up.
        tunnel.status();
        for here in HERE {
            await_address(here);
        }
        Self { tunnel }
    }

    /// The same with one far end, which is connected.
    pub(crate) fn connected(private: [u8; 32]) -> (Self, Far) {
        let scene = Self::new();
        let far = Far::new(private);
        scene.tunnel.apply(with_peer(peer(private, None))).unwrap();
        far.connect();
        // The message that confirms it could still wait in the socket.
        let end = Clock::now() + PATIENCE;
        while scene.tunnel.status().peers[0].last_handshake.is_none() {
            assert!(Clock::now() < end, "the session is not confirmed");
            std::thread::yield_now();
        }
        (scene, far)
    }

    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.tunnel.status().peers[0].endpoint
    }
}

impl Far {
    pub(crate) fn new(private: [u8; 32]) -> Self {
        Self::at("127.0.0.1", private)
    }

    pub(crate) fn at(address: &str, private: [u8; 32]) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
        Self {
            socket,
            local: LocalStatic::new(&private),
            peer: Peer::new(public(PRIVATE)),
            target: SocketAddr::from(([127, 0, 0, 1], PORT)),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.target).unwrap();
    }

    pub(crate) fn initiation(&self) -> Vec<u8> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let wall = Tai64n::from_unix(wall);
        let message = self.peer.initiate(&self.local, index(), now(), wall, rng);
        message.expect("the last one is too young").to_vec()
    }

    /// Finishes a handshake of ours with the response that came, and confirms it.
    pub(crate) fn finish(&self, response: &[u8]) {
        let Some(Message::Response(response)) = Message::parse(response) else {
            panic!("not a response: {response:?}")
        };
        let _ = self.peer.consume_response(&self.local, response, now(), Duration::ZERO).unwrap();
        self.send(&self.seal(&[]));
    }

    /// A handshake of ours. One that comes too soon after the last is refused, and tried again.
    pub(crate) fn connect(&self) {
        let end = Clock::now() + PATIENCE;
        loop {
            self.send(&self.initiation());
            if let Some(response) = self.receive_within(Duration::from_millis(300), RESPONSE) {
                return self.finish(&response);
            }
            assert!(Clock::now() < end, "no response");
            self.peer.reset();
        }
    }

    /// The next message of a type, if one comes soon.
    pub(crate) fn receive_within(&self, time: Duration, kind: u8) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = vec![0; 65536];
        let found = loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) if buffer[0] == kind => break Some(buffer[..length].to_vec()),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        found
    }

    /// Answers an initiation of the tunnel's.
    pub(crate) fn answer(&self, initiation: &[u8]) {
        let Some(Message::Initiation(message)) = Message::parse(initiation) else {
            panic!("not an initiation: {initiation:?}")
        };
        let opened = IncomingInitiation::open(&self.local, message).unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let response = self.peer.consume_initiation(&self.local, opened, index(), now(), rng);
        self.send(&response.unwrap());
    }

    pub(crate) fn seal(&self, packet: &[u8]) -> Vec<u8> {
        let reservation = self.peer.reserve(1, now()).expect("there is a session");
        let length = padded_len(packet.len(), MTU.into()) + TRANSPORT_OVERHEAD;
        let mut message = vec![0; length];
        message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
        reservation.keypair.seal(reservation.first, &mut message);
        message
    }

    /// The packet in a transport message, with padding; `None` for another message.
    pub(crate) fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let Some(Message::Transport { receiver, counter }) = Message::parse(message) else {
            return None;
        };
        let keypair = self.peer.keypair(receiver, now())?;
        let mut message = message.to_vec();
        let packet = keypair.open(counter, &mut message).ok()?.to_vec();
        let _ = self.peer.received(&keypair, !packet.is_empty(), now(), Duration::ZERO);
        Some(packet)
    }

    pub(crate) fn receive(&self) -> Received {
        let (mut buffer, mut control) = (vec![0; 65536], nix::cmsg_space!(libc_tos));
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let received = loop {
            match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags) {
                // Who stops this process for a moment ends a wait that has a limit.
                Err(Errno::EINTR) => {}
                received => break received.expect("something comes"),
            }
        };
        let tos = received.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
            _ => None,
        });
        let from = received.address.as_ref().and_then(|address| address.as_sockaddr_in()).unwrap();
        let from = SocketAddr::from((from.ip(), from.port()));
        let length = received.bytes;
        buffer.truncate(length);
        Received { bytes: buffer, from, tos: tos.unwrap_or(0) }
    }

    /// The next datagram with a packet, and that packet; keepalives are passed over.
    pub(crate) fn receive_packet(&self) -> (Received, Vec<u8>) {
        loop {
            let received = self.receive();
            if let Some(packet) = self.open(&received.bytes).filter(|packet| !packet.is_empty()) {
                return (received, packet);
            }
        }
    }

    /// Sends a datagram with a traffic class.
    pub(crate) fn send_marked(&self, bytes: &[u8], tos: u8) {
        let to = SockaddrStorage::from(self.target);
        let control = [ControlMessage::Ipv4Tos(&tos)];
        let parts = [IoSlice::new(bytes)];
        sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to)).unwrap();
    }

    /// Nothing but this waits for us: packets both ways pass, and what came before did not answer.
    pub(crate) fn expect_silence_before(&self, inner: &UdpSocket) {
        inner.send_to(b"barrier", (THERE[0], 7)).unwrap();
        let (_, packet) = self.receive_packet();
        assert_eq!(&packet[28..35], b"barrier");
    }
}

#[expect(non_camel_case_types, reason = "a type for cmsg_space")]
type libc_tos = i32;

pub(crate) fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Instant::from_nanos(since.as_nanos() as u64)
}

pub(crate) fn index() -> LocalIndex {
    struct Anywhere;
    impl IndexTable for Anywhere {
        fn release(&self, _: u32) {}
    }
    static NEXT: AtomicU32 = AtomicU32::new(1);
    LocalIndex::new(NEXT.fetch_add(1, Ordering::Relaxed), Arc::new(Anywhere))
}
