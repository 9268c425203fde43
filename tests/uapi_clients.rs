//! Clients of the daemon's control socket that send half a line, far too much, or nothing, while a
//! tunnel runs: whoever else asks is served, packets go on, and memory does not grow.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::{Daemon, OUTER_V4, Pair};
use testbed::Host;

/// How long the daemon may take to answer or to hang up on a client.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_tunnel_goes_on() -> Result<()> {
    let pair = Pair::start(Daemon::Ours, Daemon::Ours, OUTER_V4)?;
    let host = &pair.initiator;
    let before = device(host)?;
    let memory = peak_memory(host)?;

    let mut hanging = Vec::new();
    for half in [
        &b""[..],
        b"g",
        b"get=1",
        b"get=1\n",
        b"set=1\nlisten_port=4711",
        b"set=1\nlisten_port=4711\n",
    ] {
        let mut client = connect(host)?;
        client.write_all(half)?;
        hanging.push(client);
        let mut client = connect(host)?;
        client.write_all(half)?;
        drop(client);
        ensure!(device(host)? == before, "`{}` changed the device", half.escape_ascii());
    }
    // More of them than a server with a handful of places could bear.
    for _ in 0..50 {
        hanging.push(connect(host)?);
    }
    ensure!(device(host)? == before, "clients that hang keep others out");
    ensure!(pair.initiator.ping(pair.responder_addresses()[0])?.loss() == 0, "packets are lost");

    endless_line(host)?;
    ensure!(device(host)? == before, "an endless line changed the device");
    let grown = peak_memory(host)?.saturating_sub(memory);
    ensure!(grown < 8 << 20, "the daemon grew by {grown} bytes");
    ensure!(pair.responder.ping(pair.initiator_addresses()[0])?.loss() == 0, "packets are lost");
    Ok(())
}

/// Ten megabytes without a newline. The daemon may hang up at any point, or read it all and refuse.
fn endless_line(host: &Host) -> Result<()> {
    let mut client = connect(host)?;
    let block = vec![b'a'; 1 << 20];
    for _ in 0..10 {
        match client.write_all(&block) {
            Ok(()) => {}
            Err(error)
                if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error).context("the daemon neither reads nor hangs up"),
        }
    }
    let _ = client.write_all(b"\n\n");
    let answer = answer(&mut client, host)?;
    ensure!(!answer.contains("errno=0\n"), "ten megabytes of nothing were taken: {answer}");
    Ok(())
}

fn connect(host: &Host) -> Result<UnixStream> {
    let socket = host.path("/run/wireguard/wg0.sock");
    let client = UnixStream::connect(socket).context("cannot connect to the daemon")?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// What the daemon says until an empty line or until it hangs up.
fn answer(client: &mut UnixStream, host: &Host) -> Result<String> {
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    while !answer.ends_with(b"\n\n") {
        match client.read(&mut block) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&block[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => {
                return Err(error).with_context(|| format!("no answer from {}", host.name()));
            }
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What the device is, counters and handshakes aside.
fn device(host: &Host) -> Result<String> {
    let mut client = connect(host)?;
    client.write_all(b"get=1\n\n")?;
    let answer = answer(&mut client, host)?;
    ensure!(answer.ends_with("errno=0\n\n"), "get: {answer}");
    let counts = ["rx_bytes=", "tx_bytes=", "last_handshake_time"];
    let lines = answer.lines().filter(|line| !counts.iter().any(|count| line.starts_with(count)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The most memory, in bytes, that the daemon ever had at once.
fn peak_memory(host: &Host) -> Result<u64> {
    let processes = host.processes()?;
    let daemon = processes.iter().find(|process| process.command.contains("wg-userspace"));
    let pid = daemon.context("the daemon does not run")?.pid;
    let status = fs::read_to_string(host.path(&format!("/proc/{pid}/status")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmHWM")?.parse::<u64>()? << 10)
}
