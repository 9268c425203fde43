//! Two hosts, one cable, the same daemon at both ends.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use testbed::{Host, Ping, connect, eventually, originals};

use super::peers::Implementation;
use super::pinning;

/// How long anything that must come may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER: [[u8; 4]; 2] = [[10, 98, 0, 1], [10, 98, 0, 2]];
const PORT: u16 = 51820;
const MTU: u32 = 1420;

/// Two hosts with a tunnel.
pub(super) struct Site {
    pub(super) hosts: [Host; 2],
    is_pinned: bool,
}

impl Site {
    /// Makes the hosts, the daemons and a session between them.
    pub(super) fn start(
        implementation: &Implementation,
        ours: &Path,
        is_pinned: bool,
    ) -> Result<Self> {
        let hosts = [Host::with_programs("a", ours)?, Host::with_programs("b", ours)?];
        connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
        let site = Self { hosts, is_pinned };
        let wg = originals::wg()?.display().to_string();
        let mut keys = Vec::new();
        for host in &site.hosts {
            let private = host.run(&format!("{wg} genkey"))?.success()?.stdout;
            let public = host.run_with_input(&format!("{wg} pubkey"), &private)?.success()?.stdout;
            keys.push((private.trim().to_owned(), public.trim().to_owned()));
        }
        let addresses = site.addresses();
        for (me, host) in site.hosts.iter().enumerate() {
            let other = 1 - me;
            host.add_address("eth0", &format!("{}/24", OUTER[me]))?;
            site.on_side(me, || start_daemon(host, implementation))?;
            let config = format!(
                "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
                 AllowedIPs = {}/32\nEndpoint = {}:{PORT}\n",
                keys[me].0, keys[other].1, addresses[other], OUTER[other]
            );
            host.run_with_input(&format!("{wg} setconf wg0 /dev/stdin"), config)?.success()?;
            host.add_address("wg0", &format!("{}/24", addresses[me]))?;
            host.set_mtu("wg0", MTU)?;
            host.set_up("wg0")?;
        }
        // The first answer may take a second handshake.
        site.ping(Duration::from_millis(5))?;
        Ok(site)
    }

    /// The hosts' addresses in the tunnel.
    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        INNER.map(IpAddr::from)
    }

    /// Calls `function`, bound to the processor of `side` if the hosts have one each.
    pub(super) fn on_side<T: Send>(
        &self,
        side: usize,
        function: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        pinning::on(self.is_pinned.then_some(side), function)
    }

    /// Average round trip through the tunnel, ms.
    pub(super) fn ping(&self, pause: Duration) -> Result<f64> {
        let address = self.addresses()[1];
        let ping = Ping { count: 150, pause, ..Ping::default() };
        let report = self.on_side(0, || self.hosts[0].ping_with(address, ping))?;
        let times: Vec<f64> =
            report.replies.iter().flatten().map(|time| time.as_secs_f64() * 1e3).collect();
        ensure!(!times.is_empty(), "no reply through the tunnel");
        Ok(times.iter().sum::<f64>() / times.len() as f64)
    }

    /// The processor time that each daemon takes in `time` without traffic.
    pub(super) fn idle(&self, time: Duration) -> Result<[Duration; 2]> {
        let before = self.cpu()?;
        thread::sleep(time);
        let after = self.cpu()?;
        Ok([0, 1].map(|side| after[side].saturating_sub(before[side])))
    }

    /// The processor time that each daemon's present threads have used: less than before when one has
    /// ended.
    pub(super) fn cpu(&self) -> Result<[Duration; 2]> {
        self.of_each_daemon(|host, pid| {
            let tasks = host.path(&format!("/proc/{pid}/task"));
            let mut time = Duration::ZERO;
            for task in fs::read_dir(tasks).context("cannot read the daemon's threads")? {
                let path = task?.path().join("schedstat");
                let text = match fs::read_to_string(&path) {
                    Err(error) if has_ended(&error) => continue,
                    text => text.with_context(|| format!("cannot read {}", path.display()))?,
                };
                time += running_time(&text)
                    .with_context(|| format!("{}: no time: {text:?}", path.display()))?;
            }
            Ok(time)
        })
    }

    /// The greater resident memory of the two daemons, MB.
    pub(super) fn memory(&self) -> Result<f64> {
        let both = self.of_each_daemon(|host, pid| {
            let status = host.read_file(&format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            Ok(kib.context("no VmRSS")? * 1024.0 / 1e6)
        })?;
        Ok(both[0].max(both[1]))
    }

    /// A figure of each host's daemon, which is the only process that stays.
    fn of_each_daemon<T>(&self, figure: impl Fn(&Host, u32) -> Result<T>) -> Result<[T; 2]> {
        let of_host = |host: &Host| {
            let processes = host.processes()?;
            let daemon = processes.iter().find(|process| process.command.ends_with(" wg0"));
            figure(host, daemon.context("the daemon has ended")?.pid)
        };
        Ok([of_host(&self.hosts[0])?, of_host(&self.hosts[1])?])
    }
}

fn start_daemon(host: &Host, implementation: &Implementation) -> Result<()> {
    let mut words = implementation.command.split_whitespace();
    let mut command = host.command(words.next().context("an empty command")?);
    command.args(words).arg("wg0").env("WG_NO_OFFLOAD", &implementation.no_offload);
    host.run_command(&mut command, "")?.success()?;
    let socket = host.path("/run/wireguard/wg0.sock");
    eventually("the daemon", PATIENCE, || socket.exists().then_some(()))
}

/// Whether a thread is gone: before its file was opened, or after.
fn has_ended(error: &io::Error) -> bool {
    [Errno::ENOENT, Errno::ESRCH].map(|errno| Some(errno as i32)).contains(&error.raw_os_error())
}

/// The time on a processor in a thread's `schedstat`: its first number, ns
/// (Documentation/scheduler/sched-stats.rst).
fn running_time(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_running_time() {
        assert_eq!(running_time("1500 66729 1\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(running_time(""), None);
        assert_eq!(running_time("-1 0 0"), None);
    }

    #[test]
    fn a_thread_that_is_gone_is_told_from_other_errors() {
        let missing = fs::read_to_string("/proc/self/task/0/schedstat").unwrap_err();
        assert!(has_ended(&missing));
        assert!(has_ended(&Errno::ESRCH.into()));
        assert!(!has_ended(&Errno::EACCES.into()));
    }
}
