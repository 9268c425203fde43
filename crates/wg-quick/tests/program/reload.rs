//! `reload`, and dry runs.

use anyhow::Result;
use testbed::Snapshot;

use crate::captures::{Capture, ours, state};
use crate::faults;
use crate::machine::{INTERFACE, Machine, PEER};

const SECOND_PEER: &str = "
[Peer]
PublicKey = DFFE1V5xI1dosQXKpKtvybPHJKoGdkOChb7gGb12NnY=
AllowedIPs = 10.99.0.0/16
";

fn full(peer: &str) -> String {
    peer.replace("AllowedIPs =", "AllowedIPs = 0.0.0.0/0, ::/0,")
}

/// All that a tunnel is made of, as text.
pub(crate) fn tunnel(machine: &Machine) -> Result<String> {
    let mut shown = state(machine)?;
    for column in ["private-key", "peers", "endpoints", "allowed-ips", "persistent-keepalive"] {
        shown.push_str(&machine.host.run(&format!("wg show wg0 {column}"))?.success()?.stdout);
    }
    shown.push_str(&machine.host.read_file("/etc/resolv.conf")?);
    // Addresses and allowed IPs are in the order in which they came, rules before those that are there, a mark that
    // is there already is kept, and the sysctl stays set.
    let marks = [("0x00000077", "0x0000ca6c"), ("0x77", "0xca6c"), ("119", "51820")];
    let shown = marks.iter().fold(shown, |text, (one, other)| text.replace(one, other));
    let mut lines: Vec<_> = shown
        .lines()
        .filter(|line| !line.contains("src_valid_mark"))
        .map(|line| if line.starts_with("327") { line.split_at(6).1 } else { line })
        .map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            words.sort_unstable();
            words.join(" ")
        })
        .collect();
    lines.sort();
    Ok(lines.join("\n"))
}

/// The configurations between which each test goes.
fn configs() -> Vec<String> {
    let interface = INTERFACE.to_owned();
    let moved = INTERFACE.replace("10.66.0.2/24", "10.66.0.3/24, 10.66.0.4/24, 10.5.0.1/32");
    vec![
        format!("{interface}{PEER}"),
        format!("{interface}{PEER}{SECOND_PEER}"),
        format!("{interface}{}", PEER.replace("172.16.5.0/24, ", "172.16.6.0/24, fd78::/64, ")),
        format!("{moved}MTU = 1380\n{PEER}"),
        format!("{interface}DNS = 10.66.0.1, corp.example\n{PEER}"),
        format!("{interface}Table = 1234\n{PEER}"),
        format!("{interface}Table = off\n{SECOND_PEER}"),
        format!("{interface}{}", full(PEER)),
        format!("{moved}DNS = 10.66.0.9\n{}", full(PEER)),
        format!("{interface}FwMark = 0x77\n{}", full(PEER)),
        format!("{interface}{}", PEER.replace("AllowedIPs =", "AllowedIPs = 0.0.0.0/0,")),
    ]
}

#[test]
fn a_reload_that_was_killed_is_not_saved() -> Result<()> {
    let machine = Machine::new()?;
    let file = format!("{INTERFACE}SaveConfig = true\nMTU = 1380\n{PEER}");
    machine.config(&file)?;
    ours(&machine, "up wg0")?.success()?;
    let changed = file.replace("MTU = 1380", "MTU = 1300\nAddress = 10.67.0.1/24");
    machine.config(&changed)?;
    let killed =
        machine.host.run_command(&mut faults::command(&machine, "step 2 9", "reload")?, "")?;
    assert!(!killed.status.success(), "{killed}");
    let save = ours(&machine, "save wg0")?;
    assert_eq!(save.status.code(), Some(1), "{save}");
    let down = ours(&machine, "down wg0")?.success()?;
    assert!(down.stderr.contains("[!] /etc/wireguard/wg0.conf: not saved."), "{down}");
    assert_eq!(machine.host.read_file("/etc/wireguard/wg0.conf")?, changed);
    // One that is carried on to its end is.
    machine.config(&file)?;
    ours(&machine, "up wg0")?.success()?;
    machine.config(&changed)?;
    machine.host.run_command(&mut faults::command(&machine, "step 2 9", "reload")?, "")?;
    ours(&machine, "reload wg0")?.success()?;
    ours(&machine, "save wg0")?.success()?;
    ours(&machine, "down wg0")?.success().map(|_| ())
}

