//! A tunnel without a daemon, in a network namespace of the test's own thread.

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};
use wg_tunnel::{
    AllowedIp, AllowedIpChange, Lanes, Offloads, PeerUpdate, PublicKey, Secret, Tun, Tunnel, Update,
};

const ALL: Offloads = Offloads { tun: true, gso: true, gro: true };

fn start(offloads: Offloads) -> Tunnel {
    let lanes = Lanes::ONE;
    let tun = Tun::create("wg0", offloads, lanes).expect("there is /dev/net/tun");
    Tunnel::start(tun, offloads, lanes).expect("there is room for threads")
}

/// Runs a test where nothing else is.
fn in_own_network(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn dropping_a_tunnel_ends_its_threads_and_the_interface() {
    in_own_network(|| {
        let tunnel = start(ALL);
        change_link(libc::RTM_NEWLINK, "wg0", libc::IFF_UP);
        assert_ne!(tunnel.status().listen_port, 0, "the sockets are bound");
        drop(tunnel);
        // Each thread has a share of the device, which takes the interface with it.
        assert!(if_nametoindex("wg0").is_err());
    });
}

#[test]
fn the_status_is_what_was_applied() {
    in_own_network(|| {
        let tunnel = start(ALL);
        let ip = AllowedIp::new("10.1.2.3".parse().unwrap(), 8).unwrap();
        let peer = || PeerUpdate {
            public_key: PublicKey::from([7; 32]),
            remove: false,
            update_only: false,
            preshared_key: Some(Secret::from([5; 32])),
            endpoint: Some("[2001:db8::1]:9".parse().unwrap()),
            persistent_keepalive: Some(25),
            replace_allowed_ips: true,
            allowed_ips: vec![AllowedIpChange { ip, remove: false }],
        };
        let update = Update {
            private_key: Some(Secret::from([3; 32])),
            listen_port: Some(4000),
            fwmark: Some(9),
            replace_peers: true,
            peers: vec![peer()],
        };
        tunnel.apply(update).unwrap();
        let status = tunnel.status();
        assert_eq!(status.private_key, Some(Secret::from([3; 32])));
        assert_eq!((status.listen_port, status.fwmark), (4000, 9));
        let [shown] = &status.peers[..] else { panic!("one peer") };
        assert_eq!(shown.public_key, PublicKey::from([7; 32]));
        assert_eq!(shown.preshared_key, Some(Secret::from([5; 32])));
        assert_eq!(shown.endpoint, peer().endpoint);
        assert_eq!(shown.persistent_keepalive, 25);
        assert_eq!(shown.allowed_ips, [ip]);
        assert_eq!((shown.rx_bytes, shown.tx_bytes, shown.last_handshake), (0, 0, None));
        // Zeros clear keys; an update of a peer that is not there does nothing.
        let unknown =
            PeerUpdate { public_key: PublicKey::from([8; 32]), update_only: true, ..peer() };
        let cleared = PeerUpdate { preshared_key: Some(Secret::from([0; 32])), ..peer() };
        let update = Update {
            private_key: Some(Secret::from([0; 32])),
            peers: vec![unknown, cleared],
            ..Update::default()
        };
        tunnel.apply(update).unwrap();
        let status = tunnel.status();
        assert_eq!(status.private_key, None);
        assert_eq!(status.peers.len(), 1);
        assert_eq!(status.peers[0].preshared_key, None);
        assert!(!format!("{status:?}").contains("5, 5"), "secrets do not show");
    });
}

#[test]
fn the_descriptor_tells_when_the_interface_is_gone() {
    in_own_network(|| {
        let tun = Tun::create("wg0", ALL, Lanes::ONE).unwrap();
        let tunnel = Tunnel::start(tun, ALL, Lanes::ONE).unwrap();
        let mut fds = [PollFd::new(tunnel.gone(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
        change_link(libc::RTM_DELLINK, "wg0", 0);
        assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)), Ok(1));
    });
}

#[test]
fn a_port_instead_of_one_that_was_taken_starts_what_waited() {
    in_own_network(|| {
        change_link(libc::RTM_NEWLINK, "lo", libc::IFF_UP);
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let tunnel = start(ALL);
        let peer = PeerUpdate {
            public_key: PublicKey::from([7; 32]),
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: Some(far.local_addr().unwrap()),
            persistent_keepalive: Some(25),
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        };
        let update = Update {
            private_key: Some(Secret::from([3; 32])),
            listen_port: Some(4000),
            peers: vec![peer],
            ..Update::default()
        };
        tunnel.apply(update).unwrap();
        let _taken = UdpSocket::bind("0.0.0.0:4000").unwrap();
        change_link(libc::RTM_NEWLINK, "wg0", libc::IFF_UP);
        // Whoever answers has seen that the link is up.
        tunnel.status();
        tunnel.apply(Update { listen_port: Some(4001), ..Update::default() }).unwrap();
        let mut message = [0; 200];
        assert_eq!(far.recv(&mut message).unwrap(), 148, "a handshake initiation");
    });
}

#[test]
fn a_device_in_another_namespace_gets_its_mtu_there() {
    in_own_network(|| {
        let there = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let device = Tun::create("wg0", ALL, Lanes::ONE).unwrap();
        set_mtu("wg0", 1300);
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let namesake = Tun::create("wg0", ALL, Lanes::ONE).unwrap();
        set_mtu("wg0", 1280);
        let _taken_over = Tun::from_fd(device.as_fd().try_clone_to_owned().unwrap(), ALL).unwrap();
        assert_eq!(mtu("wg0"), 1280, "it only has the same name");
        drop(namesake);
        setns(there, CloneFlags::CLONE_NEWNET).unwrap();
        assert_eq!(mtu("wg0"), 1420);
    });
}

#[test]
fn the_sockets_follow_the_link_into_another_namespace() {
    for offloads in [ALL, Offloads { tun: false, gso: false, gro: false }] {
        in_own_network(move || {
            let open_namespace = || std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            let there = std::thread::spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                open_namespace()
            });
            let there = there.join().unwrap();
            let in_there = |flags| {
                let change = || {
                    setns(&there, CloneFlags::CLONE_NEWNET).unwrap();
                    change_link(libc::RTM_NEWLINK, "wg0", flags);
                };
                std::thread::scope(|scope| scope.spawn(change).join().unwrap());
            };
            let tunnel = start(offloads);
            tunnel.apply(Update { listen_port: Some(4000), ..Update::default() }).unwrap();
            let has_sockets = || {
                // Whoever answers has seen the link.
                tunnel.status();
                UdpSocket::bind("0.0.0.0:4000").is_err()
            };
            change_link(libc::RTM_NEWLINK, "wg0", libc::IFF_UP);
            assert!(has_sockets());
            let place = format!("/proc/{}/fd/{}", std::process::id(), there.as_raw_fd());
            let moved = Command::new("ip").args(["link", "set", "wg0", "netns", &place]).status();
            assert!(moved.expect("ip is installed").success());
            assert!(!has_sockets(), "the move has set it down");
            for flags in [libc::IFF_UP, 0, libc::IFF_UP] {
                in_there(flags);
                assert_eq!(has_sockets(), flags != 0);
            }
        });
    }
}

