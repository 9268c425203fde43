//! Thousands of small worlds: two to fifty hosts on a bad network, for minutes to days, with
//! restarts, sleep, load, datagrams that go astray, and forgers who know all public keys. [`world`]
//! checks at every step that a packet is delivered at most once, unchanged, in the name of the peer
//! that sent it, never under a key that is too old or of a handshake that is not done, that no
//! counter is used twice, that no initiation is answered twice and no forged message taken, and that
//! initiations keep their distance. In the end the network is good again, and everybody must reach
//! everybody; then all are left alone, and nothing may remain.
//!
//! A failure tells its seed: `CULVERT_SEED=… cargo test -p wg-noise --test swarm` runs that world
//! again. `CULVERT_WORLDS` says how many are run, 10,000 unless it is set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use world::{Weather, World, links};

const WORLDS: u64 = 10_000;

#[test]
fn no_world_breaks_the_rules() {
    if let Some(seed) = number("CULVERT_SEED") {
        live(seed);
        return;
    }
    let worlds = number("CULVERT_WORLDS").unwrap_or(WORLDS);
    let (next, days) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= worlds {
                        break;
                    }
                    let announced = Announced(seed);
                    let time = live(seed);
                    std::mem::forget(announced);
                    days.fetch_add(time.as_secs(), Ordering::Relaxed);
                }
            });
        }
    });
    let days = days.into_inner() / 86_400;
    // Not with println, which the test harness keeps to itself.
    let _ = writeln!(std::io::stdout(), "{worlds} worlds, {days} days of simulated time");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

/// Tells the seed when the world panics.
struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        let seed = self.0;
        let _ = writeln!(
            std::io::stderr(),
            "to see it again: CULVERT_SEED={seed} cargo test -p wg-noise --test swarm"
        );
    }
}

/// Makes the world of a seed and lets it live to its end; returns its time.
fn live(seed: u64) -> Duration {
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    // Most are small: what is special about many is seen in a few.
    let host_count = match rng.next_u64() % 400 {
        0 => 10 + (rng.next_u64() % 41) as usize,
        1..20 => 3 + (rng.next_u64() % 5) as usize,
        _ => 2,
    };
    let links = links(&mut rng, host_count);
    let mut world = World::new(seed, host_count, &links);
    let start = world.now;
    for _ in 0..1 + rng.next_u64() % 2 {
        change_something(&mut world);
        use_links(&mut world, &links);
        // From a moment to days of silence.
        let silence = Duration::from_millis(1 << world.below(28));
        world.run(silence);
    }
    recover(&mut world, &links);
    rest(&mut world);
    world.now.since(start)
}

/// The weather, and what may happen to a host.
fn change_something(world: &mut World) {
    // Some datagrams outlive the keys that they were sealed with.
    let longest = [13, 13, 13, 18][world.below(4) as usize];
    world.weather = Weather {
        loss: [0, 5, 10, 20, 40, 60, 80, 100][world.below(8) as usize],
        duplication: [0, 0, 20, 100][world.below(4) as usize],
        corruption: [0, 0, 10][world.below(3) as usize],
        misrouting: [0, 0, 10][world.below(3) as usize],
        outage: [0, 0, 10][world.below(3) as usize],
        delay: Duration::from_millis(1 << world.below(longest)),
    };
    let host = world.below(world.hosts.len() as u64) as usize;
    let neighbours = world.neighbours(host);
    let neighbour = neighbours[world.below(neighbours.len() as u64) as usize];
    match world.below(6) {
        0 => world.restart(host),
        1 => world.reset(host, neighbour),
        2 => {
            let time = Duration::from_millis(1 << world.below(20));
            world.sleep(host, time);
        }
        3 => world.set_under_load(host, true),
        _ => world.set_under_load(host, false),
    }
}

/// Bursts and streams of packets over some of the links.
fn use_links(world: &mut World, links: &[(usize, usize)]) {
    for &(a, b) in links {
        for (from, to) in [(a, b), (b, a)] {
            if world.below(3) == 0 {
                continue;
            }
            // Both at once, or one after the other.
            let start = Duration::from_millis(world.below(2) * (1 << world.below(14)));
            let interval = Duration::from_millis(1 << world.below(14));
            for i in 0..1 << world.below(5) {
                world.send_in(start + interval * i, from, to);
            }
        }
    }
    if world.below(10) == 0 {
        // It would go on for days.
        let (a, b) = links[world.below(links.len() as u64) as usize];
        world.set_persistent_keepalive(a, b, 25);
        world.run(Duration::from_secs(400));
        world.set_persistent_keepalive(a, b, 0);
    }
}

/// On a good network one packet is enough: half a minute later a handshake that was just tried
/// in vain was tried again, and a session that only one side still had was noticed.
fn recover(world: &mut World, links: &[(usize, usize)]) {
    world.weather = Weather::FINE;
    (0..world.hosts.len()).for_each(|host| world.set_under_load(host, false));
    // The longest sleep, and what was on its way.
    world.run(Duration::from_secs(1100));
    for &(a, b) in links {
        world.send(a, b);
    }
    world.run(Duration::from_secs(30));
    let last: Vec<_> =
        links.iter().flat_map(|&(a, b)| [world.send(a, b), world.send(b, a)]).collect();
    world.run(Duration::from_secs(1));
    for number in last {
        assert!(world.was_delivered(number), "packet {number} was lost on a good network");
    }
}

/// Left alone, everybody forgets all keys and has nothing more to do.
fn rest(world: &mut World) {
    world.run(Duration::from_secs(700));
    for host in 0..world.hosts.len() {
        assert_eq!(world.sessions(host), 0, "host {host} holds keys");
    }
    assert!(world.is_at_rest());
}
