//! What forwarding takes from the heap once it is at work: nothing.

mod two_hosts;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::libc;
use testbed::Host;
use two_hosts::INNER;
use wg_tunnel::Offloads;

/// Rounds of traffic, until in one of them nothing is allocated: buffers may grow until they
/// have seen the largest batch.
const ROUNDS: usize = 20;
/// In each round, each way.
const STREAM: usize = 16 << 20;
const DATAGRAMS: usize = 4000;
/// How long a stream may stand still.
const PATIENCE: Duration = Duration::from_secs(30);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by the threads that forward packets.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: our caller promises what the system's allocator asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Counts an allocation if this thread is one that forwards packets, which its name tells.
fn count() {
    let mut name = [0u8; 16];
    // SAFETY: the kernel writes at most 16 bytes, which there are.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    if name.starts_with(b"tun-to-udp") || name.starts_with(b"udp-to-tun") {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn forwarding_allocates_nothing() {
    let all = Offloads { tun: true, gso: true, gro: true };
    let none = Offloads { tun: false, gso: false, gro: false };
    for (offloads, lanes) in [(all, "1"), (none, "1"), (all, "2x2")] {
        let (hosts, tunnels) = two_hosts::start(offloads, lanes);
        // Where its sockets belong: whoever asks for the status may be the one that binds them.
        let received = || hosts[1].in_network(|| tunnels[1].status().peers[0].rx_bytes);
        let counts: Vec<usize> = (0..ROUNDS)
            .map(|_| {
                let before = received();
                ALLOCATIONS.store(0, Ordering::Relaxed);
                exchange(&hosts);
                let allocations = ALLOCATIONS.load(Ordering::Relaxed);
                assert!(received() - before > STREAM as u64, "the traffic went through the tunnel");
                allocations
            })
            .take_while(|allocations| *allocations > 0)
            .collect();
        assert!(
            counts.len() < ROUNDS,
            "{offloads:?}, {lanes} lanes: allocations in each round: {counts:?}"
        );
    }
}

/// Datagrams of two sizes, which may be lost, then a stream each way, which may not.
fn exchange(hosts: &[Host; 2]) {
    let address = SocketAddr::new(INNER[1].parse().expect("a valid address"), 5000);
    let listener = hosts[1].in_network(|| TcpListener::bind(address)).expect("a listener");
    let stream = hosts[0].in_network(|| {
        let datagrams = UdpSocket::bind((INNER[0], 0)).expect("a socket");
        for i in 0..DATAGRAMS {
            let length = if i % 100 < 50 { 64 } else { 1372 };
            // Nobody listens: some are answered with an ICMP error, and the next call fails.
            let _ = datagrams.send_to(&[0; 1372][..length], (INNER[1], 5001));
        }
        TcpStream::connect_timeout(&address, PATIENCE).expect("a way through the tunnel")
    });
    let far = listener.accept().expect("a connection").0;
    for end in [&stream, &far] {
        end.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        end.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&far));
        scope.spawn(|| (&stream).write_all(&vec![0; STREAM]).expect("the stream goes on"));
        (&stream).read_exact(&mut vec![0; STREAM]).expect("the stream goes on");
    });
}

fn echo(mut stream: &TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    let mut left = STREAM;
    while left > 0 {
        let length = stream.read(&mut buffer).expect("the stream goes on");
        assert_ne!(length, 0, "the stream ended early");
        stream.write_all(&buffer[..length]).expect("the stream goes on");
        left -= length;
    }
}
