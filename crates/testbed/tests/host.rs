//! What a test host promises.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use testbed::{Amount, Host, Ping, connect, eventually, tcp_transfer};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn files_are_private_and_the_real_ones_untouched() -> Result<()> {
    let real = fs::read("/etc/hosts")?;
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    a.write_file("/etc/wireguard/wg0.conf", "[Interface]\n", 0o600)?;
    a.add_host_name(ip("192.0.2.7"), "seven.example")?;
    let listing = a.run("stat -c %a:%s /etc/wireguard/wg0.conf")?.success()?;
    assert_eq!(listing.stdout, "600:12\n");
    assert_eq!(
        a.run("getent hosts seven.example")?.success()?.stdout.split_whitespace().next(),
        Some("192.0.2.7")
    );
    assert!(!b.run("getent hosts seven.example")?.status.success());
    assert_eq!(b.run("ls /etc/wireguard /run/wireguard")?.stdout, "/etc/wireguard:\n");
    assert_eq!(a.run("hostname")?.success()?.stdout, "a\n");
    a.run("mkdir /run/wireguard")?.success()?;
    a.run("touch /var/run/wireguard/wg0.sock")?.success()?;
    assert!(a.path("/run/wireguard/wg0.sock").exists());
    // The real folder is in reach for reading only.
    a.run("touch /run/host/etc/passwd")?.code(1)?;
    assert_eq!(fs::read("/etc/hosts")?, real);
    Ok(())
}

#[test]
fn exit_codes_signals_and_missing_programs_come_through() -> Result<()> {
    let host = Host::new("codes")?;
    let mut shell = host.command("sh");
    assert_eq!(
        host.run_command(shell.args(["-c", "echo out; echo err >&2; exit 7"]), "")?.code(7)?.stderr,
        "err\n"
    );
    let mut shell = host.command("sh");
    let killed = host.run_command(shell.args(["-c", "kill -TERM $$"]), "")?;
    assert_eq!(killed.status.signal(), Some(nix::libc::SIGTERM));
    assert_eq!(host.run_with_input("cat", "in\n")?.success()?.stdout, "in\n");
    let missing = host.run("no-such-program").expect_err("it does not exist");
    assert!(format!("{missing:#}").contains("No such file"), "{missing:#}");
    Ok(())
}

#[test]
fn a_signal_to_the_command_reaches_the_program_inside() -> Result<()> {
    let host = Host::new("signals")?;
    let mut child = host
        .command("sh")
        .args(["-c", "trap 'echo trapped; exit 3' INT; echo ready; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdout = child.stdout.take().expect("it was piped");
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready)?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().try_into()?),
        nix::sys::signal::Signal::SIGINT,
    )?;
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    assert_eq!((rest.as_str(), child.wait()?.code()), ("trapped\n", Some(3)));
    Ok(())
}

#[test]
fn a_daemon_that_holds_the_output_is_named() -> Result<()> {
    let host = Host::new("daemons")?;
    let error = host.run("setsid --fork sleep 4711").expect_err("the daemon inherited the pipes");
    assert!(format!("{error:#}").contains("`setsid --fork sleep 4711` ended, but"), "{error:#}");
    Ok(())
}

#[test]
fn daemons_end_with_the_host() -> Result<()> {
    let host = Host::new("daemons")?;
    let seconds = nobody_elses_seconds(std::process::id(), 1);
    start_daemon(&host, seconds)?;
    assert_eq!(running_outside(seconds)?, 1);
    drop(host);
    assert_eq!(running_outside(seconds)?, 0);
    Ok(())
}

#[test]
fn daemons_end_with_the_killed_test() -> Result<()> {
    let mut test = Command::new(std::env::current_exe()?)
        .args(["--exact", "waits_to_be_killed", "--ignored"])
        .stdout(Stdio::null())
        .spawn()?;
    let seconds = nobody_elses_seconds(test.id(), 2);
    let limit = Duration::from_secs(20);
    eventually("the daemon", limit, || (running_outside(seconds).ok()? == 1).then_some(()))?;
    test.kill()?;
    test.wait()?;
    eventually("its end", limit, || (running_outside(seconds).ok()? == 0).then_some(()))
}

