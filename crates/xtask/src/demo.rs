//! `cargo xtask demo`: two hosts, two configuration files, one tunnel.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use testbed::{Amount, Host, connect, eventually, privileges, tcp_transfer};

use crate::build;
use crate::leftovers::{self, Machine, Namespaces};
use crate::terminal::Terminal;

/// Builds the programs, shows them at work, and checks that nothing is left.
pub(crate) fn run() -> Result<()> {
    let terminal = Terminal::new();
    println!("Building wg, wg-quick and wg-userspace.");
    let programs = build::release()?;
    if !privileges::is_root() {
        privileges::enter_user_namespace()?;
        terminal.remark("Not root: the demo runs in a user namespace.");
    }
    privileges::check_tun()?;
    let before = Machine::now();
    let mut findings = Vec::new();
    let namespaces = show(terminal, &programs, &mut findings)?;
    let mut left = Machine::now().since(&before);
    for namespaces in namespaces {
        left.extend(namespaces.processes()?);
    }
    findings.push(Finding {
        good: left.is_empty(),
        subject: "left on this machine".to_owned(),
        value: nothing_or(&left, "no namespace, process, socket, journal or interface"),
    });

    println!("\nSummary");
    for Finding { good, subject, value } in &findings {
        terminal.finding(*good, subject, value);
    }
    if findings.iter().any(|finding| !finding.good) {
        bail!("the demo did not go as it should");
    }
    Ok(())
}

struct Finding {
    good: bool,
    subject: String,
    value: String,
}

/// The names and addresses of the two hosts on the cable between them.
const SERVERS: [(&str, &str); 2] = [("server1", "192.0.2.1"), ("server2", "192.0.2.2")];
const TCP_TIME: Duration = Duration::from_secs(3);
const STALL: Duration = Duration::from_secs(10);

/// The demo proper. Both hosts are gone when it returns; their namespaces are what to look for.
fn show(
    terminal: Terminal,
    programs: &Path,
    findings: &mut Vec<Finding>,
) -> Result<[Namespaces; 2]> {
    let hosts = [make_host(SERVERS[0], programs)?, make_host(SERVERS[1], programs)?];
    let [one, two] = &hosts;
    connect(one, "eth0", two, "eth0")?;
    for (host, (_, address)) in hosts.iter().zip(SERVERS) {
        host.add_address("eth0", &format!("{address}/24"))?;
    }
    let namespaces = [Namespaces::of(one)?, Namespaces::of(two)?];
    terminal.remark(
        "\nTwo hosts on this machine, joined by a cable. `ping` and `iperf3` are played by the demo \
         itself;\nthe rest are the programs just built.",
    );

    for host in &hosts {
        type_command(terminal, host, "wg-quick up wg0")?;
    }
    for (from, to) in [(one, two), (two, one)] {
        ping(terminal, from, to, findings)?;
    }
    for (from, to) in [(one, two), (two, one)] {
        transfer(terminal, from, to, findings)?;
    }
    for host in &hosts {
        type_command(terminal, host, "wg show")?;
        findings.push(handshake(host)?);
    }
    for host in &hosts {
        type_command(terminal, host, "wg-quick down wg0")?;
        findings.push(after_down(host)?);
    }
    Ok(namespaces)
}

fn make_host((name, _): (&str, &str), programs: &Path) -> Result<Host> {
    let host = Host::with_programs(name, programs)?;
    for (name, address) in SERVERS {
        host.add_host_name(address.parse()?, &format!("{name}.example"))?;
    }
    let file = build::workspace()?.join("examples/server-to-server").join(name).join("wg0.conf");
    let config = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    host.write_file("/etc/wireguard/wg0.conf", config, 0o600)?;
    Ok(host)
}

/// Runs a command and shows it with what it prints, standard error first.
fn type_command(terminal: Terminal, host: &Host, line: &str) -> Result<()> {
    terminal.command(host.name(), line);
    let output = host.run(line)?;
    terminal.output(&output.stderr);
    terminal.output(&output.stdout);
    if !output.status.success() {
        bail!("`{line}` failed on {}: {}", host.name(), output.status);
    }
    Ok(())
}

/// Pings every address of the other end of the tunnel.
fn ping(terminal: Terminal, from: &Host, to: &Host, findings: &mut Vec<Finding>) -> Result<()> {
    for address in tunnel_addresses(to)? {
        terminal.command(from.name(), &format!("ping -c 5 {address}"));
        let report = from.ping(address)?;
        terminal.output(&report.to_string());
        findings.push(Finding {
            good: report.loss() == 0,
            subject: format!("{} → {} {}", from.name(), to.name(), family(address)),
            value: format!("{}% loss ({address})", report.loss()),
        });
    }
    Ok(())
}

fn transfer(terminal: Terminal, from: &Host, to: &Host, findings: &mut Vec<Finding>) -> Result<()> {
    let address = *tunnel_addresses(to)?.first().context("the tunnel has no address")?;
    terminal.command(from.name(), &format!("iperf3 -c {address} -t {}", TCP_TIME.as_secs()));
    let transfer = tcp_transfer(from, to, address, Amount::Time(TCP_TIME), STALL)?;
    let speed = format!("{:.2} Gbit/s", transfer.bits_per_second() / 1e9);
    terminal.output(&format!(
        "{:.0} MiB in {:.1} s, every byte as sent: {speed}",
        transfer.bytes as f64 / f64::from(1 << 20),
        transfer.time.as_secs_f64()
    ));
    findings.push(Finding {
        good: transfer.bytes > 0,
        subject: format!("{} → {} TCP", from.name(), to.name()),
        value: speed,
    });
    Ok(())
}

fn tunnel_addresses(host: &Host) -> Result<Vec<IpAddr>> {
    let addresses = host.addresses("wg0")?;
    for (what, present) in [
        ("IPv4", addresses.iter().any(IpAddr::is_ipv4)),
        ("IPv6", addresses.iter().any(IpAddr::is_ipv6)),
    ] {
        if !present {
            bail!("wg0 of {} has no {what} address", host.name());
        }
    }
    Ok(addresses)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn handshake(host: &Host) -> Result<Finding> {
    let output = host.run("wg show wg0 latest-handshakes")?.success()?;
    let time: u64 = match output.stdout.split_whitespace().nth(1) {
        Some(seconds) => seconds.parse().context("no time of a handshake")?,
        None => 0,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let value = match time {
        0 => "none".to_owned(),
        time => format!("{} s ago", now.saturating_sub(time)),
    };
    let subject = format!("{} latest handshake", host.name());
    Ok(Finding { good: time != 0, subject, value })
}

fn after_down(host: &Host) -> Result<Finding> {
    let mut left = Vec::new();
    let settled = eventually("nothing to be left", Duration::from_secs(5), || {
        left = leftovers::of_tunnels(host).ok()?;
        left.is_empty().then_some(())
    });
    Ok(Finding {
        good: settled.is_ok(),
        subject: format!("{} after down", host.name()),
        value: nothing_or(&left, "no interface, process, socket or journal"),
    })
}

fn nothing_or(left: &[String], nothing: &str) -> String {
    if left.is_empty() { nothing.to_owned() } else { left.join(", ") }
}
