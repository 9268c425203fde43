//! The server and its clients, and what changes at the server.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result};
use testbed::{Host, connect};

/// Hosts with a tunnel to the server. The second half of them change their keys.
pub(super) const CLIENTS: usize = 6;
/// Peers that come and go without a host behind them.
pub(super) const IDLE_PEERS: usize = 500;
/// The server's address in the tunnel.
const SERVER: &str = "10.66.0.1";
const PORT: u16 = 51820;

/// All hosts.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) clients: Vec<Host>,
}

/// The host whose daemon is watched.
pub(super) struct Server {
    host: Host,
    private_key: String,
    /// The clients'.
    public_keys: Vec<String>,
}

/// What a daemon has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resources {
    /// Bytes of memory.
    pub(super) resident: u64,
    pub(super) threads: u64,
    pub(super) files: u64,
}

impl Site {
    /// Makes the hosts and sets the tunnels up. The clients keep them up: who is added anew to the
    /// server has no endpoint there, and one that only waits for an answer would wait for ever.
    pub(super) fn new(programs: &Path) -> Result<Self> {
        let host = Host::with_programs("server", programs)?;
        host.run("wg-userspace wg0")?.success()?;
        host.add_address("wg0", &format!("{SERVER}/16"))?;
        host.set_up("wg0")?;
        let private_key = generate_key(&host)?;
        let own_key = public_key(&host, &private_key)?;
        let mut server = Server { host, private_key, public_keys: Vec::new() };
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let client = Host::with_programs(&format!("client{number}"), programs)?;
            let cable = format!("eth{number}");
            connect(&server.host, &cable, &client, "eth0")?;
            server.host.add_address(&cable, &format!("192.0.{number}.1/24"))?;
            client.add_address("eth0", &format!("192.0.{number}.2/24"))?;
            client.run("wg-userspace wg0")?.success()?;
            let private_key = generate_key(&client)?;
            server.public_keys.push(public_key(&client, &private_key)?);
            let config = format!(
                "[Interface]\nPrivateKey = {private_key}\n[Peer]\nPublicKey = {own_key}\n\
                 AllowedIPs = {SERVER}/32\nEndpoint = 192.0.{number}.1:{PORT}\n\
                 PersistentKeepalive = 5\n"
            );
            client.run_with_input("wg setconf wg0 /dev/stdin", config)?.success()?;
            client.add_address("wg0", &format!("{}/16", address(number)))?;
            client.set_up("wg0")?;
            clients.push(client);
        }
        server.remove_idle_peers()?;
        Ok(Self { server, clients })
    }
}

impl Server {
    /// Listens for connections through the tunnels.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        let bind = || TcpListener::bind((SERVER, 0));
        self.host.in_network(bind).context("the server cannot listen")
    }

    /// Adds peers that no round has had before. Every tenth of them is called again and again,
    /// in vain.
    pub(super) fn add_idle_peers(&self, round: u32) -> Result<()> {
        let mut config = String::new();
        for number in 0..IDLE_PEERS {
            let (high, low) = (number / 250, number % 250 + 1);
            let text = format!("idle/{round}/{number}/");
            write!(
                config,
                "[Peer]\nPublicKey = {text:A<43}=\nAllowedIPs = 10.67.{high}.{low}/32\n"
            )?;
            if number % 10 == 0 {
                config.push_str("Endpoint = 192.0.0.2:9\nPersistentKeepalive = 1\n");
            }
        }
        self.host.run_with_input("wg addconf wg0 /dev/stdin", config)?.success().map(drop)
    }

    /// Leaves the clients alone as peers, undisturbed.
    pub(super) fn remove_idle_peers(&self) -> Result<()> {
        let mut config =
            format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", self.private_key);
        for (number, key) in self.public_keys.iter().enumerate() {
            let address = address(number);
            write!(config, "[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\n")?;
        }
        self.host.run_with_input("wg syncconf wg0 /dev/stdin", config)?.success().map(drop)
    }

    /// Removes a client, whose traffic goes on, and adds it with another key.
    pub(super) fn replace_key(&mut self, clients: &[Host], round: u32) -> Result<()> {
        let changing = CLIENTS / 2..CLIENTS;
        let number = changing.start + round as usize % changing.len();
        let client = &clients[number];
        let private_key = generate_key(client)?;
        let new = public_key(client, &private_key)?;
        let old = std::mem::replace(&mut self.public_keys[number], new);
        self.host.run(&format!("wg set wg0 peer {old} remove"))?.success()?;
        client.run_with_input("wg set wg0 private-key /dev/stdin", private_key)?.success()?;
        let (new, address) = (&self.public_keys[number], address(number));
        let add = format!("wg set wg0 peer {new} allowed-ips {address}/32");
        self.host.run(&add)?.success().map(drop)
    }

    /// Changes the mark of the daemon's packets.
    pub(super) fn mark_packets(&self, round: u32) -> Result<()> {
        self.host.run(&format!("wg set wg0 fwmark {}", round % 2))?.success().map(drop)
    }

    /// What the daemon has now.
    pub(super) fn resources(&self) -> Result<Resources> {
        let processes = self.host.processes()?;
        let daemon = processes.iter().find(|process| process.command.contains("wg-userspace"));
        let folder = format!("/proc/{}", daemon.context("the server's daemon has ended")?.pid);
        let status = self.host.read_file(&format!("{folder}/status"))?;
        let figure = |name| -> Result<u64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let number = value.and_then(|value| value.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).context("a status without a figure")
        };
        Ok(Resources {
            resident: figure("VmRSS:")? << 10,
            threads: figure("Threads:")?,
            files: fs::read_dir(self.host.path(&format!("{folder}/fd")))?.count() as u64,
        })
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, threads, files } = self;
        write!(f, "{} KiB resident, {threads} threads, {files} files", resident >> 10)
    }
}

/// A client's address in the tunnel.
fn address(number: usize) -> String {
    format!("10.66.1.{}", number + 1)
}

fn generate_key(host: &Host) -> Result<String> {
    Ok(host.run("wg genkey")?.success()?.stdout.trim().to_owned())
}

fn public_key(host: &Host, private_key: &str) -> Result<String> {
    let output = host.run_with_input("wg pubkey", private_key)?.success()?;
    Ok(output.stdout.trim().to_owned())
}