#[test]
#[ignore = "another test starts this one in a process of its own"]
fn waits_to_be_killed() -> Result<()> {
    let host = Host::new("killed")?;
    start_daemon(&host, nobody_elses_seconds(std::process::id(), 2))?;
    loop {
        std::thread::park();
    }
}

/// A number of seconds to sleep that tells this test's process from others on the machine.
fn nobody_elses_seconds(process: u32, test: u32) -> u32 {
    process * 10 + test
}

fn start_daemon(host: &Host, seconds: u32) -> Result<()> {
    let line = format!("setsid --fork sleep {seconds} >/dev/null 2>&1");
    host.run_command(host.command("sh").args(["-c", &line]), "")?.success()?;
    eventually("the daemon", Duration::from_secs(5), || {
        let processes = host.processes().ok()?;
        processes.iter().any(|p| p.command == format!("sleep {seconds}")).then_some(())
    })
}

fn running_outside(seconds: u32) -> Result<usize> {
    let arguments = format!("sleep\0{seconds}\0");
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let file = entry?.path().join("cmdline");
        count += usize::from(fs::read(file).is_ok_and(|line| line == arguments.as_bytes()));
    }
    Ok(count)
}

#[test]
fn snapshots_show_a_change_and_its_end() -> Result<()> {
    let host = Host::new("snapshot")?;
    let before = host.snapshot()?;
    let other = Host::new("other")?;
    connect(&host, "eth0", &other, "eth0")?;
    host.add_address("eth0", "198.51.100.1/24")?;
    let difference = before.difference(&host.snapshot()?);
    for expected in
        ["ip addr:\n", "+     inet 198.51.100.1/24", "ip -4 route:\n+ 198.51.100.0/24 dev eth0"]
    {
        assert!(difference.contains(expected), "{expected:?} is not in\n{difference}");
    }
    host.delete_link("eth0")?;
    assert_eq!(before.difference(&host.snapshot()?), "");
    Ok(())
}

#[test]
fn hosts_talk_over_a_cable() -> Result<()> {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    connect(&a, "eth0", &b, "eth0")?;
    a.add_address("eth0", "192.0.2.1/24")?;
    b.add_address("eth0", "192.0.2.2/24")?;
    a.add_address("eth0", "2001:db8::1/64")?;
    b.add_address("eth0", "2001:db8::2/64")?;
    for target in ["192.0.2.2", "2001:db8::2"] {
        assert_eq!(a.ping(ip(target))?.loss(), 0);
        let transfer =
            tcp_transfer(&a, &b, ip(target), Amount::Bytes(3_000_000), Duration::from_secs(5))?;
        assert_eq!(transfer.bytes, 3_000_000);
    }
    let short = Ping { count: 1, patience: Duration::from_millis(100), ..Ping::default() };
    assert_eq!(a.ping_with(ip("192.0.2.3"), short)?.loss(), 100);
    tcp_transfer(&a, &b, ip("192.0.2.3"), Amount::Bytes(1), Duration::from_secs(1))
        .expect_err("the receiver does not have that address");
    Ok(())
}

#[test]
fn a_command_ends_with_its_host() -> Result<()> {
    let host = Host::new("gone")?;
    let mut sleeper = host.command("sleep").arg("4714").spawn()?;
    eventually("the sleeper", Duration::from_secs(5), || {
        host.processes().ok()?.into_iter().find(|p| p.command == "sleep 4714")
    })?;
    let pid = host.init_pid();
    drop(host);
    assert_eq!(sleeper.wait()?.signal(), Some(nix::libc::SIGKILL));
    assert!(!fs::exists(format!("/proc/{pid}"))?);
    Ok(())
}
