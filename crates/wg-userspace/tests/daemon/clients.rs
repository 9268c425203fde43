//! Clients of the UAPI that are up to no good, or just many.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use testbed::Host;
use wg_config::PublicKey;
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::{PATIENCE, uapi};

/// Sends bytes, as many as the daemon takes, and returns the answer.
fn answer(host: &Host, request: &[u8]) -> Result<String> {
    let mut stream = uapi::connect(host, "wg0")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // It may hang up before it has read all.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    read_answer(&mut stream)
}

fn read_answer(stream: &mut UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\n\n") && stream.read(&mut byte).context("no answer")? == 1 {
        answer.push(byte[0]);
    }
    Ok(String::from_utf8(answer)?)
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() -> Result<()> {
    let host = Host::new("nonsense")?;
    host.run("wg-userspace wg0")?.success()?;
    let before = uapi::get(&host, "wg0")?;
    let long_line = [&b"set=1\nprivate_key="[..], &vec![b'a'; 10 << 20]].concat();
    let requests: [&[u8]; 9] = [
        b"\xff\x00garbage\x80\n\n",
        b"\n",
        b"set=1\nlisten_port=77",
        b"set=1\nlisten_port=77\n",
        &vec![b'x'; 10 << 20],
        &long_line,
        b"set=1\nlisten_port=77\nlisten_port=70000\n\n",
        b"set=1\nlisten_port=77\nno_such_key=1\n\n",
        b"set=1\nlisten_port=77\npublic_key=12\n\n",
    ];
    for request in requests {
        let start = String::from_utf8_lossy(&request[..request.len().min(40)]);
        let answer = answer(&host, request).with_context(|| start.clone().into_owned())?;
        ensure!(answer.starts_with("errno=-") && answer.ends_with("\n\n"), "{start}: {answer}");
        ensure!(uapi::get(&host, "wg0")? == before, "{start}");
    }
    Ok(())
}

#[test]
fn one_connection_carries_several_requests() -> Result<()> {
    let host = Host::new("several")?;
    host.run("wg-userspace wg0")?.success()?;
    let mut stream = uapi::connect(&host, "wg0")?;
    stream.write_all(b"get=1\n\nset=1\nfwmark=7\n\nget=1\n\n")?;
    ensure!(read_answer(&mut stream)? == "errno=0\n\n");
    ensure!(read_answer(&mut stream)? == "errno=0\n\n");
    ensure!(read_answer(&mut stream)? == "fwmark=7\nerrno=0\n\n");
    Ok(())
}

#[test]
fn clients_that_hang_keep_nobody_out() -> Result<()> {
    let host = Host::new("hang")?;
    host.run("wg-userspace wg0")?.success()?;
    let mut hanging = Vec::new();
    for number in 0..100 {
        let mut stream = uapi::connect(&host, "wg0")?;
        // Silent, in the middle of a request, or not reading what it asked for.
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"set=1\nlisten_port=7")?,
            _ => {
                stream.set_nonblocking(true)?;
                while stream.write(b"get=1\n\n").is_ok() {}
            }
        }
        hanging.push(stream);
        uapi::get(&host, "wg0")?;
    }
    let daemon = host.processes()?.pop().context("the daemon is gone")?;
    let threads = std::fs::read_dir(host.path(&format!("/proc/{}/task", daemon.pid)))?.count();
    ensure!(threads < 50, "{threads} threads");
    Ok(())
}

#[test]
fn a_client_that_reads_a_long_answer_is_not_cut() -> Result<()> {
    let host = Host::new("long")?;
    host.run("wg-userspace wg0")?.success()?;
    let peers = (0..20_000_u16).map(|number| {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&number.to_le_bytes());
        PeerUpdate::new(PublicKey::from(key))
    });
    let update = DeviceUpdate { peers: peers.collect(), ..DeviceUpdate::default() };
    uapi::set(&host, "wg0", &update)?;
    let mut reader = uapi::connect(&host, "wg0")?;
    reader.set_read_timeout(Some(PATIENCE))?;
    reader.write_all(b"get=1\n\n")?;
    let (mut answer, mut silent) = (Vec::new(), Vec::new());
    let mut bytes = vec![0; 1 << 16];
    while !answer.ends_with(b"errno=0\n\n") {
        let length = reader.read(&mut bytes)?;
        ensure!(length > 0, "cut after {} bytes and {} others", answer.len(), silent.len());
        answer.extend_from_slice(&bytes[..length]);
        // Every so often another connects, more of them in the end than may be open.
        if answer.len() >> 16 > silent.len() {
            silent.push(uapi::connect(&host, "wg0")?);
        }
    }
    ensure!(silent.len() > 40, "{}", silent.len());
    Ok(())
}
