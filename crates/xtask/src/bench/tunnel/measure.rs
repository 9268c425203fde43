//! Two hosts, one cable, the same daemon at both ends: iperf3 and ping through the tunnel.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{Host, Ping, connect, eventually, originals};

use super::figures::Figures;
use super::peers::Implementation;

const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER: [&str; 2] = ["10.98.0.1", "10.98.0.2"];
const PORT: u16 = 51820;
const MTU: u32 = 1420;
const IPERF_PORT: u16 = 5201;
/// Ticks of the processor times in `/proc` each second, on every Linux there is.
const TICKS: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(20);

/// Two hosts with a tunnel.
struct Tunnel {
    hosts: [Host; 2],
}

/// What iperf3 and the daemons' processor times say.
struct Flow {
    bytes: f64,
    seconds: f64,
    packets: f64,
    lost: f64,
    cpu: f64,
}

/// Measures everything once.
pub(super) fn all(implementation: &Implementation, ours: &Path, seconds: u64) -> Result<Figures> {
    let tunnel = Tunnel::start(implementation, ours)?;
    let gbits = |flow: &Flow| flow.bytes * 8.0 / flow.seconds / 1e9;
    let tcp = tunnel.flow(&["-t", &seconds.to_string()])?;
    let tcp_4 = tunnel.flow(&["-t", &seconds.to_string(), "-P", "4"])?;
    let tcp_reverse = tunnel.flow(&["-t", &seconds.to_string(), "-R"])?;
    let udp = |length: &str| {
        let flow = tunnel.flow(&["-t", &seconds.to_string(), "-u", "-b", "0", "-l", length])?;
        let received = flow.packets - flow.lost;
        anyhow::Ok((received / flow.seconds / 1e3, 100.0 * flow.lost / flow.packets.max(1.0)))
    };
    let (udp_small, udp_small_loss) = udp("64")?;
    let (udp_large, udp_large_loss) = udp("1372")?;
    let ping = tunnel.ping(Duration::from_millis(5))?;
    let ping_loaded = tunnel.ping_under_load()?;
    Ok(Figures {
        tcp: gbits(&tcp),
        tcp_4: gbits(&tcp_4),
        tcp_reverse: gbits(&tcp_reverse),
        cpu: tcp.cpu / tcp.bytes * 1e9,
        udp_small,
        udp_small_loss,
        udp_large,
        udp_large_loss,
        ping,
        ping_loaded,
        memory: tunnel.memory()?,
    })
}

impl Tunnel {
    fn start(implementation: &Implementation, ours: &Path) -> Result<Self> {
        let hosts = [Host::with_programs("a", ours)?, Host::with_programs("b", ours)?];
        connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
        let wg = originals::wg()?.display().to_string();
        let mut keys = Vec::new();
        for host in &hosts {
            let private = host.run(&format!("{wg} genkey"))?.success()?.stdout;
            let public = host.run_with_input(&format!("{wg} pubkey"), &private)?.success()?.stdout;
            keys.push((private.trim().to_owned(), public.trim().to_owned()));
        }
        for (me, host) in hosts.iter().enumerate() {
            let other = 1 - me;
            host.add_address("eth0", &format!("{}/24", OUTER[me]))?;
            host.run(&format!("{} wg0", implementation.command))?.success()?;
            let socket = host.path("/run/wireguard/wg0.sock");
            eventually("the daemon", PATIENCE, || socket.exists().then_some(()))?;
            let config = format!(
                "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
                 AllowedIPs = {}/32\nEndpoint = {}:{PORT}\n",
                keys[me].0, keys[other].1, INNER[other], OUTER[other]
            );
            host.run_with_input(&format!("{wg} setconf wg0 /dev/stdin"), config)?.success()?;
            host.add_address("wg0", &format!("{}/24", INNER[me]))?;
            host.set_mtu("wg0", MTU)?;
            host.set_up("wg0")?;
        }
        let tunnel = Self { hosts };
        // The first answer may take a second handshake.
        tunnel.ping(Duration::from_millis(5))?;
        Ok(tunnel)
    }

