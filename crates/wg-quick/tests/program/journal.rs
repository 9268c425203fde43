//! Down after the file, or the process that brought the tunnel up, is gone; and two at a time.

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{INTERFACE, Machine, PEER, exit_code};

#[test]
fn the_journal_is_private() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    let modes = machine.host.run("stat -c %a%n /run/wg-quick /run/wg-quick/wg0")?.success()?;
    assert_eq!(modes.stdout, "700/run/wg-quick\n600/run/wg-quick/wg0\n");
    let journal = machine.host.read_file("/run/wg-quick/wg0")?;
    assert!(!journal.contains("kLYkcympiJC9"), "no key in {journal}");
    machine.wg_quick("down wg0")?.success()?;
    machine.host.run("test ! -e /run/wg-quick")?.success()?;
    Ok(())
}

#[test]
fn down_works_after_the_file_was_deleted() -> Result<()> {
    let machine = Machine::new()?;
    machine.host.run("rm -rf /etc/wireguard/wg0.conf")?;
    let before = machine.settled()?;
    machine.config(format!("{INTERFACE}PostDown = echo down %i\n{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    machine.host.run("rm /etc/wireguard/wg0.conf")?.success()?;
    let output = machine.wg_quick("down wg0")?.success()?;
    assert_eq!(output.stdout, "down wg0\n");
    assert_eq!(output.stderr, "[#] ip link delete dev wg0\n[#] echo down wg0\n");
    machine.assert_as(&before)?;
    let output = machine.wg_quick("down wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: `/etc/wireguard/wg0.conf' does not exist\n");
    Ok(())
}

#[test]
fn down_works_after_the_file_was_broken() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PreDown = echo leaving\n{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    machine.config("[Interface]\nAdress = 10.0.0.1\n")?;
    let output = machine.wg_quick("down wg0")?.success()?;
    assert_eq!(output.stdout, "leaving\n");
    assert!(output.stderr.contains("Adress"), "{output}");
    Ok(())
}

#[test]
fn the_files_commands_count_as_it_is_now() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PreDown = exit 1\n{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    machine.wg_quick("down wg0")?.code(1)?;
    machine.config(format!("{INTERFACE}PreDown = echo mended\n{PEER}"))?;
    assert_eq!(machine.wg_quick("down wg0")?.success()?.stdout, "mended\n");
    Ok(())
}

#[test]
fn what_a_killed_up_left_is_removed_by_down() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PostUp = sleep 1005\n{PEER}"))?;
    let before = machine.settled()?;
    let child = machine.start("up wg0", "sleep 1005")?;
    machine.host.run("pkill -KILL wg-quick")?.success()?;
    exit_code(child)?;
    machine.host.run("pkill -KILL -x sleep")?.success()?;
    assert_eq!(machine.wg_quick("up wg0")?.code(1)?.stderr, "wg-quick: `wg0' already exists\n");
    machine.wg_quick("down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_removed_by_down() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let before = machine.settled()?;
    let output = machine.wg_quick("up wg0")?.success()?;
    if !output.stderr.contains("[!]") {
        eprintln!("SKIPPED: the kernel has WireGuard and needs no daemon");
        return Ok(());
    }
    machine.host.run("pkill -KILL wireguard-go")?.success()?;
    machine.settled()?;
    machine.wg_quick("down wg0")?.code(1)?;
    machine.assert_as(&before)
}

#[test]
fn a_stale_journal_does_not_hinder_up() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let before = machine.settled()?;
    machine.wg_quick("up wg0")?.success()?;
    machine.host.run("ip link delete dev wg0")?.success()?;
    machine.settled()?;
    let output = machine.wg_quick("down wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: `wg0' is not a WireGuard interface\n");
    machine.assert_as(&before)?;

    machine.wg_quick("up wg0")?.success()?;
    machine.host.run("ip link delete dev wg0")?.success()?;
    machine.settled()?;
    machine.wg_quick("up wg0")?.success()?;
    machine.wg_quick("down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn two_at_a_time_do_not_interleave() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PostUp = sleep 1006\n{PEER}"))?;
    let before = machine.settled()?;
    let child = machine.start("up wg0", "sleep 1006")?;
    let output = machine.wg_quick("down wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: another wg-quick is at work on `wg0'\n");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
    assert_eq!(exit_code(child)?, Some(143));
    machine.assert_as(&before)
}
