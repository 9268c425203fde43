//! Down after the file, or the process that brought the tunnel up, is gone; and two at a time.

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::report::{self, Entry};

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
fn down_works_with_any_path_and_gives_it_to_the_commands_of_the_journal() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.settled()?;
    let folder = "/run/a\nb %20";
    let config = format!("{INTERFACE}PostDown = printf %s \"$CONFIG_FILE\"\n{PEER}");
    machine.host.run_command(machine.host.command("mkdir").arg(folder), "")?.success()?;
    machine.host.write_file(&format!("{folder}/wg0.conf"), &config, 0o600)?;
    let up = ["up", &format!("{folder}/wg0.conf")];
    machine.host.run_command(machine.command("wg-quick")?.args(up), "")?.success()?;
    machine.host.run_command(machine.host.command("rm").args(["-r", folder]), "")?.success()?;
    let output = machine.wg_quick("down wg0")?.success()?;
    assert_eq!(output.stdout, format!("{folder}/wg0.conf"));
    machine.assert_as(&before)
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
fn a_journal_that_is_not_understood_is_kept_aside() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PostDown = echo down\n{PEER}"))?;
    for damage in ["printf 'undo x\\n'", "printf '\\377\\n'", "printf 'wg-quick journal 2\\n'"] {
        let damage = format!("{damage} >> /run/wg-quick/wg0");
        let damage = |machine: &Machine| {
            machine
                .host
                .run_command(machine.host.command("sh").args(["-c", &damage]), "")?
                .success()
        };
        machine.wg_quick("up wg0")?.success()?;
        damage(&machine)?;
        let output = machine.wg_quick("down wg0")?.success()?;
        assert_eq!(output.stdout, "down\n");
        assert_eq!(output.stderr.matches("Going on without it").count(), 1, "{output}");
        machine.host.run("ip link show wg0")?.code(1)?;
        machine.host.run("rm /run/wg-quick/wg0@damaged")?.success()?;
        machine.settled()?;

        machine.host.run("mkdir -p /run/wg-quick")?.success()?;
        damage(&machine)?;
        machine.wg_quick("up wg0")?.success()?;
        machine.wg_quick("down wg0")?.success()?;
        machine.settled()?;
        machine.host.run("rm /run/wg-quick/wg0@damaged")?.success()?;
    }
    Ok(())
}

#[test]
fn down_without_a_journal_needs_only_the_settings_of_wg_quick() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    machine.host.run("rm -r /run/wg-quick")?.success()?;
    let wrong = "[Interface]\nPrivateKey = x\nAddress = y\nPreDown = echo a\nPostDown = echo b\n";
    machine.config(format!("{wrong}[Peer]\nEndpoint = z\nPostDown = echo c\n"))?;
    let output = machine.wg_quick("down wg0")?.success()?;
    assert_eq!(output.stdout, "a\nb\n");
    assert!(output.stderr.contains("/etc/wireguard/wg0.conf:2:14"), "{output}");
    machine.host.run("ip link show wg0")?.code(1)?;
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
    machine.kill("wg-quick up wg0")?;
    exit_code(child)?;
    machine.kill("sleep 1005")?;
    machine.wg_quick("down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn up_after_a_killed_up_says_what_it_found_and_cleans_it() -> Result<()> {
    let machine = Machine::new()?;
    let full = PEER.replace("AllowedIPs =", "AllowedIPs = 0.0.0.0/0, ::/0,");
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = sleep 1007\n{full}"))?;
    let before = machine.settled()?;
    let child = machine.start("up wg0", "sleep 1007")?;
    machine.kill("wg-quick up wg0")?;
    exit_code(child)?;
    machine.kill("sleep 1007")?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = true      \n{full}"))?;
    let output = machine.wg_quick("up wg0")?.success()?;
    let found = "[!] An `up' of `wg0' was interrupted. Removing what it left.\n[#] ip -4 rule";
    assert!(output.stderr.contains(found), "{output}");
    let rules = machine.host.run("ip -4 rule")?.stdout;
    assert_eq!(rules.matches("lookup 51820").count(), 1, "{rules}");
    machine.wg_quick("down wg0")?.success()?;
    machine.config(format!("{INTERFACE}DNS = 10.66.0.1\nPostUp = sleep 1007\n{full}"))?;
    machine.assert_as(&before)
}

#[test]
fn a_full_run_costs_the_journal_and_no_more() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.host.run("mkdir /run/wg-quick")?.success()?;
    machine.host.run("mount -t tmpfs -o size=4k,nr_inodes=8 none /run/wg-quick")?.success()?;
    // One page, and it is taken.
    machine.host.run("cp /proc/version /run/wg-quick/taken")?.success()?;
    let before = machine.settled()?;
    let output = machine.wg_quick("up wg0")?.success()?;
    assert!(output.stderr.contains("[!] Without a journal"), "{output}");
    assert!(output.stderr.contains("No space left on device"), "{output}");
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
        return report::add(&Entry::Skipped {
            test: "a_socket_that_a_killed_daemon_left_is_removed_by_down".to_owned(),
            reason: "the kernel has WireGuard and needs no daemon".to_owned(),
        });
    }
    machine.kill("wireguard-go wg0")?;
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
    let output = machine.wg_quick("up wg0")?.success()?;
    assert!(output.stderr.contains("[!] `wg0' went without a `down'."), "{output}");
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
