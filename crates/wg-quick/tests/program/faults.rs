//! A fault at every step of every captured configuration; the host is as before after each.
//!
//! A library that is loaded before the C library makes the faults: a system call of the step fails,
//! a signal comes as the step begins, or the program is killed there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

use anyhow::{Context, Result, ensure};
use testbed::report::{self, Entry};
use testbed::{Output, eventually, packages};

use crate::captures::{Capture, our_command, ours};
use crate::machine::{INTERFACE, LIMIT, Machine, PEER};
use crate::reload;

/// What happens, in the words of the library: that, SIGINT, SIGKILL.
const FAULTS: [&str; 3] = ["error", "2", "9"];
const KILLED: &str = "9";

/// Where the library writes on the host.
pub(crate) const REPORT: &str = "/run/fault";

/// What is counted to find the place of a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The steps, by the lines that tell of them.
    Step,
    /// The system calls that change anything, or send a request.
    Call,
}

#[test]
fn a_fault_at_every_step_leaves_the_host_as_it_was() -> Result<()> {
    let (tried, configurations) = try_captures(Unit::Step)?;
    report::add(&Entry::Faults(format!(
        "{tried} at the steps of {configurations} configurations"
    )))?;
    ensure!(configurations >= 20 && tried > 800, "{tried} of {configurations}");
    Ok(())
}

#[test]
#[ignore = "takes minutes"]
fn a_fault_at_every_system_call_leaves_the_host_as_it_was() -> Result<()> {
    let (tried, configurations) = try_captures(Unit::Call)?;
    report::add(&Entry::Faults(format!(
        "{tried} at the system calls of {configurations} configurations"
    )))?;
    ensure!(configurations >= 20 && tried > 10_000, "{tried} of {configurations}");
    Ok(())
}

#[test]
fn a_fault_at_every_step_of_a_reload_leaves_what_was() -> Result<()> {
    let tried = try_reloads(Unit::Step)?;
    report::add(&Entry::Faults(format!("{tried} at the steps of two reloads")))?;
    ensure!(tried > 50, "{tried}");
    Ok(())
}

#[test]
#[ignore = "takes minutes"]
fn a_fault_at_every_system_call_of_a_reload_leaves_what_was() -> Result<()> {
    let tried = try_reloads(Unit::Call)?;
    report::add(&Entry::Faults(format!("{tried} at the system calls of two reloads")))?;
    ensure!(tried > 300, "{tried}");
    Ok(())
}

