//! Answers: what a daemon says.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::lines::{Line, LineReader};
use super::value;
use crate::{Device, Peer};

/// Writes the answer to a `get`, including `errno=0` and the empty line; the lines that
/// wireguard-go writes, in its order.
///
/// # Errors
/// When the writer fails.
pub fn write_device(w: &mut impl Write, device: &Device) -> io::Result<()> {
    if let Some(key) = &device.private_key {
        value::write_key(w, "private_key", key.as_bytes())?;
    }
    if device.listen_port != 0 {
        writeln!(w, "listen_port={}", device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(w, "fwmark={}", device.fwmark)?;
    }
    for peer in &device.peers {
        write_peer(w, peer)?;
    }
    write_errno(w, 0)
}

/// Ends an answer. `errno` is 0 or a positive number from `errno.h`; it is written negative, as
/// wireguard-go does and the original `wg` expects.
///
/// # Errors
/// When the writer fails.
pub fn write_errno(w: &mut impl Write, errno: i32) -> io::Result<()> {
    write!(w, "errno={}\n\n", -i64::from(errno))
}

/// An answer that is no success or that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The daemon refused: a positive number from `errno.h`.
    #[error("the daemon answered errno={0}")]
    Refused(i32),
    /// The answer breaks the protocol. Secret values are not part of the text.
    #[error("line {line} of the daemon's answer: {problem}")]
    Malformed {
        /// The number of the line within the answer, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The stream cannot be read or written.
    #[error("talking to the daemon: {0}")]
    Io(#[from] io::Error),
}

/// Reads the answer to a `get`; the device gets the given name. Keys that are not known are
/// skipped.
///
/// # Errors
/// When the stream fails, the answer is malformed, or the daemon refused.
pub fn read_device(stream: impl Read, name: &str) -> Result<Device, AnswerError> {
    let mut device = Device { name: name.to_owned(), ..Device::default() };
    read_answer(stream, |key, text| take(&mut device, key, text))?;
    device.public_key = device.private_key.as_ref().map(wg_config::PrivateKey::public_key);
    Ok(device)
}

/// Reads the answer to a `set`.
///
/// # Errors
/// When the stream fails, the answer is malformed, or the daemon refused.
pub fn read_errno(stream: impl Read) -> Result<(), AnswerError> {
    read_answer(stream, |_, _| Some(()))
}

fn write_peer(w: &mut impl Write, peer: &Peer) -> io::Result<()> {
    value::write_key(w, "public_key", peer.public_key.as_bytes())?;
    let no_key = [0; wg_config::KEY_LEN];
    let preshared_key = peer.preshared_key.as_ref().map_or(&no_key, |key| key.as_bytes());
    value::write_key(w, "preshared_key", preshared_key)?;
    w.write_all(b"protocol_version=1\n")?;
    if let Some(endpoint) = peer.endpoint {
        value::write_endpoint(w, endpoint)?;
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    writeln!(w, "last_handshake_time_sec={}", handshake.as_secs())?;
    writeln!(w, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
    writeln!(w, "tx_bytes={}", peer.tx_bytes)?;
    writeln!(w, "rx_bytes={}", peer.rx_bytes)?;
    writeln!(w, "persistent_keepalive_interval={}", peer.persistent_keepalive)?;
    for ip in &peer.allowed_ips {
        value::write_allowed_ip(w, ip, false)?;
    }
    Ok(())
}

/// Hands each line but `errno` to `take`, which returns `None` for a value that is wrong.
fn read_answer(
    stream: impl Read,
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), AnswerError> {
    let mut lines = LineReader::new(stream);
    let mut errno = None;
    loop {
        let problem = match lines.read_line()? {
            Line::Whole(b"") => break,
            Line::Whole(line) => match line.iter().position(|&byte| byte == b'=') {
                None => "expected `key=value'".to_owned(),
                Some(equals) => {
                    let (key, text) = (&line[..equals], &line[equals + 1..]);
                    let taken = if key == b"errno" {
                        errno = read_number(text);
                        errno.map(|_| ())
                    } else {
                        take(key, text)
                    };
                    match taken {
                        Some(()) => continue,
                        None => format!("the value of {} is not valid", key.escape_ascii()),
                    }
                }
            },
            Line::End | Line::Cut => "the answer is cut off".to_owned(),
            Line::TooLong => "the line is too long".to_owned(),
        };
        return Err(AnswerError::Malformed { line: lines.line(), problem });
    }
    match errno {
        Some(0) => Ok(()),
        Some(errno) => Err(AnswerError::Refused(errno)),
        None => {
            let problem = "the answer ends without an errno".to_owned();
            Err(AnswerError::Malformed { line: lines.line(), problem })
        }
    }
}

/// A number from `errno.h`, of either sign: daemons differ.
fn read_number(text: &[u8]) -> Option<i32> {
    value::number(text.strip_prefix(b"-").unwrap_or(text))
}

fn take(device: &mut Device, key: &[u8], text: &[u8]) -> Option<()> {
    if key == b"public_key" {
        device.peers.push(Peer::new(value::public_key(text)?));
        return Some(());
    }
    let Some(peer) = device.peers.last_mut() else {
        match key {
            b"private_key" => {
                device.private_key = Some(value::private_key(text)?).filter(|key| !key.is_zero());
            }
            b"listen_port" => device.listen_port = value::number(text)?,
            b"fwmark" => device.fwmark = value::number(text)?,
            _ => {}
        }
        return Some(());
    };
    match key {
        b"preshared_key" => {
            peer.preshared_key = Some(value::preshared_key(text)?).filter(|key| !key.is_zero());
        }
        b"endpoint" => peer.endpoint = Some(value::endpoint(text)?),
        b"persistent_keepalive_interval" => peer.persistent_keepalive = value::number(text)?,
        b"last_handshake_time_sec" => {
            let nanoseconds = peer.last_handshake.unwrap_or_default().subsec_nanos();
            set_handshake(peer, value::number(text)?, nanoseconds);
        }
        b"last_handshake_time_nsec" => {
            let nanoseconds = value::number(text).filter(|&number| number < 1_000_000_000)?;
            let seconds = peer.last_handshake.unwrap_or_default().as_secs();
            set_handshake(peer, seconds, nanoseconds);
        }
        b"tx_bytes" => peer.tx_bytes = value::number(text)?,
        b"rx_bytes" => peer.rx_bytes = value::number(text)?,
        b"allowed_ip" => peer.allowed_ips.push(value::allowed_ip(text)?),
        _ => {}
    }
    Some(())
}

fn set_handshake(peer: &mut Peer, seconds: u64, nanoseconds: u32) {
    let time = Duration::new(seconds, nanoseconds);
    peer.last_handshake = Some(time).filter(|time| !time.is_zero());
}
