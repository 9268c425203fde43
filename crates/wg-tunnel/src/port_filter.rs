//! The filter in the kernel that says which of the sockets of a port a datagram is for.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::AddressFamily;

/// The sockets of a port, numbered in the order in which they were bound: those of the lanes come
/// first, those for handshake messages behind them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortFilter {
    pub(crate) family: AddressFamily,
    pub(crate) lanes: usize,
    /// log₂ of how many sockets there are for handshake messages, at least 1.
    pub(crate) handshake_bits: u32,
}

impl PortFilter {
    /// Transport messages, whose first byte is 4, are for the lane that the lowest byte of their
    /// receiver index says; all others for a socket that their source address says, an IPv4
    /// address or an IPv6 /64. Which one that is differs from call to call, and nobody can tell.
    ///
    /// # Errors
    /// The kernel's refusal; the filter that was there before stays.
    pub(crate) fn attach(self, socket: &OwnedFd) -> Result<(), Errno> {
        let mut program = self.program();
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the value is a live sock_fprog of the length given; it points to as many
        // instructions as it says, which the kernel copies.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                (&raw const program).cast(),
                size_of_val(&program) as u32,
            )
        };
        Errno::result(result).map(drop)
    }

    fn program(self) -> Vec<libc::sock_filter> {
        let lanes = self.lanes as u32;
        let mut program = vec![
            instruction(LOAD | libc::BPF_B, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, 4),
            // A datagram that ends before it is for the first socket, and soon dropped there.
            instruction(LOAD | libc::BPF_B, 0, 0, 4),
            instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, lanes),
            instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        ];
        // Hashing by multiplication with random odd numbers; the highest bits are the best. Twice,
        // so that neighbouring addresses are spread, too.
        // Where the words of the source begin in the IP header:
        let words: &[u32] = if self.family == AddressFamily::Inet { &[12] } else { &[8, 12] };
        program.push(instruction(libc::BPF_LDX | libc::BPF_IMM, 0, 0, 0));
        for at in words {
            program.extend([
                instruction(LOAD | libc::BPF_W, 0, 0, libc::SKF_NET_OFF as u32 + at),
                instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, 0, 0, random() | 1),
                instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0, 0, 0),
                instruction(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
            ]);
        }
        program.extend([
            instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 16),
            instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0, 0, 0),
            instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, 0, 0, random() | 1),
            instruction(
                libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K,
                0,
                0,
                32 - self.handshake_bits,
            ),
            instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 0, 0, lanes),
            instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        ]);
        program
    }
}

/// From a position in the datagram or, from `SKF_NET_OFF` on, in its IP header.
const LOAD: u32 = libc::BPF_LD | libc::BPF_ABS;

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Of the standard library's keys, which nobody outside knows.
fn random() -> u32 {
    RandomState::new().hash_one(()) as u32
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, UdpSocket};
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use testbed::{Host, eventually};

    use crate::lanes::Lanes;
    use crate::offloads::Offloads;
    use crate::received::ReceivedBatch;
    use crate::sockets::Sockets;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NETWORKS: u16 = 32;

    /// Nobody has less, so whoever floods from many addresses of one has no more than one socket.
    #[test]
    fn all_addresses_of_an_ipv6_64_share_a_socket_and_different_ones_do_not() {
        let address = |network, host| Ipv6Addr::new(0x2001, 0xdb8, 0, network, host, 0, 0, host);
        let host = Host::new("networks").unwrap();
        host.set_up("lo").unwrap();
        for network in 0..NETWORKS {
            for number in 1..=2 {
                host.add_address("lo", &format!("{}/128", address(network, number))).unwrap();
            }
        }
        let by_network: Vec<_> = host.in_network(|| {
            let sockets = Sockets::bind(0, 0, Offloads::default(), Lanes::ONE).unwrap();
            let mut batch = ReceivedBatch::new();
            let mut socket_of = |source: Ipv6Addr| {
                let sender = UdpSocket::bind((source, 0)).unwrap();
                sender.send_to(&[1; 148], (Ipv6Addr::LOCALHOST, sockets.port())).unwrap();
                let find = || {
                    let mut fds = sockets.inlets().map(AsFd::as_fd);
                    fds.find(|fd| batch.receive_waiting(*fd) == Ok(1)).map(|fd| fd.as_raw_fd())
                };
                eventually("the message", PATIENCE, find).unwrap()
            };
            (0..NETWORKS)
                .map(|network| [1, 2].map(|host| socket_of(address(network, host))))
                .collect()
        });
        assert!(by_network.iter().all(|[one, other]| one == other), "{by_network:?}");
        assert!(by_network.iter().any(|[one, _]| *one != by_network[0][0]), "{by_network:?}");
    }
}