#[test]
fn another_file_in_the_drivers_place_is_named() {
    in_own_network(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("/dev/null"), "/dev/net/tun", none, MsFlags::MS_BIND, none).unwrap();
        let error = Tun::create("wg0", ALL, Lanes::ONE).unwrap_err().to_string();
        assert!(error.contains("/dev/net/tun is not the TUN driver"), "{error}");
    });
}

fn set_mtu(name: &str, mtu: i32) {
    nix::ioctl_write_ptr_bad!(write_mtu, libc::SIOCSIFMTU, libc::ifreq);
    let (socket, mut request) = interface_request(name);
    request.ifr_ifru.ifru_mtu = mtu;
    // SAFETY: the request is live, and the kernel only reads it.
    unsafe { write_mtu(socket.as_raw_fd(), &raw const request) }.expect("the MTU is set");
}

fn mtu(name: &str) -> i32 {
    nix::ioctl_read_bad!(read_mtu, libc::SIOCGIFMTU, libc::ifreq);
    let (socket, mut request) = interface_request(name);
    // SAFETY: the request is live, and the kernel writes an MTU into it.
    unsafe { read_mtu(socket.as_raw_fd(), &raw mut request) }.expect("the MTU is told");
    // SAFETY: that is the member which the kernel wrote.
    unsafe { request.ifr_ifru.ifru_mtu }
}

fn interface_request(name: &str) -> (UdpSocket, libc::ifreq) {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 };
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    (socket, libc::ifreq { ifr_name, ifr_ifru })
}

/// Removes an interface or sets it up (`IFF_UP`) or down (0), over netlink.
fn change_link(kind: u16, name: &str, flags: i32) {
    let flag = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flag, SockProtocol::NetlinkRoute)
        .expect("a netlink socket");
    let index = if_nametoindex(name).expect("the interface exists");
    let mut message = [0; 32];
    message[0..4].copy_from_slice(&32u32.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message[20..24].copy_from_slice(&index.to_ne_bytes());
    message[24..28].copy_from_slice(&flags.to_ne_bytes());
    message[28..32].copy_from_slice(&libc::IFF_UP.to_ne_bytes());
    send(netlink.as_raw_fd(), &message, MsgFlags::empty()).expect("the request is sent");
}
