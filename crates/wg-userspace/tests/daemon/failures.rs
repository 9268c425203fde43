//! What is in the way gets one sentence and exit code 1, and nothing is left.

use anyhow::{Result, ensure};
use testbed::{Host, connect};

/// Runs a command line that must fail and wants `expected` in its one line of error.
fn refused(host: &Host, line: &str, expected: &str) -> Result<()> {
    let interfaces = host.interfaces()?;
    let output = host.run(line)?.code(1)?;
    ensure!(output.stdout.is_empty(), "{}", output.stdout);
    ensure!(output.stderr.contains(expected), "{line}: {}", output.stderr);
    ensure!(output.stderr.lines().count() == 1, "{}", output.stderr);
    ensure!(host.interfaces()? == interfaces, "an interface is left");
    Ok(())
}

#[test]
fn names_and_interfaces_that_cannot_be_used() -> Result<()> {
    let (host, other) = (Host::new("names")?, Host::new("other")?);
    connect(&host, "eth0", &other, "eth0")?;
    refused(&host, "wg-userspace -f eth0", "the interface `eth0' exists already")?;
    refused(&host, "wg-userspace eth0", "the interface `eth0' exists already")?;
    refused(&host, "wg-userspace 0123456789abcdef", "expected 1 to 15 characters")?;
    refused(&host, "wg-userspace wg/0", "cannot name an interface")?;
    refused(&host, "wg-userspace wg%d", "cannot name an interface")?;
    host.run("wg-userspace wg0")?.success()?;
    refused(&host, "wg-userspace wg0", "the interface `wg0' exists already")
}

#[test]
fn a_device_that_cannot_be_opened() -> Result<()> {
    let host = Host::new("device")?;
    host.write_file("/run/no-tun", "mount -t tmpfs none /dev && exec wg-userspace wg0", 0o644)?;
    refused(
        &host,
        "unshare --mount sh /run/no-tun",
        "cannot open /dev/net/tun: No such file or directory",
    )
}

#[test]
fn a_file_in_the_place_of_the_socket() -> Result<()> {
    let host = Host::new("file")?;
    host.run("mkdir /run/wireguard")?.success()?;
    host.write_file("/run/wireguard/wg0.sock", "precious", 0o644)?;
    refused(&host, "wg-userspace wg0", "exists and is not a socket")?;
    ensure!(host.read_file("/run/wireguard/wg0.sock")? == "precious");
    Ok(())
}

#[test]
fn variables_that_make_no_sense() -> Result<()> {
    let host = Host::new("variables")?;
    for (variable, expected) in [
        ("WG_NO_OFFLOAD=tso", "WG_NO_OFFLOAD: unknown offload `tso': expected a list of"),
        (
            "WG_LANES=none",
            "WG_LANES: `none' is no number of lanes: expected LANES or LANESxWORKERS",
        ),
        ("WG_LANES=0x2", "at most 16 lanes of 8 workers"),
        ("WG_LANES=1x9", "at most 16 lanes of 8 workers"),
    ] {
        refused(&host, &format!("env {variable} wg-userspace wg0"), expected)?;
    }
    Ok(())
}

#[test]
fn arguments_that_make_no_sense() -> Result<()> {
    let host = Host::new("arguments")?;
    for line in ["wg-userspace", "wg-userspace --nonsense wg0", "wg-userspace wg0 wg1"] {
        let output = host.run(line)?.code(1)?;
        ensure!(output.stderr.contains("Usage: wg-userspace"), "{}", output.stderr);
    }
    let help = host.run("wg-userspace --help")?.success()?;
    ensure!(help.stdout.contains("WG_TUN_FD"), "{}", help.stdout);
    ensure!(host.run("wg-userspace --version")?.success()?.stdout.starts_with("wg-userspace "));
    Ok(())
}
