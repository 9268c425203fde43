//! Up and down, and the host as before.

use anyhow::Result;
use std::os::unix::fs::PermissionsExt;
use testbed::{Host, Output, originals};

use crate::captures::ours;
use crate::machine::{INTERFACE, Machine, PEER};

#[test]
fn down_leaves_the_host_as_it_was() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let before = machine.settled()?;
    machine.wg_quick("up wg0")?.success()?;
    let up = machine.snapshot()?;
    assert!(up.topic("ip addr").contains("inet 10.66.0.2/24 scope global wg0"), "{up}");
    assert!(up.topic("ip -4 route").contains("172.16.5.0/24 dev wg0 scope link"), "{up}");
    machine.wg_quick("down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn the_port_is_open_when_up_returns() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}ListenPort = 51899\n{PEER}"))?;
    for _ in 0..10 {
        ours(&machine, "up wg0")?.success()?;
        let sockets = machine.host.run("ss -Hlnu")?.success()?.stdout;
        assert!(sockets.contains(":51899 "), "{sockets}");
        ours(&machine, "down wg0")?.success()?;
    }
    Ok(())
}

#[test]
fn a_path_and_a_name_are_the_same_tunnel() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    let before = machine.settled()?;
    machine.wg_quick("up /etc/wireguard/wg0.conf")?.success()?;
    machine.wg_quick("down wg0")?.success()?;
    machine.assert_as(&before)
}

#[test]
fn a_step_that_the_kernel_refuses_is_undone_with_all_before_it() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.settled()?;
    machine.config(format!("{INTERFACE}Table = main\n{PEER}"))?;
    let before_config = machine.settled()?;
    assert_ne!(before, before_config);
    let output = machine.wg_quick("up wg0")?.code(2)?;
    let refusal = "wg-quick: wg0: add route 10.66.0.0/24 in table 254: File exists\n\
                   [#] ip link delete dev wg0\n";
    assert!(output.stderr.ends_with(refusal), "{output}");
    machine.assert_as(&before_config)
}

#[test]
fn a_renamed_interface_is_undone() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PreUp = ip link set dev %i name other\n{PEER}"))?;
    let before = machine.settled()?;
    machine.wg_quick("up wg0")?.code(1)?;
    machine.assert_as(&before)
}

#[test]
fn another_interface_that_took_the_name_stays() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}{PEER}"))?;
    machine.wg_quick("up wg0")?.success()?;
    machine.host.run("ip link delete wg0")?.success()?;
    machine.settled()?;
    machine.host.run("ip tuntap add wg0 mode tun")?.success()?;
    let output = machine.wg_quick("down wg0")?.code(1)?;
    assert_eq!(output.stderr, "wg-quick: `wg0' is not a WireGuard interface\n");
    machine.host.run("ip link show dev wg0")?.success()?;
    Ok(())
}

#[test]
fn a_hook_is_not_for_everybody_to_read_and_may_be_long() -> Result<()> {
    let machine = Machine::new()?;
    let hook = format!("tr '\\0' ' ' </proc/$$/cmdline; : {}", "secret".repeat(30_000));
    machine.config(format!("{INTERFACE}PostUp = {hook}\n{PEER}"))?;
    let output = machine.wg_quick("up wg0")?.success()?;
    assert!(output.stdout.contains("wg-quick wg0"), "{}", output.stdout);
    assert!(!output.stdout.contains("secret"), "{}", output.stdout);
    machine.wg_quick("down wg0")?.success()?;
    Ok(())
}

#[test]
fn a_failing_hook_is_undone() -> Result<()> {
    let machine = Machine::new()?;
    for (hook, code) in [("PreUp = exit 3", 3), ("PostUp = false; echo not reached", 1)] {
        machine.config(format!("{INTERFACE}{hook}\n{PEER}"))?;
        let before = machine.settled()?;
        let output = machine.wg_quick("up wg0")?.code(code)?;
        assert!(output.stderr.ends_with("[#] ip link delete dev wg0\n"), "{output}");
        assert_eq!(output.stdout, "");
        machine.assert_as(&before)?;
    }
    Ok(())
}

#[test]
fn the_daemon_beside_the_program_needs_no_name() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("wg-quick-beside-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(env!("CARGO_BIN_EXE_wg-quick"), folder.join("wg-quick"))?;
    let daemon = folder.join("wg-userspace");
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", originals::wireguard_go()?.display());
    std::fs::write(&daemon, script)?;
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755))?;

    let tested = (|| {
        let host = Host::with_programs("beside", &folder)?;
        host.write_file("/etc/wireguard/wg0.conf", INTERFACE, 0o600)?;
        let output = host.run("wg-quick up wg0")?.success()?;
        if output.stderr.contains("[!]") {
            assert!(output.stderr.contains("\n[#] wg-userspace wg0\n"), "{output}");
        }
        host.run("wg-quick down wg0")?.success()
    })();
    std::fs::remove_dir_all(&folder)?;
    tested.map(|_| ())
}

#[test]
fn without_bash_hooks_run_with_sh_which_is_said_once() -> Result<()> {
    let machine = Machine::new()?;
    machine.config(format!("{INTERFACE}PostUp = echo $INTERFACE\nPostUp = echo two\n"))?;
    // A PATH with sh in it, and no bash.
    machine.host.run("mkdir /run/bin")?.success()?;
    machine.host.run("ln -s /bin/sh /run/bin/sh")?.success()?;
    let mut command = machine.command(env!("CARGO_BIN_EXE_wg-quick"))?;
    command.env("PATH", "/run/bin").args(["up", "wg0"]);
    let output = machine.host.run_command(&mut command, "")?.success()?;
    assert_eq!(output.stdout, "wg0\ntwo\n");
    assert_eq!(output.stderr.matches("There is no bash").count(), 1, "{output}");
    Ok(())
}

#[test]
fn who_is_not_root_is_sent_through_sudo() -> Result<()> {
    let machine = Machine::new()?;
    // The machine may have a sudo of its own in any folder but this.
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n";
    machine.host.run("mkdir /run/bin")?.success()?;
    let as_nobody = |path: &str| -> Result<Output> {
        let mut command = machine.host.command("/usr/bin/setpriv");
        command.env("PATH", path).args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args([env!("CARGO_BIN_EXE_wg-quick"), "up", "wg0"]);
        machine.host.run_command(&mut command, "")
    };
    as_nobody("/run/bin")?.code(127)?;
    machine.host.write_file("/run/bin/sudo", script, 0o755)?;
    let output = as_nobody("/run/bin")?.success()?;
    let expected = format!(
        "-p\nwg-quick must be run as root. Please enter the password for %u to continue: \n--\n{}\n\
         up\nwg0\n",
        env!("CARGO_BIN_EXE_wg-quick")
    );
    assert_eq!(output.stdout, expected);
    Ok(())
}
