//! A host with a cable to a neighbour and default routes over it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Host, Output, Snapshot, connect, eventually, originals};

/// Long enough for anything here on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const INTERFACE: &str = "\
[Interface]
PrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=
Address = 10.66.0.2/24, fd66::2/64
";

pub(crate) const PEER: &str = "
[Peer]
PublicKey = 1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.66.0.0/24, 172.16.5.0/24, fd77::/48
";

/// A host as the captures of the original had it: `eth0` with 192.0.2.10/24 and 2001:db8:1::10/64,
/// and default routes.
pub(crate) struct Machine {
    pub(crate) host: Host,
    _neighbour: Host,
}

impl Machine {
    pub(crate) fn new() -> Result<Self> {
        let (host, neighbour) = (Host::new("machine")?, Host::new("neighbour")?);
        connect(&host, "eth0", &neighbour, "eth0")?;
        for address in ["192.0.2.10/24", "2001:db8:1::10/64"] {
            host.add_address("eth0", address)?;
        }
        for gateway in ["192.0.2.1", "2001:db8:1::1"] {
            host.add_default_route(gateway.parse()?)?;
        }
        let machine = Self { host, _neighbour: neighbour };
        machine.wait_for_ipv6()?;
        Ok(machine)
    }

    /// Waits until the kernel has done what it does on its own time after a link or an address came:
    /// link-local addresses, and the route to each address.
    pub(crate) fn wait_for_ipv6(&self) -> Result<()> {
        eventually("the kernel's own IPv6 addresses and routes", LIMIT, || {
            let addresses = self.host.run("ip -6 -o addr show").ok()?.stdout;
            let routes = self.host.run("ip -6 route show table local").ok()?.stdout;
            let is_routed = |line: &str| {
                let address = line.split(" inet6 ").nth(1)?.split('/').next()?;
                routes.contains(&format!("local {address} dev ")).then_some(())
            };
            let settled = !addresses.contains("tentative")
                && addresses.lines().any(|line| line.contains(" eth0 ") && line.contains("fe80::"))
                && addresses.lines().all(|line| is_routed(line).is_some());
            settled.then_some(())
        })
    }

    pub(crate) fn config(&self, text: impl AsRef<[u8]>) -> Result<()> {
        self.host.write_file("/etc/wireguard/wg0.conf", text, 0o600)
    }

    /// A command that uses `wireguard-go` where the kernel has no WireGuard.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = self.host.command(program);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", originals::wireguard_go()?);
        Ok(command)
    }

    /// Runs our `wg-quick` with these arguments.
    pub(crate) fn wg_quick(&self, arguments: &str) -> Result<Output> {
        self.run(Path::new("wg-quick"), arguments)
    }

    pub(crate) fn run(&self, program: &Path, arguments: &str) -> Result<Output> {
        self.host.run_command(self.command(program)?.args(arguments.split_whitespace()), "")
    }

    /// Starts our `wg-quick` and waits until it runs a hook whose command holds `hook`.
    pub(crate) fn start(&self, arguments: &str, hook: &str) -> Result<Child> {
        let child = self
            .command("wg-quick")?
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        eventually("the hook", LIMIT, || self.runs(hook).then_some(()))?;
        Ok(child)
    }

    /// Whether a process of this very command runs.
    pub(crate) fn runs(&self, command: &str) -> bool {
        self.host.processes().is_ok_and(|all| all.iter().any(|process| process.command == command))
    }

    /// Kills the processes whose commands end with this.
    pub(crate) fn kill(&self, command: &str) -> Result<()> {
        let all = self.host.processes()?;
        let found: Vec<_> = all.iter().filter(|p| p.command.ends_with(command)).collect();
        ensure!(!found.is_empty(), "no process ends with `{command}': {all:?}");
        for process in found {
            // A shell may end when what it waits for does.
            self.host.run(&format!("kill -KILL {}", process.pid))?;
        }
        Ok(())
    }

    /// The state, once daemons that were told to go have gone.
    pub(crate) fn settled(&self) -> Result<Snapshot> {
        eventually("the daemon's end", LIMIT, || {
            let all = self.host.processes().ok()?;
            (!all.iter().any(|process| process.command.contains("wireguard-go"))).then_some(())
        })?;
        self.snapshot()
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        self.wait_for_ipv6()?;
        self.host.snapshot()
    }

    /// Fails unless the host is as it was, once a daemon that has to go has gone.
    pub(crate) fn assert_as(&self, before: &Snapshot) -> Result<()> {
        let mut difference = String::new();
        let settled = eventually("the host as before", LIMIT, || {
            difference = before.difference(&self.settled().ok()?);
            difference.is_empty().then_some(())
        });
        settled.context(difference)
    }
}

/// Waits for a started command and gives its exit code.
pub(crate) fn exit_code(mut child: Child) -> Result<Option<i32>> {
    let status = eventually("the end of wg-quick", LIMIT, || child.try_wait().ok().flatten())?;
    Ok(status.code())
}