/// Tries `up` and `down` of each captured configuration. How many faults, and how many
/// configurations.
fn try_captures(unit: Unit) -> Result<(usize, usize)> {
    packages::ensure(&["nftables", "procps"])?;
    let mut seen = BTreeSet::new();
    let mut captures = Capture::all()?;
    captures.retain(|capture| seen.insert(capture.config()));
    let configurations = captures.len();
    let waiting = Mutex::new(captures);
    let tried = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().map_or(None, |mut captures| captures.pop());
            let Some(capture) = next else { return Ok(()) };
            for verb in ["up", "down"] {
                let count = try_capture(&capture, unit, verb);
                let count = count.with_context(|| format!("{} of {}", verb, capture.name))?;
                tried.fetch_add(count, Ordering::Relaxed);
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok((tried.into_inner(), configurations))
}

/// Tries all faults of one verb on one configuration, and says how many.
fn try_capture(capture: &Capture, unit: Unit, verb: &str) -> Result<usize> {
    let machine = capture.machine()?;
    hide_iptables(&machine)?;
    reset_sysctl(&machine)?;
    let before = state(&machine)?;
    let is_as_before = |what: &str| {
        let mut now = String::new();
        let settled = eventually("the host as before", LIMIT, || {
            now = state(&machine).ok()?;
            (now == before).then_some(())
        });
        settled.with_context(|| format!("{what}\nbefore:\n{before}\nand now:\n{now}"))
    };
    if verb == "down" && !ours(&machine, "up wg0")?.status.success() {
        return Ok(0);
    }
    let (count, succeeds) = count(&machine, unit, verb)?;
    ours(&machine, "down wg0")?;
    reset_sysctl(&machine)?;
    is_as_before("without a fault")?;
    let mut tried = 0;
    for kind in FAULTS {
        for place in 1..=count {
            if verb == "down" {
                ours(&machine, "up wg0")?.success()?;
            }
            let Some(output) = faulty(&machine, unit, place, kind, verb)? else {
                ours(&machine, "down wg0")?.success()?;
                reset_sysctl(&machine)?;
                continue;
            };
            let what = format!("{kind} at {place} of {count}: {output}");
            ensure!(kind != KILLED || !output.status.success(), "not killed: {what}");
            // A tunnel that was up leaves it set, as the original does.
            let was_up = verb == "down" || output.status.success() || is_complete(&machine);
            // Of two faults, one may be in the undoing of the other.
            let is_left = kind == KILLED || verb == "down" || !succeeds;
            if output.status.success() || is_left {
                let down = ours(&machine, "down wg0")?;
                ensure!(matches!(down.status.code(), Some(0 | 1)), "{what}\nand then {down}");
            }
            if was_up {
                reset_sysctl(&machine)?;
            }
            is_as_before(&what)?;
            tried += 1;
        }
    }
    Ok(tried)
}

/// Tries all faults on a reload to a configuration that differs in most respects, and on the way
/// back. How many.
fn try_reloads(unit: Unit) -> Result<usize> {
    packages::ensure(&["nftables", "procps"])?;
    let before = format!("{INTERFACE}DNS = 10.66.0.1\n{PEER}");
    let after = format!("{INTERFACE}DNS = 10.66.0.9\nMTU = 1300\nAddress = 10.67.0.1/24\n{PEER}")
        .replace("172.16.5.0/24", "172.16.6.0/24, 0.0.0.0/0, ::/0");
    let machine = Machine::new()?;
    hide_iptables(&machine)?;
    machine.config("")?;
    let down = machine.settled()?;
    let mut tried = 0;
    for (from, to) in [(&before, &after), (&after, &before)] {
        machine.config(from)?;
        ours(&machine, "up wg0")?.success()?;
        let tunnel = reload::tunnel(&machine)?;
        let back = || {
            machine.config(from)?;
            ours(&machine, "reload wg0")?.success()?;
            machine.config(to)
        };
        machine.config(to)?;
        reset_sysctl(&machine)?;
        let (count, _) = count(&machine, unit, "reload")?;
        back()?;
        for kind in FAULTS {
            for place in 1..=count {
                reset_sysctl(&machine)?;
                let Some(output) = faulty(&machine, unit, place, kind, "reload")? else {
                    back()?;
                    continue;
                };
                if output.status.success() || kind == KILLED {
                    // What was killed is taken up where it stopped.
                    ours(&machine, "reload wg0")?.success()?;
                    back()?;
                }
                let now = reload::tunnel(&machine)?;
                assert_eq!(now, tunnel, "{kind} at {place} of {count}: {output}");
                tried += 1;
            }
        }
        ours(&machine, "down wg0")?.success()?;
        machine.config("")?;
        machine.assert_as(&down)?;
    }
    Ok(tried)
}

/// Runs `wg-quick` with a fault, which must take place. `None` at a route that is told when it is
/// there already, one of many, with no system call after it that could fail.
fn faulty(
    machine: &Machine,
    unit: Unit,
    place: usize,
    kind: &str,
    verb: &str,
) -> Result<Option<Output>> {
    let (output, report) = preloaded(machine, unit, place, kind, verb)?;
    if report.starts_with("faulted\n") {
        return Ok(Some(output));
    }
    let mut steps = output.stderr.lines().filter(|line| line.starts_with("[#]"));
    let is_route = steps.nth(place - 1).is_some_and(|step| step.contains(" route add "));
    let may_miss = unit == Unit::Step && kind == "error" && is_route && output.status.success();
    ensure!(may_miss, "no fault {kind} at {place}: {output}");
    Ok(None)
}

/// How many units a run without a fault has, and whether it succeeds.
fn count(machine: &Machine, unit: Unit, verb: &str) -> Result<(usize, bool)> {
    let (output, report) = preloaded(machine, unit, 0, "error", verb)?;
    let count = report.trim().parse().with_context(|| format!("{report} of {output}"))?;
    ensure!(output.status.code().is_some() && count > 0, "{count} of {output}");
    Ok((count, output.status.success()))
}

fn preloaded(
    machine: &Machine,
    unit: Unit,
    place: usize,
    kind: &str,
    verb: &str,
) -> Result<(Output, String)> {
    let unit = if unit == Unit::Step { "step" } else { "call" };
    let mut command = command(machine, &format!("{unit} {place} {kind}"), verb)?;
    let output = machine.host.run_command(&mut command, "")?;
    let report = machine.host.read_file(REPORT)?;
    machine.host.run(&format!("rm {REPORT}"))?.success()?;
    Ok((output, report))
}

/// `wg-quick` with a fault in the words of the library, which tells of it in [`REPORT`].
pub(crate) fn command(machine: &Machine, fault: &str, verb: &str) -> Result<Command> {
    let mut command = our_command(machine)?;
    command.env("FAULT", format!("{fault} {REPORT}")).env("LD_PRELOAD", library()?);
    command.args([verb, "wg0"]);
    Ok(command)
}

/// The library, compiled once.
fn library() -> Result<&'static PathBuf> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let compile = || -> Result<PathBuf> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/faults/preload.c");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("preload.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library);
        let output = compiler.arg(source).output().context("cc")?;
        ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        Ok(library)
    };
    let library = LIBRARY.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
    library.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// All that a tunnel may change. The daemon may take a moment to go.
fn state(machine: &Machine) -> Result<String> {
    let questions = "ip -d addr; ip -4 route show table all; ip -6 route show table all; ip -4 rule; \
                     ip -6 rule; nft list ruleset; cat /etc/resolv.conf; \
                     cat /proc/sys/net/ipv4/conf/all/src_valid_mark; \
                     find /run/wireguard /etc/wireguard -type f -o -type s; \
                     find /run/wg-quick -type f -size +0; \
                     cat /etc/wireguard/*";
    let mut command = machine.host.command("sh");
    let output = machine.host.run_command(command.args(["-c", questions]), "")?;
    let processes: Vec<_> = machine.host.processes()?.into_iter().map(|p| p.command).collect();
    Ok(format!("{}{}", output.stdout, processes.join("\n")))
}

/// Where a question to nf_tables fails, `iptables-restore` would be next, which leaves empty tables.
fn hide_iptables(machine: &Machine) -> Result<()> {
    for program in ["iptables-restore", "ip6tables-restore"] {
        let place = machine.host.run(&format!("which {program}"))?.stdout;
        if !place.is_empty() {
            let place = std::fs::canonicalize(place.trim())?;
            machine.host.run(&format!("mount --bind /dev/null {}", place.display()))?.success()?;
        }
    }
    Ok(())
}

/// Whether the journal says that all of `up` was done.
fn is_complete(machine: &Machine) -> bool {
    machine.host.read_file("/run/wg-quick/wg0").is_ok_and(|text| text.contains("\ncomplete\n"))
}

fn reset_sysctl(machine: &Machine) -> Result<()> {
    machine.host.run("sysctl -q net.ipv4.conf.all.src_valid_mark=0")?.success().map(|_| ())
}
