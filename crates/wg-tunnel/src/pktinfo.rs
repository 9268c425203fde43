//! Socket addresses and packet-info control messages as `recvmmsg` and `sendmmsg` carry them
//! (ip(7), ipv6(7), cmsg(3)), read and written byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::libc;

use crate::endpoint::Source;

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Name([u8; Name::CAPACITY]);

/// Room for the control messages of one datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Control([u8; Control::CAPACITY]);

/// What control messages say of received datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Received {
    /// The local address that they came to.
    pub(crate) source: Option<Source>,
    /// Whether they were sent to a broadcast or multicast address.
    pub(crate) is_for_many: bool,
    /// Bytes of each datagram but the last, where several came as one (`UDP_GRO`).
    pub(crate) segment_size: Option<usize>,
    /// The traffic class of their IP headers.
    pub(crate) tos: u8,
}

const SOCKADDR_IN_LEN: usize = size_of::<libc::sockaddr_in>();
const SOCKADDR_IN6_LEN: usize = size_of::<libc::sockaddr_in6>();

impl Name {
    pub(crate) const CAPACITY: usize = SOCKADDR_IN6_LEN;
    pub(crate) const EMPTY: Self = Self([0; Self::CAPACITY]);

    /// Writes an address; returns its length in bytes.
    pub(crate) fn write(&mut self, address: &SocketAddr) -> usize {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        self.0 = [0; Self::CAPACITY];
        self.0[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        self.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                self.0[4..8].copy_from_slice(&v4.ip().octets());
                SOCKADDR_IN_LEN
            }
            SocketAddr::V6(v6) => {
                self.0[8..24].copy_from_slice(&v6.ip().octets());
                self.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                SOCKADDR_IN6_LEN
            }
        }
    }

    /// The address; `None` for another family.
    pub(crate) fn read(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(array(&self.0, 2));
        match libc::c_int::from(libc::sa_family_t::from_ne_bytes(array(&self.0, 0))) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(array(&self.0, 4));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(array::<16>(&self.0, 8));
                // The kernel sets the scope for link-local addresses only.
                let scope = u32::from_ne_bytes(array(&self.0, 24));
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
            }
            _ => None,
        }
    }
}

const ALIGN: usize = size_of::<usize>();
const LEVEL_AT: usize = size_of::<usize>();
const TYPE_AT: usize = LEVEL_AT + 4;
const DATA_AT: usize = (TYPE_AT + 4).next_multiple_of(ALIGN);
const PKTINFO_LEN: usize = size_of::<libc::in_pktinfo>();
const PKTINFO6_LEN: usize = size_of::<libc::in6_pktinfo>();
const CLASS_SPACE: usize = (DATA_AT + size_of::<libc::c_int>()).next_multiple_of(ALIGN);
const _: () = assert!(
    DATA_AT + PKTINFO6_LEN.next_multiple_of(ALIGN) + CLASS_SPACE + SEGMENT_SPACE
        <= Control::CAPACITY
);
const SEGMENT_SPACE: usize = (DATA_AT + size_of::<u16>()).next_multiple_of(ALIGN);

impl Control {
    pub(crate) const CAPACITY: usize = 96;
    pub(crate) const EMPTY: Self = Self([0; Self::CAPACITY]);