#[test]
fn a_tunnel_without_a_journal_has_one_after_a_killed_reload() -> Result<()> {
    let machine = Machine::new()?;
    machine.config("")?;
    let before = machine.settled()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    ours(&machine, "up wg0")?.success()?;
    machine.host.run("rm -r /run/wg-quick")?.success()?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\n{}", full(PEER)))?;
    let mut reload = faults::command(&machine, "step 4 9", "reload")?;
    let killed = machine.host.run_command(&mut reload, "")?;
    assert!(!killed.status.success(), "{killed}");
    machine.host.run(&format!("rm {}", faults::REPORT))?.success()?;
    let down = ours(&machine, "down wg0")?.success()?;
    assert!(!down.stderr.contains("journal"), "{down}");
    machine.config("")?;
    machine.host.run("sysctl -q net.ipv4.conf.all.src_valid_mark=0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn the_journal_does_not_grow_with_each_reload() -> Result<()> {
    let machine = Machine::new()?;
    let mut sizes = Vec::new();
    machine.config(format!("{INTERFACE}{PEER}"))?;
    ours(&machine, "up wg0")?.success()?;
    for mtu in [1300, 1301, 1302] {
        machine.config(format!("{INTERFACE}MTU = {mtu}\n{PEER}"))?;
        ours(&machine, "reload wg0")?.success()?;
        sizes.push(machine.host.read_file("/run/wg-quick/wg0")?.len());
    }
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    ours(&machine, "down wg0")?.success().map(|_| ())
}

#[test]
fn reload_ends_where_down_and_up_would() -> Result<()> {
    let configs = configs();
    let mut expected = Vec::new();
    for config in &configs {
        let machine = Machine::new()?;
        machine.config(config)?;
        ours(&machine, "up wg0")?.success()?;
        expected.push(tunnel(&machine)?);
    }
    let machine = Machine::new()?;
    machine.config("")?;
    let before = machine.settled()?;
    machine.config(&configs[0])?;
    ours(&machine, "up wg0")?.success()?;
    // Each is left for the next, and for one further on.
    for step in [1, 2, 5] {
        for place in (0..configs.len()).map(|place| place * step % configs.len()) {
            machine.config(&configs[place])?;
            let output = ours(&machine, "reload wg0")?.success()?;
            assert_eq!(tunnel(&machine)?, expected[place], "{output}\n{}", configs[place]);
            assert_eq!(ours(&machine, "reload wg0")?.success()?.stderr, "", "nothing is left");
        }
    }
    ours(&machine, "down wg0")?.success()?;
    machine.config("")?;
    machine.assert_as(&before)
}

#[test]
fn only_what_differs_is_changed() -> Result<()> {
    let machine = Machine::new()?;
    let config = format!("{INTERFACE}{}", full(PEER));
    machine.config(&config)?;
    ours(&machine, "up wg0")?.success()?;
    // As roaming has it.
    let peer = "1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=";
    machine.host.run(&format!("wg set wg0 peer {peer} endpoint 192.0.2.77:7"))?.success()?;
    machine.config(format!("{config}{SECOND_PEER}"))?;
    let before = machine.snapshot()?;
    let dry = ours(&machine, "reload --dry-run wg0")?.success()?;
    assert_eq!(before.difference(&machine.snapshot()?), "", "a dry run changes nothing");
    let output = ours(&machine, "reload wg0")?.success()?;
    let expected = "[#] wg syncconf wg0 /dev/fd/63\n[#] ip -4 route add 10.99.0.0/16 dev wg0\n";
    assert_eq!((dry.stdout.as_str(), output.stderr.as_str()), (expected, expected));
    let endpoints = machine.host.run("wg show wg0 endpoints")?.stdout;
    assert!(endpoints.contains("192.0.2.77:7"), "{endpoints}");
    Ok(())
}

#[test]
fn a_reload_that_fails_leaves_what_was() -> Result<()> {
    for (place, config) in configs().iter().enumerate().skip(1) {
        let machine = Machine::new()?;
        machine.config(&configs()[0])?;
        ours(&machine, "up wg0")?.success()?;
        let before = tunnel(&machine)?;
        let rules: Snapshot = machine.snapshot()?;
        // A route of somebody else, in the way of one of the tunnel's.
        machine.host.run("ip route add 10.123.0.0/16 dev eth0")?.success()?;
        let broken = config.replace("AllowedIPs =", "AllowedIPs = 10.123.0.0/16,");
        if broken.contains("Table") {
            continue;
        }
        machine.config(&broken)?;
        let output = ours(&machine, "reload wg0")?.code(2)?;
        assert!(output.stderr.contains("10.123.0.0/16 in table 254: File exists"), "{output}");
        machine.host.run("ip route del 10.123.0.0/16 dev eth0")?.success()?;
        assert_eq!(tunnel(&machine)?, before, "{place}: {output}");
        for topic in ["ip addr", "ip -4 route", "ip -6 route", "ip -4 rule", "ip -6 rule"] {
            let now = machine.snapshot()?;
            let sorted = |snapshot: &Snapshot| {
                let mut lines: Vec<_> = snapshot.topic(topic).lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&now), sorted(&rules), "{place}: {topic}");
        }
    }
    Ok(())
}

#[test]
fn a_tunnel_that_is_down_cannot_be_reloaded() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let before = machine.settled()?;
    let output = ours(&machine, "reload wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: `wg0' is not a WireGuard interface\n");
    machine.assert_as(&before)
}

#[test]
fn a_dry_run_of_up_tells_what_up_does() -> Result<()> {
    for capture in Capture::all()? {
        let machine = capture.machine()?;
        let before = machine.settled()?;
        let dry = ours(&machine, "up --dry-run wg0")?.success()?;
        machine.assert_as(&before)?;
        let output = ours(&machine, "up wg0")?;
        let told: String = output
            .stderr
            .lines()
            .filter(|line| line.starts_with("[#]") && *line != "[#] wg-userspace wg0")
            .map(|line| format!("{line}\n"))
            .collect();
        if output.status.success() {
            assert_eq!(dry.stdout, told, "{}", capture.name);
        }
    }
    Ok(())
}
