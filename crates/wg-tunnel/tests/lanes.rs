//! Tunnels with several lanes, or with several workers in one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod two_hosts;

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;
use testbed::eventually;
use two_hosts::INNER;
use wg_tunnel::{Lanes, Offloads, Tun, Tunnel};

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: Offloads = Offloads { tun: true, gso: true, gro: true };

/// Datagrams of a flow, of many lengths, as fast as they can be sent. Some may be lost, none may
/// overtake another, though several workers have carried them at both ends.
#[test]
fn workers_of_a_lane_keep_the_order_of_packets() {
    const ROUND: u64 = 20_000;
    // One is enough where nothing else runs.
    const ROUNDS: u64 = 200;
    // The threads to come stay here too: between processors the cable itself, whose packets wait
    // in a queue for each, may change their order.
    let (us, mut one) = (Pid::from_raw(0), CpuSet::new());
    let ours = sched_getaffinity(us).unwrap();
    one.set((0..CpuSet::count()).find(|i| ours.is_set(*i).unwrap()).unwrap()).unwrap();
    sched_setaffinity(us, &one).unwrap();
    let (hosts, _tunnels) = two_hosts::start(ALL, "1x4");
    let receiver = hosts[1].in_network(|| UdpSocket::bind((INNER[1], 5000))).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let sender = hosts[0].in_network(|| UdpSocket::bind((INNER[0], 0))).unwrap();
    sender.connect((INNER[1], 5000)).unwrap();
    let workers = || {
        let outward = hosts[0].in_network(|| busy("tun-to-udp"));
        [outward, hosts[1].in_network(|| busy("udp-to-tun"))]
    };
    let (mut received, mut last) = (0, 0);
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut bytes = [0; 1372];
                for number in 1..=ROUND {
                    let number = round * ROUND + number;
                    bytes[..8].copy_from_slice(&number.to_be_bytes());
                    let length = 8 + number as usize * 131 % 1364;
                    sender.send(&bytes[..length]).unwrap();
                }
            });
            let mut buffer = [0; 1500];
            loop {
                match receiver.recv(&mut buffer) {
                    Ok(_) => {
                        let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
                        assert!(number > last, "{number} came after {last}");
                        (received, last) = (received + 1, number);
                    }
                    Err(_) if sending.is_finished() => break,
                    Err(_) => {}
                }
            }
        });
        if received > ROUND / 10 && workers().iter().all(|busy| *busy > 1) {
            break;
        }
    }
    assert!(received > ROUND / 10, "{received} came");
    assert!(workers().iter().all(|busy| *busy > 1), "one alone has carried all: {:?}", workers());
}

#[test]
fn a_new_device_has_a_queue_for_each_lane() {
    in_own_network(|| {
        for lanes in [1, 3] {
            let text = format!("{lanes}x2").parse().unwrap();
            let tunnel = Tunnel::start(Tun::create("wg0", ALL, text).unwrap(), ALL, text).unwrap();
            let shown = ip("-d link show wg0");
            // Of one that may have several.
            assert_eq!(shown.contains("multi_queue"), lanes > 1, "{shown}");
            assert_eq!(shown.contains("numqueues 3 "), lanes > 1, "{shown}");
            ip("link set wg0 up");
            // Whoever answers has seen that the link is up.
            tunnel.status();
            // Two families, two workers.
            await_threads("tun-to-udp", 2 * lanes);
            await_threads("udp-to-tun", 4 * lanes);
            await_threads("udp-handshakes", 2);
            drop(tunnel);
            await_none();
        }
    });
}

#[test]
fn a_device_that_others_made_has_one_queue() {
    in_own_network(|| {
        let lanes: Lanes = "2x2".parse().unwrap();
        ip("tuntap add dev wg0 mode tun");
        let tun = Tun::create("wg0", ALL, lanes).unwrap();
        let tunnel = Tunnel::start(tun, ALL, lanes).unwrap();
        await_threads("tun-to-udp", lanes.workers());
        drop(tunnel);
        assert!(exists(), "it is persistent");
    });
}

/// A queue more would take a part of its packets.
#[test]
fn a_device_of_another_daemon_is_left_alone() {
    in_own_network(|| {
        for [first, second] in [["2", "2"], ["2", "1"], ["1", "2"]] {
            let theirs = Tun::create("wg0", ALL, first.parse().unwrap()).unwrap();
            let refused = Tun::create("wg0", ALL, second.parse().unwrap()).unwrap_err();
            assert_eq!(refused.to_string(), "the interface `wg0' exists already");
            drop(theirs);
            await_none();
        }
    });
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

/// What `ip` prints.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn exists() -> bool {
    nix::net::if_::if_nametoindex("wg0").is_ok()
}

/// Every queue is closed, also those that a child of another test's had until it became its program.
fn await_none() {
    eventually("the end of wg0", PATIENCE, || (!exists()).then_some(())).unwrap();
}

/// Threads get their names a little after they were started.
fn await_threads(name: &str, count: usize) {
    let is_there = || (threads(name).len() == count).then_some(());
    eventually(&format!("{count} threads {name}"), PATIENCE, is_there).unwrap();
}

/// The threads in this thread's network that have such a name, each with its status.
fn threads(name: &str) -> Vec<String> {
    let here = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let all = fs::read_dir("/proc/self/task").unwrap().flatten().map(|thread| thread.path());
    all.filter(|thread| fs::read_link(thread.join("ns/net")).is_ok_and(|there| there == here))
        .filter_map(|thread| fs::read_to_string(thread.join("status")).ok())
        .filter(|status| field(status, "Name:").starts_with(name))
        .collect()
}

/// How many of these threads have worked, and not only found out that others do.
fn busy(name: &str) -> usize {
    let switches = |status: &String| field(status, "voluntary_ctxt_switches:").parse().unwrap_or(0);
    threads(name).iter().map(switches).filter(|switches: &u64| *switches > 20).count()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}