    /// Writes the packet info that asks for this source address; returns its length in bytes.
    ///
    /// The interface is asked for with a link-local address only, which means nothing without:
    /// as in the kernel's WireGuard, routing stays free to choose another way out.
    pub(crate) fn write(&mut self, source: &Source) -> usize {
        let (level, kind, length) = match source.address {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, PKTINFO_LEN),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, PKTINFO6_LEN),
        };
        self.0 = [0; Self::CAPACITY];
        self.0[..ALIGN].copy_from_slice(&(DATA_AT + length).to_ne_bytes());
        self.0[LEVEL_AT..LEVEL_AT + 4].copy_from_slice(&level.to_ne_bytes());
        self.0[TYPE_AT..TYPE_AT + 4].copy_from_slice(&kind.to_ne_bytes());
        match source.address {
            IpAddr::V4(v4) => self.0[DATA_AT + 4..DATA_AT + 8].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => {
                self.0[DATA_AT..DATA_AT + 16].copy_from_slice(&v6.octets());
                if v6.is_unicast_link_local() {
                    let interface = source.interface.to_ne_bytes();
                    self.0[DATA_AT + 16..DATA_AT + 20].copy_from_slice(&interface);
                }
            }
        }
        DATA_AT + length.next_multiple_of(ALIGN)
    }

    /// Adds, behind `length` bytes, the traffic class of what is sent (`IP_TOS`, `IPV6_TCLASS`);
    /// returns the new length.
    pub(crate) fn write_traffic_class(&mut self, length: usize, is_ipv4: bool, class: u8) -> usize {
        let (level, kind) = if is_ipv4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        let value = libc::c_int::from(class);
        let message = &mut self.0[length..][..CLASS_SPACE];
        message.fill(0);
        message[..ALIGN].copy_from_slice(&(DATA_AT + size_of_val(&value)).to_ne_bytes());
        message[LEVEL_AT..LEVEL_AT + 4].copy_from_slice(&level.to_ne_bytes());
        message[TYPE_AT..TYPE_AT + 4].copy_from_slice(&kind.to_ne_bytes());
        message[DATA_AT..DATA_AT + 4].copy_from_slice(&value.to_ne_bytes());
        length + CLASS_SPACE
    }

    /// Adds, behind `length` bytes, that what is sent is to be cut into datagrams of `size` bytes
    /// (`UDP_SEGMENT`); returns the new length.
    pub(crate) fn write_segment_size(&mut self, length: usize, size: u16) -> usize {
        let message = &mut self.0[length..][..SEGMENT_SPACE];
        message.fill(0);
        message[..ALIGN].copy_from_slice(&(DATA_AT + size_of::<u16>()).to_ne_bytes());
        message[LEVEL_AT..LEVEL_AT + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        message[TYPE_AT..TYPE_AT + 4].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        message[DATA_AT..DATA_AT + 2].copy_from_slice(&size.to_ne_bytes());
        length + SEGMENT_SPACE
    }

    /// What the first `length` bytes say of what was received.
    pub(crate) fn read(&self, length: usize) -> Received {
        let mut received = Received::default();
        // What the kernel writes is whole.
        let _ = self.read_into(length, &mut received);
        received
    }

    fn read_into(&self, length: usize, received: &mut Received) -> Option<()> {
        let mut rest = &self.0[..length.min(Self::CAPACITY)];
        while rest.len() >= DATA_AT {
            let message_len = usize::from_ne_bytes(array(rest, 0));
            let level = libc::c_int::from_ne_bytes(array(rest, LEVEL_AT));
            let kind = libc::c_int::from_ne_bytes(array(rest, TYPE_AT));
            let data = rest.get(DATA_AT..message_len)?;
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= PKTINFO_LEN => {
                    // Our address, if the kernel says it, and the one in the header (ip(7)).
                    let (ours, destination) = (&data[4..8], &data[8..12]);
                    received.is_for_many = ours != [0; 4] && ours != destination;
                    received.source = Some(Source {
                        address: IpAddr::V4(Ipv4Addr::from(array(data, 4))),
                        interface: u32::from_ne_bytes(array(data, 0)),
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= PKTINFO6_LEN => {
                    received.is_for_many = data[0] == 0xff;
                    received.source = Some(Source {
                        address: IpAddr::V6(Ipv6Addr::from(array::<16>(data, 0))),
                        interface: u32::from_ne_bytes(array(data, 16)),
                    });
                }
                // One byte, although it is sent as four.
                (libc::IPPROTO_IP, libc::IP_TOS) if !data.is_empty() => received.tos = data[0],
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if data.len() >= 4 => {
                    received.tos = libc::c_int::from_ne_bytes(array(data, 0)) as u8;
                }
                (libc::SOL_UDP, libc::UDP_GRO) if data.len() >= 4 => {
                    let size = libc::c_int::from_ne_bytes(array(data, 0));
                    received.segment_size = usize::try_from(size).ok().filter(|size| *size > 0);
                }
                _ => {}
            }
            rest = rest.get(message_len.next_multiple_of(ALIGN)..)?;
        }
        Some(())
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::EMPTY;
            name.write(&address);
            assert_eq!(name.read(), Some(address));
        }
        assert_eq!(Name::EMPTY.read(), None);
    }

    #[test]
    fn sources_come_back_with_the_interface_of_a_link_local_address_only() {
        let mut control = Control::EMPTY;
        for (text, interface) in [("2001:db8::1", 0), ("fe80::1", 7)] {
            let address = text.parse().unwrap();
            let length = control.write(&Source { address, interface: 7 });
            assert_eq!(control.read(length).source, Some(Source { address, interface }));
        }
        // What is received in ipi_ifindex is not sent.
        let address = "192.0.2.1".parse().unwrap();
        let length = control.write(&Source { address, interface: 7 });
        assert_eq!(control.read(length).source, Some(Source { address, interface: 0 }));
    }

    #[test]
    fn an_ipv6_multicast_address_is_for_many() {
        let mut control = Control::EMPTY;
        for (text, is_for_many) in [("2001:db8::1", false), ("ff02::1", true)] {
            let address = text.parse().unwrap();
            let length = control.write(&Source { address, interface: 7 });
            assert_eq!(control.read(length).is_for_many, is_for_many, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_control_bytes_are_read_without_a_panic(bytes in any::<[u8; 32]>(), length in 0..200usize) {
            let mut control = Control::EMPTY;
            control.0[..32].copy_from_slice(&bytes);
            let _ = control.read(length);
        }
    }
}
