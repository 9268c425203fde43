//! Two hosts with a tunnel, an attacker, and a peer that comes late.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use testbed::{Amount, Host, Ping, connect, eventually, tcp_transfer};
use wg_noise::{LocalStatic, PublicKey};

use super::attacker::{self, Flood, Kind};

const PORT: u16 = 51820;
const CLOSED_PORT: u16 = 51821;
/// The flooded host's addresses on the cables to the others.
const OUTER: [&str; 3] = ["192.0.2.1", "198.51.100.1", "203.0.113.1"];
/// Theirs.
const OTHERS: [&str; 3] = ["192.0.2.2", "198.51.100.2", "203.0.113.2"];
/// Addresses in the tunnel: the flooded host's, the sender's, the late peer's.
const INNER: [&str; 3] = ["10.98.0.1", "10.98.0.2", "10.98.0.3"];
const PATIENCE: Duration = Duration::from_secs(20);
/// A stream under flood may pause for so long.
const STALL: Duration = Duration::from_secs(20);
/// The flood is at its full speed.
const LEAD: Duration = Duration::from_millis(500);

/// Which port is flooded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    OpenPort,
    ClosedPort,
}

/// What one flood did.
pub(super) struct Measured {
    /// The stream's, bits a second.
    pub(super) speed: f64,
    /// Packets a second sent by the attacker.
    pub(super) flood: f64,
    /// From the late peer's first packet to the answer.
    pub(super) connect: Duration,
    /// Resident memory of the flooded daemon, MB.
    pub(super) memory_before: f64,
    pub(super) memory_after: f64,
}

impl Measured {
    /// Of the memory, MB.
    pub(super) fn growth(&self) -> f64 {
        self.memory_after - self.memory_before
    }
}

/// The hosts, with a tunnel between the first two.
pub(super) struct Scene {
    flooded: Host,
    sender: Host,
    attacker: Host,
    late: Host,
    key: PublicKey,
    /// Of a peer that only sends what is replayed.
    replayed: [u8; 32],
}

struct Keys {
    private: [u8; 32],
    public: PublicKey,
}

impl Keys {
    fn generate() -> Self {
        let mut private = [0; 32];
        UnwrapErr(SysRng).fill_bytes(&mut private);
        Self { private, public: *LocalStatic::new(&private).public_key() }
    }
}

impl Scene {
    pub(super) fn new(programs: &Path) -> Result<Self> {
        let host = |name| Host::with_programs(name, programs);
        let flooded = host("flooded")?;
        let others = [host("sender")?, host("attacker")?, host("late")?];
        for (i, other) in others.iter().enumerate() {
            let cable = format!("eth{i}");
            connect(&flooded, &cable, other, "eth0")?;
            flooded.add_address(&cable, &format!("{}/24", OUTER[i]))?;
            other.add_address("eth0", &format!("{}/24", OTHERS[i]))?;
        }
        let [sender, attacker, late] = others;
        let keys = [Keys::generate(), Keys::generate(), Keys::generate()];
        let replayed = Keys::generate();
        let peer = |keys: &Keys, rest: &str| {
            format!("[Peer]\nPublicKey = {}\n{rest}", STANDARD.encode(keys.public.as_bytes()))
        };
        let peers = [
            peer(&keys[1], &format!("AllowedIPs = {}/32\n", INNER[1])),
            peer(&keys[2], &format!("AllowedIPs = {}/32\n", INNER[2])),
            peer(&replayed, ""),
        ];
        start(&flooded, &keys[0], &peers.concat(), INNER[0])?;
        for (host, i, outer) in [(&sender, 1, OUTER[0]), (&late, 2, OUTER[2])] {
            let server = format!("AllowedIPs = {}/32\nEndpoint = {outer}:{PORT}\n", INNER[0]);
            start(host, &keys[i], &peer(&keys[0], &server), INNER[i])?;
        }
        // Until there is a session, and buffers were touched.
        let amount = Amount::Time(Duration::from_secs(1));
        tcp_transfer(&sender, &flooded, address(INNER[0])?, amount, STALL)?;
        let replayed = replayed.private;
        Ok(Self { flooded, sender, attacker, late, key: keys[0].public, replayed })
    }

    /// Floods, and measures meanwhile.
    pub(super) fn measure(&self, kind: Kind, target: Target, time: Duration) -> Result<Measured> {
        let memory_before = self.memory()?;
        let datagrams = attacker::datagrams(kind, &self.key, &self.replayed);
        let port = if target == Target::OpenPort { PORT } else { CLOSED_PORT };
        let target_address = SocketAddr::new(address(OUTER[1])?, port);
        let flood = Flood::start(&self.attacker, target_address, datagrams)?;
        std::thread::sleep(LEAD);
        let inner = address(INNER[0])?;
        let amount = Amount::Time(time);
        let transfer = tcp_transfer(&self.sender, &self.flooded, inner, amount, STALL)?;
        let rate = flood.rate();
        // The late peer comes while the flood and another stream run.
        let connect = if target == Target::OpenPort {
            std::thread::scope(|scope| {
                let stream = scope.spawn(|| {
                    let amount = Amount::Time(Duration::from_secs(2));
                    tcp_transfer(&self.sender, &self.flooded, inner, amount, STALL)
                });
                let start = Instant::now();
                let ping = Ping { count: 1, patience: Duration::from_secs(60), ..Ping::default() };
                let report = self.late.ping_with(inner, ping)?;
                ensure!(report.received() == 1, "the late peer never connected");
                let connect = start.elapsed();
                stream.join().map_err(|_| anyhow::anyhow!("the stream panicked"))??;
                anyhow::Ok(connect)
            })?
        } else {
            Duration::ZERO
        };
        let memory_after = self.memory()?;
        Ok(Measured {
            speed: transfer.bits_per_second(),
            flood: rate,
            connect,
            memory_before,
            memory_after,
        })
    }

    /// Resident memory of the flooded daemon, MB.
    fn memory(&self) -> Result<f64> {
        let processes = self.flooded.processes()?;
        let daemon = processes.iter().find(|process| process.command.ends_with(" wg0"));
        let pid = daemon.context("the flooded daemon is gone")?.pid;
        let status = self.flooded.read_file(&format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("no VmRSS")? * 1024.0 / 1e6)
    }
}

fn start(host: &Host, keys: &Keys, peers: &str, inner: &str) -> Result<()> {
    host.run("wg-userspace wg0")?.success()?;
    let socket = host.path("/run/wireguard/wg0.sock");
    eventually("the daemon", PATIENCE, || socket.exists().then_some(()))?;
    let private = STANDARD.encode(keys.private);
    let config = format!("[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n{peers}");
    host.run_with_input("wg setconf wg0 /dev/stdin", config)?.success()?;
    host.add_address("wg0", &format!("{inner}/24"))?;
    host.set_mtu("wg0", 1420)?;
    host.set_up("wg0")
}

fn address(text: &str) -> Result<IpAddr> {
    Ok(text.parse()?)
}
