//! Signals while a slow hook runs.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use anyhow::Result;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use testbed::eventually;

use crate::machine::{INTERFACE, LIMIT, Machine, PEER, exit_code};

#[test]
fn a_signal_ends_the_hook_and_undoes_everything() -> Result<()> {
    let machine = Machine::new()?;
    for (hook, signal, code) in [
        ("PostUp = sleep 1001; echo never", Signal::SIGINT, 130),
        ("PreUp = sleep 1001", Signal::SIGTERM, 143),
        ("PostUp = (sleep 1001 & wait)", Signal::SIGHUP, 129),
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
