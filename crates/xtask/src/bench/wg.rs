//! `wg` with many peers, and how fast it starts.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::{Host, eventually, originals, privileges, vm};

use super::quick::key;
use crate::build;

/// Peers, with three allowed IPs each: the first and the last size tell whether time grows
/// linearly.
const USERSPACE: [u32; 2] = [10_000, 100_000];
const KERNEL: [u32; 2] = [2_000, 20_000];
/// Runs of each question, of which the median counts.
const ROUNDS: usize = 7;
const STARTS: usize = 500;
/// Ten times as many peers may take this many times as long.
const LINEAR: f64 = 11.0;

/// What is timed, and what has to be done before. `base` and `changed` are files; in the second one
/// peer in a hundred has another endpoint and another allowed IP.
const QUESTIONS: [(&str, &str, Option<&str>); 4] = [
    ("setconf", "setconf wg0 base", None),
    ("syncconf", "syncconf wg0 changed", Some("setconf wg0 base")),
    ("show dump", "show wg0 dump", None),
    ("show", "show wg0", None),
];

/// Prints the times of ours and of the original, taken in turns.
pub(crate) fn run() -> Result<()> {
    privileges::check_tun()?;
    let ours = build::release()?;
    let programs = [ours.join("wg"), originals::wg()?];
    starts(&programs)?;
    // All is measured before what was found fails the command.
    let linear = [userspace(&ours, &programs)?, kernel(&programs)?];
    ensure!(
        linear == [true, true],
        "ten times as many peers take more than {LINEAR} times as long"
    );
    Ok(())
}

fn starts(programs: &[PathBuf; 2]) -> Result<()> {
    println!("Starting, median of {STARTS} in turns, ours and the original's:");
    let host = Host::new("starts")?;
    for arguments in ["show", "genkey", "--version"] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..STARTS {
            for (program, times) in programs.iter().zip(&mut times) {
                times.push(timed(host.command(program).args(arguments.split(' ')))?);
            }
        }
        print_pair(&format!("wg {arguments}"), times.map(median));
    }
    Ok(())
}

/// Returns whether ours takes time in proportion to the peers.
fn userspace(folder: &Path, programs: &[PathBuf; 2]) -> Result<bool> {
    println!("On our daemon, median of {ROUNDS} in turns, ours and the original's:");
    let mut sizes = Vec::new();
    for peers in USERSPACE {
        let host = Host::with_programs("bench", folder)?;
        host.run("wg-userspace wg0")?.success()?;
        let socket = host.path("/run/wireguard/wg0.sock");
        eventually("the daemon's socket", Duration::from_secs(10), || {
            socket.exists().then_some(())
        })?;
        host.write_file("/etc/wireguard/base", config(peers, false)?, 0o600)?;
        host.write_file("/etc/wireguard/changed", config(peers, true)?, 0o600)?;
        let command = |program: &Path, line: &str| {
            let mut command = host.command("env");
            command.args(["--chdir=/etc/wireguard".as_ref(), program.as_os_str()]);
            command.args(line.split(' '));
            command
        };
        let mut medians = Vec::new();
        for (name, question, before) in QUESTIONS {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (program, times) in programs.iter().zip(&mut times) {
                    if let Some(before) = before {
                        timed(&mut command(program, before))?;
                    }
                    times.push(timed(&mut command(program, question))?);
                }
            }
            let medians_of_both = times.map(median);
            print_pair(&format!("{peers} peers: {name}"), medians_of_both);
            medians.push(medians_of_both[0]);
        }
        let dump = host.run("wg show wg0 allowed-ips")?.success()?.stdout;
        ensure!(dump.split_whitespace().count() == peers as usize * 4, "not all came back");
        sizes.push(medians);
    }
    Ok(all_linear(&sizes[0], &sizes[1]))
}

/// As [`userspace`], in a guest, where time passes more slowly, so only once each.
fn kernel(programs: &[PathBuf; 2]) -> Result<bool> {
    println!("On the kernel's module, in an emulated machine, ours and the original's:");
    let guest = vm::Guest::boot()?;
    let mut sizes = Vec::new();
    for peers in KERNEL {
        let mut script = "ip link add wg0 type wireguard\n\
             timed() { local start=$(date +%s%N); \"$@\" > /dev/null || exit 1; \
             echo $(($(date +%s%N) - start)); }\n"
            .to_owned();
        // What is read for the first time comes from outside.
        let [ours, original] = programs.each_ref().map(|program| program.display().to_string());
        writeln!(script, "('{ours}' show; '{original}' show; cat base changed) > /dev/null")?;
        for (_, question, before) in QUESTIONS {
            for program in [&ours, &original] {
                if let Some(before) = before {
                    writeln!(script, "'{program}' {before} || exit 1")?;
                }
                writeln!(script, "timed '{program}' {question}")?;
            }
        }
        writeln!(script, "[ $('{ours}' show wg0 allowed-ips | wc -w) = {} ]", peers * 4)?;
        let job = guest.job("bench")?.limit(Duration::from_secs(600));
        let job = job.file("base", config(peers, false)?)?.file("changed", config(peers, true)?)?;
        let finished = job.run(&script)?;
        ensure!(finished.code == 0, "{finished}");
        let times: Result<Vec<_>, _> =
            finished.stdout.lines().map(|line| line.parse().map(Duration::from_nanos)).collect();
        let times = times.with_context(|| finished.to_string())?;
        for ((name, ..), pair) in QUESTIONS.iter().zip(times.chunks_exact(2)) {
            print_pair(&format!("{peers} peers: {name}"), [pair[0], pair[1]]);
        }
        sizes.push(times.into_iter().step_by(2).collect::<Vec<_>>());
    }
    Ok(all_linear(&sizes[0], &sizes[1]))
}

fn timed(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn print_pair(name: &str, [ours, original]: [Duration; 2]) {
    let ratio = ours.as_secs_f64() / original.as_secs_f64();
    println!("  {name:<24} {ours:>10.2?} {original:>10.2?}   {ratio:.2} times the original's");
}

/// Prints how the times of the questions grow from the small size to the large one, and returns
/// whether all do in proportion.
fn all_linear(small: &[Duration], large: &[Duration]) -> bool {
    println!("Ten times as many peers take");
    let mut all = true;
    for ((name, ..), (small, large)) in QUESTIONS.iter().zip(small.iter().zip(large)) {
        let growth = large.as_secs_f64() / small.as_secs_f64();
        println!("  {name:<24} {growth:.1} times as long");
        all &= growth <= LINEAR;
    }
    all
}

fn config(peers: u32, changed: bool) -> Result<String> {
    let mut text = "[Interface]\nPrivateKey = kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=\n\
                    ListenPort = 51820\n"
        .to_owned();
    for peer in 0..peers {
        let other = u32::from(changed && peer % 100 == 0);
        let [_, b, c, d] = peer.to_be_bytes();
        writeln!(
            text,
            "\n[Peer]\nPublicKey = {}\nEndpoint = 192.0.2.{}:{}\n\
             AllowedIPs = 10.{b}.{c}.{d}/32, {}.{b}.{c}.{d}/32, fd00::{b:x}:{c:x}{d:02x}/128",
            key(peer),
            1 + other + peer % 250,
            1024 + peer % 60_000,
            11 + other,
        )?;
    }
    Ok(text)
}
