//! iperf3 from one host to the other, through the tunnel.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::eventually;

use super::site::{PATIENCE, Site};

const PORT: u16 = 5201;

/// What iperf3 and the daemons' processor times say of TCP.
pub(super) struct Stream {
    pub(super) bytes: f64,
    pub(super) seconds: f64,
    /// Of both daemons.
    pub(super) cpu: Duration,
}

impl Stream {
    /// Gbit/s of payload.
    pub(super) fn gbits(&self) -> f64 {
        self.bytes * 8.0 / self.seconds / 1e9
    }
}

/// Runs iperf3 from the first host to the second.
pub(super) fn tcp(site: &Site, options: &[&str]) -> Result<Stream> {
    let server = Server::start(site, PORT)?;
    let before = site.cpu()?;
    let address = site.addresses()[1].to_string();
    let output = site.on_side(0, || {
        let mut client = site.hosts[0].command("iperf3");
        client.args(["-J", "-c", &address]).args(options);
        site.hosts[0].run_command(&mut client, "")?.success()
    })?;
    let after = site.cpu()?;
    server.finish()?;
    let report: Value = serde_json::from_str(&output.stdout).context("iperf3's report")?;
    let received = &report["end"]["sum_received"];
    let number = |value: &Value| value.as_f64().context("iperf3's report lacks a number");
    Ok(Stream {
        bytes: number(&received["bytes"])?,
        seconds: number(&received["seconds"])?,
        cpu: after.iter().sum::<Duration>().saturating_sub(before.iter().sum()),
    })
}

/// Calls `meanwhile` while a TCP stream runs from the first host to the second.
pub(super) fn under_load<T>(site: &Site, meanwhile: impl FnOnce() -> Result<T>) -> Result<T> {
    let server = Server::start(site, PORT + 1)?;
    let address = site.addresses()[1].to_string();
    let mut client = site.on_side(0, || {
        let mut client = site.hosts[0].command("iperf3");
        client.args(["-t", "5", "-p", &(PORT + 1).to_string(), "-c", &address]);
        client.stdout(Stdio::null()).spawn().context("cannot start iperf3")
    })?;
    // The stream gets up to speed.
    std::thread::sleep(Duration::from_secs(1));
    let result = meanwhile();
    let status = client.wait()?;
    let result = result?;
    ensure!(status.success(), "iperf3 under the measurement: {status}");
    server.finish()?;
    Ok(result)
}

/// An iperf3 server for one client.
struct Server(Child);

impl Server {
    fn start(site: &Site, port: u16) -> Result<Self> {
        let host = &site.hosts[1];
        let child = site.on_side(1, || {
            let mut command = host.command("iperf3");
            command.args(["-s", "-1", "-J", "-p", &port.to_string()]).stdout(Stdio::null());
            command.spawn().context("cannot start iperf3")
        })?;
        let server = Self(child);
        let listening = format!(":{port:04X} 0000");
        let look = || {
            let of = |family| fs::read_to_string(format!("/proc/thread-self/net/{family}"));
            let tables = of("tcp").ok()? + &of("tcp6").ok()?;
            // The local address is followed by the remote one, all zeroes for a listener.
            tables.contains(&listening).then_some(())
        };
        host.in_network(|| eventually("iperf3's server", PATIENCE, look))?;
        Ok(server)
    }

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
