//! Signals while a slow hook runs.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use testbed::eventually;

use crate::faults;
use crate::machine::{INTERFACE, LIMIT, Machine, PEER, exit_code};

#[test]
fn a_signal_ends_the_hook_and_undoes_everything() -> Result<()> {
    let machine = Machine::new()?;
    for (hook, signal, code) in [
        ("PostUp = sleep 1001; echo never", Signal::SIGINT, 130),
        ("PreUp = sleep 1001", Signal::SIGTERM, 143),
        ("PostUp = (sleep 1001 & wait)", Signal::SIGHUP, 129),
        ("PostUp = sleep 1001; echo never", Signal::SIGQUIT, 131),
    ] {
        machine.config(format!("{INTERFACE}{hook}\n{PEER}"))?;
        let before = machine.settled()?;
        let child = machine.start("up wg0", "sleep 1001")?;
        kill(Pid::from_raw(child.id() as i32), signal)?;
        assert_eq!(exit_code(child)?, Some(code), "{hook}");
        assert!(!machine.runs("sleep 1001"), "{hook}");
        machine.assert_as(&before)?;
    }
    Ok(())
}

#[test]
fn a_process_that_a_hook_starts_while_the_signal_goes_round_gets_it() -> Result<()> {
    let machine = Machine::new()?;
    machine.host.run("mkfifo /run/gate")?.success()?;
    let hook = "PostUp = touch /run/begun; read -r line </run/gate; sleep 1011; echo never";
    machine.config(format!("{INTERFACE}{hook}\n{PEER}"))?;
    let before = machine.settled()?;
    // Between looking for the hook's processes and sending the first of them the signal.
    let mut command = faults::command(&machine, "kill 1 wait", "up")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    eventually("the hook", LIMIT, || machine.host.read_file("/run/begun").ok())?;
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    eventually("the signal", LIMIT, || machine.host.read_file(faults::REPORT).ok())?;
    machine.host.write_file("/run/gate", "\n", 0o600)?;
    eventually("the process", LIMIT, || machine.runs("sleep 1011").then_some(()))?;
    machine.host.run(&format!("rm /run/begun {}", faults::REPORT))?.success()?;
    assert_eq!(exit_code(child)?, Some(130));
    assert!(!machine.runs("sleep 1011"));
    machine.host.run(&format!("rm {}", faults::REPORT))?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_hook_that_takes_the_signal_gets_it_once() -> Result<()> {
    let machine = Machine::new()?;
    let hook = "PostUp = trap 'echo taken' INT; sleep 1012 || echo went on";
    machine.config(format!("{INTERFACE}{hook}\n{PEER}"))?;
    let mut command = machine.command("wg-quick")?;
    command.args(["up", "wg0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let output = child.stdout.take().context("no pipe")?;
    eventually("the hook", LIMIT, || machine.runs("sleep 1012").then_some(()))?;
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    assert_eq!(exit_code(child)?, Some(130));
    assert_eq!(std::io::read_to_string(output)?, "taken\nwent on\n");
    Ok(())
}

#[test]
fn a_signal_to_the_whole_group_undoes_everything() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PostUp = sleep 1002; echo never\n{PEER}"))?;
    let before = machine.settled()?;
    let mut command = machine.command("wg-quick")?;
    command.args(["up", "wg0"]).process_group(0).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("the hook", LIMIT, || machine.runs("sleep 1002").then_some(()))?;
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    assert_eq!(exit_code(child)?, Some(130));
    machine.assert_as(&before)
}

#[test]
fn a_daemon_that_does_not_answer_can_be_interrupted() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PreUp = sleep 1005 || :\n{PEER}"))?;
    let before = machine.settled()?;
    let mut command = machine.command("wg-quick")?;
    command.args(["up", "wg0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("no pipe")?).lines();
    let pids = |is_it: fn(&str) -> bool| -> Result<String> {
        let all = machine.host.processes()?;
        let pids = all.iter().filter(|process| is_it(&process.command));
        Ok(pids.map(|process| process.pid.to_string()).collect::<Vec<_>>().join(" "))
    };
    eventually("the hook", LIMIT, || machine.runs("sleep 1005").then_some(()))?;
    let daemon = pids(|command| command.contains("wireguard-go"))?;
    if daemon.is_empty() {
        // The kernel does the work here, and always answers.
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
        exit_code(child)?;
        return Ok(());
    }
    machine.host.run(&format!("kill -STOP {daemon}"))?.success()?;
    machine.host.run(&format!("kill {}", pids(|command| command == "sleep 1005")?))?.success()?;
    lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("[#] wg addconf")));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    assert!(
        eventually("the rollback", LIMIT, || {
            let links = machine.host.run("ip -o link show").ok()?;
            (!links.stdout.contains("wg0")).then_some(())
        })
        .is_ok()
    );
    machine.host.run(&format!("kill -CONT {daemon}"))?.success()?;
    assert_eq!(exit_code(child)?, Some(130));
    machine.assert_as(&before)
}

#[test]
fn hooks_get_the_signals_that_we_take() -> Result<()> {
    let machine = Machine::new()?;
    // Were SIGTERM blocked, this hook would not end.
    machine.config(format!("{INTERFACE}PostUp = kill -TERM $BASHPID; sleep 1003\n{PEER}"))?;
    let before = machine.settled()?;
    machine.wg_quick("up wg0")?.code(143)?;
    machine.assert_as(&before)
}

#[test]
fn down_interrupted_in_its_first_hook_removes_nothing() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PreDown = sleep 1004\n{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    let up = machine.snapshot()?;
    let child = machine.start("down wg0", "sleep 1004")?;
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    assert_eq!(exit_code(child)?, Some(130));
    assert_eq!(up.difference(&machine.snapshot()?), "");
    Ok(())
}

#[test]
fn a_daemon_that_was_starting_ends_with_a_killed_up() -> Result<()> {
    let machine = Machine::new()?;
    if machine.host.run("ip link add probe type wireguard")?.status.success() {
        // The kernel does the work here, and no daemon is started.
        return Ok(());
    }
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.host.write_file("/etc/wireguard/slow", "#!/bin/sh\nexec sleep 1006\n", 0o755)?;
    let mut command = machine.host.command("wg-quick");
    command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "/etc/wireguard/slow").args(["up", "wg0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    eventually("the daemon", LIMIT, || machine.runs("sleep 1006").then_some(()))?;
    child.kill()?;
    child.wait()?;
    eventually("the daemon's end", LIMIT, || (!machine.runs("sleep 1006")).then_some(()))
}

#[test]
fn commands_after_down_are_run_by_the_next_when_a_signal_comes_before_them() -> Result<()> {
    let machine = Machine::new()?;
    let config = format!("{INTERFACE}DNS = 10.66.0.1\nPostDown = echo gone\n{PEER}");
    machine.config(config)?;
    let slow = "#!/bin/sh\n[ \"$1\" = -a ] || [ -e /run/fast ] || sleep 1008\n";
    own_resolvconf(&machine, slow)?;
    let before = machine.settled()?;
    let wg_quick = |verb: &str| with_own_resolvconf(&machine, verb);
    for next in ["down", "up"] {
        machine.host.run_command(&mut wg_quick("up")?, "")?.success()?;
        let mut down = wg_quick("down")?;
        let child =
            down.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        eventually("resolvconf", LIMIT, || machine.runs("sleep 1008").then_some(()))?;
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
        exit_code(child)?;
        machine.settled()?;
        machine.host.run("touch /run/fast")?.success()?;
        let output = machine.host.run_command(&mut wg_quick(next)?, "")?.success()?;
        assert_eq!(output.stdout, "gone\n", "{next}");
        if next == "up" {
            machine.host.run_command(&mut wg_quick("down")?, "")?.success()?;
        }
        machine.host.run("rm /run/fast")?.success()?;
        machine.assert_as(&before)?;
    }
    Ok(())
}

#[test]
fn signals_do_not_end_the_rollback_of_up() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = exit 9\n{PEER}"))?;
    let slow = "#!/bin/sh\n[ \"$1\" = -d ] || exit 0\ntouch /run/begun\n\
                until [ -e /run/go ]; do sleep 0.01; done\ntouch /run/ended\n";
    own_resolvconf(&machine, slow)?;
    let before = machine.settled()?;
    let mut command = with_own_resolvconf(&machine, "up")?;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    eventually("resolvconf", LIMIT, || machine.host.read_file("/run/begun").ok())?;
    let pid = wg_quick_of(&child)?;
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        // To us alone, and to all as the terminal does.
        kill(pid, signal)?;
        wait_until_taken(pid)?;
        killpg(Pid::from_raw(child.id() as i32), signal)?;
        wait_until_taken(pid)?;
    }
    machine.host.run("touch /run/go")?.success()?;
    assert_eq!(exit_code(child)?, Some(9));
    machine.host.run("rm /run/begun /run/go /run/ended")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_second_signal_does_not_end_the_undoing_of_a_reload() -> Result<()> {
    let machine = Machine::new()?;
    let slow = "#!/bin/sh\n[ ! -e /run/slow ] || exec sleep 1013\n";
    own_resolvconf(&machine, slow)?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\n{PEER}"))?;
    machine.host.run_command(&mut with_own_resolvconf(&machine, "up")?, "")?.success()?;
    let addresses = || machine.host.run("ip address show wg0")?.success();
    let up = addresses()?.stdout;
    let all = machine.host.processes()?;
    let daemon = all.iter().find(|process| process.command.contains("wireguard-go"));
    machine.config(format!("{INTERFACE}Address = 10.66.9.9/32\nDNS = 10.66.0.2\n{PEER}"))?;
    machine.host.write_file("/run/slow", "", 0o600)?;
    let mut command = with_own_resolvconf(&machine, "reload")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    eventually("resolvconf", LIMIT, || machine.runs("sleep 1013").then_some(()))?;
    let half = addresses()?.stdout;
    assert!(half.contains("10.66.9.9"), "{half}");
    machine.host.run("rm /run/slow")?.success()?;
    if let Some(daemon) = daemon {
        // The first thing that undoing needs is its answer.
        machine.host.run(&format!("kill -STOP {}", daemon.pid))?.success()?;
    }
    let pid = wg_quick_of(&child)?;
    kill(pid, Signal::SIGINT)?;
    if daemon.is_some() {
        let threads = || Some(std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count());
        eventually("the thread that asks", LIMIT, || threads().filter(|number| *number == 2))?;
    }
    kill(pid, Signal::SIGINT)?;
    wait_until_taken(pid)?;
    if let Some(daemon) = daemon {
        machine.host.run(&format!("kill -CONT {}", daemon.pid))?.success()?;
    }
    assert_eq!(exit_code(child)?, Some(130));
    assert_eq!(addresses()?.stdout, up);
    // Nothing is left to carry on.
    machine.host.run_command(&mut with_own_resolvconf(&machine, "save")?, "")?.success()?;
    Ok(())
}

fn own_resolvconf(machine: &Machine, script: &str) -> Result<()> {
    machine.host.run("mkdir /run/bin")?.success()?;
    machine.host.write_file("/run/bin/resolvconf", script, 0o755)
}

/// A command for wg0 that finds the test's own resolvconf first.
fn with_own_resolvconf(machine: &Machine, verb: &str) -> Result<Command> {
    let mut command = machine.command("wg-quick")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let own = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
    let path = own.map_or(path, |own| own.to_string_lossy().into_owned());
    command.env("PATH", format!("/run/bin:{path}")).args([verb, "wg0"]);
    Ok(command)
}

/// The program itself, whose parent is the process that entered its namespaces.
fn wg_quick_of(child: &Child) -> Result<Pid> {
    let id = child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    Ok(Pid::from_raw(children.trim().parse()?))
}

/// Waits until the process has taken all signals that it was sent, or has ended.
fn wait_until_taken(pid: Pid) -> Result<()> {
    eventually("the signal", LIMIT, || {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
            return Some(());
        };
        let mut pending = status.lines().filter_map(|line| {
            line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))
        });
        // The end of a child, SIGCHLD, may be pending for longer.
        let asked = [Signal::SIGINT, Signal::SIGHUP].map(|signal| 1 << (signal as u32 - 1));
        let asked: u64 = asked.iter().sum();
        let none = |mask: &str| u64::from_str_radix(mask.trim(), 16).is_ok_and(|m| m & asked == 0);
        pending.all(none).then_some(())
    })
}
