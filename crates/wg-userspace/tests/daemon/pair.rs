//! Two hosts joined by a cable, with a tunnel between them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use nix::libc;
use testbed::{Host, PingReport, connect};
use wg_config::{AllowedIp, PresharedKey, PrivateKey, PublicKey};
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::uapi;

/// The interface at both ends.
pub(crate) const WG: &str = "wg0";

/// Which addresses the tunnel's packets travel between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    V4,
    V6,
}

/// Two hosts, `a` and `b`; only `a` knows the other's endpoint, so that it initiates.
pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) outside: Outside,
}

impl Pair {
    /// A pair that runs our daemon at both ends.
    pub(crate) fn new(outside: Outside) -> Result<Self> {
        Self::with_daemons("wg-userspace", "wg-userspace", outside)
    }

    /// Starts the given daemons, configures them, and sets the interfaces up.
    pub(crate) fn with_daemons(a: &str, b: &str, outside: Outside) -> Result<Self> {
        Self::with_script("", a, b, outside)
    }

    /// As [`Pair::with_daemons`]; the first may use the shell script `/run/start` of its host.
    pub(crate) fn with_script(script: &str, a: &str, b: &str, outside: Outside) -> Result<Self> {
        let pair = Self { a: Host::new("a")?, b: Host::new("b")?, outside };
        pair.a.write_file("/run/start", script, 0o755)?;
        connect(&pair.a, "eth0", &pair.b, "eth0")?;
        for (host, daemon, number) in [(&pair.a, a, 1), (&pair.b, b, 2)] {
            host.add_address("eth0", &format!("192.0.2.{number}/24"))?;
            host.add_address("eth0", &format!("2001:db8::{number}/64"))?;
            host.run(&format!("{daemon} {WG}"))?.success()?;
        }
        let from_a = PeerUpdate { endpoint: Some(pair.endpoint(2)), ..peer_update(2) };
        uapi::set(&pair.a, WG, &device_update(1, from_a))?;
        uapi::set(&pair.b, WG, &device_update(2, peer_update(1)))?;
        for (host, number) in [(&pair.a, 1), (&pair.b, 2)] {
            host.add_address(WG, &format!("10.9.0.{number}/24"))?;
            host.add_address(WG, &format!("fd09::{number}/64"))?;
            host.set_up(WG)?;
            // Whoever answers has seen that the link is up.
            uapi::get(host, WG)?;
        }
        Ok(pair)
    }

    /// The outer address of host 1 or 2, at its listening port.
    pub(crate) fn endpoint(&self, number: u8) -> SocketAddr {
        let ip = match self.outside {
            Outside::V4 => format!("192.0.2.{number}"),
            Outside::V6 => format!("2001:db8::{number}"),
        };
        SocketAddr::new(ip.parse().expect("an address"), port(number))
    }

    /// Pings through the tunnel from `a`, IPv4 and IPv6, and wants every reply.
    pub(crate) fn ping(&self) -> Result<()> {
        for target in [inner_v4(2), inner_v6(2)] {
            whole(&self.a.ping(target)?)?;
        }
        Ok(())
    }
}

/// Wants every reply.
pub(crate) fn whole(report: &PingReport) -> Result<()> {
    ensure!(report.loss() == 0, "{report}");
    Ok(())
}

pub(crate) fn inner_v4(number: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, number])
}

pub(crate) fn inner_v6(number: u8) -> IpAddr {
    IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, u16::from(number)])
}

pub(crate) fn private_key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

pub(crate) fn public_key(number: u8) -> PublicKey {
    private_key(number).public_key()
}

pub(crate) fn allowed_ip(address: IpAddr) -> AllowedIp {
    AllowedIp::new(address, if address.is_ipv4() { 32 } else { 128 }).expect("the whole address")
}

/// Host 1 or 2 as the other one's peer, with a preshared key and its inner addresses.
pub(crate) fn peer_update(number: u8) -> PeerUpdate {
    PeerUpdate {
        preshared_key: Some(PresharedKey::from([99; 32])),
        replace_allowed_ips: true,
        allowed_ips: [inner_v4(number), inner_v6(number)]
            .map(|address| allowed_ip(address).into())
            .to_vec(),
        ..PeerUpdate::new(public_key(number))
    }
}

/// A change to one peer.
pub(crate) fn only(peer: PeerUpdate) -> DeviceUpdate {
    DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() }
}

fn device_update(number: u8, peer: PeerUpdate) -> DeviceUpdate {
    DeviceUpdate {
        private_key: Some(private_key(number)),
        listen_port: Some(port(number)),
        ..only(peer)
    }
}

fn port(number: u8) -> u16 {
    1111 * u16::from(number)
}

/// Sets an interface's flags in this thread's network.
pub(crate) fn set_flags(interface: &str, flags: i32) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    nix::ioctl_write_ptr_bad!(set_interface_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|_| nix::errno::Errno::EIO)?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as i16 };
    let request = libc::ifreq { ifr_name: name, ifr_ifru: flags };
    // SAFETY: the request is live, and the kernel only reads it.
    unsafe { set_interface_flags(socket.as_raw_fd(), &raw const request) }.map(drop)
}