    /// Runs iperf3 from the first host to the second.
    fn flow(&self, options: &[&str]) -> Result<Flow> {
        let server = self.serve(IPERF_PORT)?;
        let before = self.cpu()?;
        let mut client = self.hosts[0].command("iperf3");
        client.args(["-J", "-c", INNER[1]]).args(options);
        let output = self.hosts[0].run_command(&mut client, "")?.success()?;
        let cpu = self.cpu()? - before;
        server.finish()?;
        let report: Value = serde_json::from_str(&output.stdout).context("iperf3's report")?;
        let end = &report["end"];
        let number = |value: &Value| value.as_f64().context("iperf3's report lacks a number");
        if options.contains(&"-u") {
            // The server's own count, which the client gets at the end.
            let received = &end["sum"];
            return Ok(Flow {
                bytes: number(&received["bytes"])?,
                seconds: number(&received["seconds"])?,
                packets: number(&received["packets"])?,
                lost: number(&received["lost_packets"])?,
                cpu,
            });
        }
        Ok(Flow {
            bytes: number(&end["sum_received"]["bytes"])?,
            seconds: number(&end["sum_received"]["seconds"])?,
            packets: 0.0,
            lost: 0.0,
            cpu,
        })
    }

    /// Average round trip through the tunnel, ms.
    fn ping(&self, pause: Duration) -> Result<f64> {
        let address = INNER[1].parse()?;
        let report =
            self.hosts[0].ping_with(address, Ping { count: 150, pause, ..Ping::default() })?;
        let times: Vec<f64> =
            report.replies.iter().flatten().map(|time| time.as_secs_f64() * 1e3).collect();
        ensure!(!times.is_empty(), "no reply through the tunnel");
        Ok(times.iter().sum::<f64>() / times.len() as f64)
    }

    fn ping_under_load(&self) -> Result<f64> {
        let server = self.serve(IPERF_PORT + 1)?;
        let mut client = self.hosts[0].command("iperf3");
        client.args(["-t", "5", "-p", &(IPERF_PORT + 1).to_string(), "-c", INNER[1]]);
        let mut client = client.stdout(Stdio::null()).spawn().context("cannot start iperf3")?;
        // The stream gets up to speed.
        std::thread::sleep(Duration::from_secs(1));
        let ping = self.ping(Duration::from_millis(20));
        client.wait()?;
        server.finish()?;
        ping
    }

    fn serve(&self, port: u16) -> Result<Server> {
        let mut command = self.hosts[1].command("iperf3");
        command.args(["-s", "-1", "-J", "-p", &port.to_string()]).stdout(Stdio::null());
        let child = command.spawn().context("cannot start iperf3")?;
        let server = Server(child);
        let listening = format!(":{port:04X} 0000");
        let look = || {
            let of = |family| fs::read_to_string(format!("/proc/thread-self/net/{family}"));
            let tables = of("tcp").ok()? + &of("tcp6").ok()?;
            // The local address is followed by the remote one, all zeroes for a listener.
            tables.contains(&listening).then_some(())
        };
        self.hosts[1].in_network(|| eventually("iperf3's server", PATIENCE, look))?;
        Ok(server)
    }

    /// The seconds of processor time that both daemons have used.
    fn cpu(&self) -> Result<f64> {
        self.of_both(|host, pid| {
            let stat = host.read_file(&format!("/proc/{pid}/stat"))?;
            let rest = stat.rsplit_once(')').context("no name in stat")?.1;
            // User and system time are fields 14 and 15 (proc_pid_stat(5)).
            let ticks = rest.split_whitespace().skip(11).take(2);
            Ok(ticks.filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / TICKS)
        })
        .map(|both| both.iter().sum())
    }

    /// The greater resident memory of the two daemons, MB.
    fn memory(&self) -> Result<f64> {
        let both = self.of_both(|host, pid| {
            let status = host.read_file(&format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            Ok(kib.context("no VmRSS")? * 1024.0 / 1e6)
        })?;
        Ok(both.into_iter().fold(0.0, f64::max))
    }

    /// A figure of each host's daemon, which is the only process that stays.
    fn of_both(&self, figure: impl Fn(&Host, u32) -> Result<f64>) -> Result<Vec<f64>> {
        let of_host = |host: &Host| -> Result<f64> {
            let processes = host.processes()?;
            let daemons = processes.iter().filter(|process| process.command.ends_with(" wg0"));
            daemons.map(|daemon| figure(host, daemon.pid)).sum()
        };
        self.hosts.iter().map(of_host).collect()
    }
}

/// An iperf3 server for one client.
struct Server(std::process::Child);

impl Server {
    fn finish(mut self) -> Result<()> {
        let child = &mut self.0;
        eventually("the end of iperf3's server", PATIENCE, || child.try_wait().ok().flatten())?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has gone already, or the measurement failed; its host ends it in any case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
