//! Requests: what a client asks for.

use std::io::{self, Read, Write};

use nix::libc::{EINVAL, EIO, EPROTO};

use super::lines::{Line, LineReader, MAX_LINE};
use super::value;
use crate::{DeviceUpdate, PeerUpdate};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `get=1`: the interface's configuration and state.
    Get,
    /// `set=1`: a change.
    Set(DeviceUpdate),
}

/// A request that cannot be understood or read; nothing of it is to be applied.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request breaks the protocol. Secret values are not part of the text.
    #[error("line {line} of the request: {problem}")]
    Malformed {
        /// The number of the line within the request, from 1.
        line: u64,
        /// What is wrong and what was expected.
        problem: String,
        /// What to answer, a positive number from `errno.h`.
        errno: i32,
    },
    /// The stream cannot be read.
    #[error("reading a request: {0}")]
    Io(#[from] io::Error),
}

impl RequestError {
    /// What to answer, a positive number from `errno.h`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Malformed { errno, .. } => *errno,
            Self::Io(error) => error.raw_os_error().unwrap_or(EIO),
        }
    }
}

/// Reads requests from a client, in bounded memory per line.
pub struct RequestReader<R> {
    lines: LineReader<R>,
}

impl<R: Read> RequestReader<R> {
    /// Reads from a stream; buffers by itself, so the stream need not.
    pub fn new(stream: R) -> Self {
        Self { lines: LineReader::new(stream) }
    }

    /// Reads one whole request; `None` when the stream ends before another one.
    ///
    /// # Errors
    /// When the stream fails or the request is malformed. The caller answers
    /// [`RequestError::errno`] and closes the connection: where the next request starts is not
    /// known. A faulty line within a `set` is reported after the rest of the request was read, so
    /// that a client that is still writing gets the answer.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Request>, RequestError> {
        self.lines.restart_count();
        let operation = match self.lines.read_line()? {
            Line::Whole(b"get=1") => Ok(Request::Get),
            Line::Whole(b"set=1") => Ok(Request::Set(DeviceUpdate::default())),
            Line::End => return Ok(None),
            Line::Whole(_) => Err(proto("expected `get=1' or `set=1'")),
            cut => Err(incomplete(&cut)),
        };
        match operation.map_err(|fault| self.at_this_line(fault))? {
            Request::Get => self.end_of_get().map(|()| Some(Request::Get)),
            Request::Set(update) => self.rest_of_set(update).map(|set| Some(Request::Set(set))),
        }
    }

    fn end_of_get(&mut self) -> Result<(), RequestError> {
        let fault = match self.lines.read_line()? {
            Line::Whole(b"") => return Ok(()),
            Line::Whole(_) => invalid("`get=1' stands alone; expected an empty line".to_owned()),
            cut => incomplete(&cut),
        };
        Err(self.at_this_line(fault))
    }

    fn rest_of_set(&mut self, mut update: DeviceUpdate) -> Result<DeviceUpdate, RequestError> {
        let mut first_error = None;
        loop {
            let fault = match self.lines.read_line()? {
                Line::Whole(b"") => break,
                Line::Whole(_) if first_error.is_some() => continue,
                Line::Whole(line) => match apply(&mut update, line) {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                cut => {
                    let fault = incomplete(&cut);
                    first_error.get_or_insert(self.at_this_line(fault));
                    break;
                }
            };
            first_error = Some(self.at_this_line(fault));
        }
        first_error.map_or(Ok(update), Err)
    }

    fn at_this_line(&self, fault: Fault) -> RequestError {
        let line = self.lines.line();
        RequestError::Malformed { line, problem: fault.problem, errno: fault.errno }
    }
}

/// Writes a `get` request.
///
/// # Errors
/// When the writer fails.
pub fn write_get(w: &mut impl Write) -> io::Result<()> {
    w.write_all(b"get=1\n\n")
}

/// Writes a `set` request: the lines that the original `wg` writes, in its order.
///
/// # Errors
/// When the writer fails.
pub fn write_set(w: &mut impl Write, update: &DeviceUpdate) -> io::Result<()> {
    w.write_all(b"set=1\n")?;
    if let Some(key) = &update.private_key {
        value::write_key(w, "private_key", key.as_bytes())?;
    }
    if let Some(port) = update.listen_port {
        writeln!(w, "listen_port={port}")?;
    }
    if let Some(mark) = update.fwmark {
        writeln!(w, "fwmark={mark}")?;
    }
    if update.replace_peers {
        w.write_all(b"replace_peers=true\n")?;
    }
    for peer in &update.peers {
        write_peer(w, peer)?;
    }
    w.write_all(b"\n")
}

fn write_peer(w: &mut impl Write, peer: &PeerUpdate) -> io::Result<()> {
    value::write_key(w, "public_key", peer.public_key.as_bytes())?;
    if peer.remove {
        return w.write_all(b"remove=true\n");
    }
    if peer.update_only {
        w.write_all(b"update_only=true\n")?;
    }
    if let Some(key) = &peer.preshared_key {
        value::write_key(w, "preshared_key", key.as_bytes())?;
    }
    if let Some(endpoint) = peer.endpoint {
        value::write_endpoint(w, endpoint)?;
    }
    if let Some(seconds) = peer.persistent_keepalive {
        writeln!(w, "persistent_keepalive_interval={seconds}")?;
    }
    if peer.replace_allowed_ips {
        w.write_all(b"replace_allowed_ips=true\n")?;
    }
    for change in &peer.allowed_ips {
        value::write_allowed_ip(w, &change.ip, change.remove)?;
    }
    Ok(())
}

/// What is wrong with a line.
struct Fault {
    problem: String,
    errno: i32,
}

fn invalid(problem: String) -> Fault {
    Fault { problem, errno: EINVAL }
}

fn proto(problem: &str) -> Fault {
    Fault { problem: problem.to_owned(), errno: EPROTO }
}

fn incomplete(line: &Line<'_>) -> Fault {
    match line {
        Line::TooLong => proto(&format!("more than {MAX_LINE} bytes without a line feed")),
        _ => proto("the stream ends before the empty line that ends a request"),
    }
}

fn apply(update: &mut DeviceUpdate, line: &[u8]) -> Result<(), Fault> {
    let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
        return Err(proto("expected `key=value'"));
    };
    let (key, text) = (&line[..equals], &line[equals + 1..]);
    if key == b"public_key" {
        let key = read(value::public_key(text), key, KEY, Some(text))?;
        update.peers.push(PeerUpdate::new(key));
        return Ok(());
    }
    match update.peers.last_mut() {
        Some(peer) => apply_to_peer(peer, key, text),
        None => apply_to_device(update, key, text),
    }
}

fn apply_to_device(update: &mut DeviceUpdate, key: &[u8], text: &[u8]) -> Result<(), Fault> {
    let public = Some(text);
    match key {
        b"private_key" => {
            update.private_key = Some(read(value::private_key(text), key, KEY, None)?);
        }
        b"listen_port" => {
            update.listen_port = Some(read(value::number(text), key, PORT, public)?);
        }
        b"fwmark" => update.fwmark = Some(read(value::number(text), key, MARK, public)?),
        b"replace_peers" => update.replace_peers = read(value::flag(text), key, FLAG, public)?,
        _ => return Err(unknown(key, "interface")),
    }
    Ok(())
}

fn apply_to_peer(peer: &mut PeerUpdate, key: &[u8], text: &[u8]) -> Result<(), Fault> {
    let public = Some(text);
    match key {
        b"remove" => peer.remove = read(value::flag(text), key, FLAG, public)?,
        b"update_only" => peer.update_only = read(value::flag(text), key, FLAG, public)?,
        b"preshared_key" => {
            peer.preshared_key = Some(read(value::preshared_key(text), key, KEY, None)?);
        }
        b"endpoint" => peer.endpoint = Some(read(value::endpoint(text), key, ENDPOINT, public)?),
        b"persistent_keepalive_interval" => {
            peer.persistent_keepalive = Some(read(value::number(text), key, SECONDS, public)?);
        }
        b"replace_allowed_ips" => {
            peer.replace_allowed_ips = read(value::flag(text), key, FLAG, public)?;
            // What came before is replaced too.
            peer.allowed_ips.clear();
        }
        b"allowed_ip" => {
            peer.allowed_ips.push(read(value::allowed_ip_change(text), key, PREFIX, public)?);
        }
        b"protocol_version" if text == b"1" => {}
        b"protocol_version" => return Err(bad_value(key, "1", public)),
        _ => return Err(unknown(key, "peer")),
    }
    Ok(())
}

const KEY: &str = "64 hexadecimal digits";
const PORT: &str = "a port from 0 to 65535";
const MARK: &str = "a decimal number from 0 to 4294967295";
const SECONDS: &str = "seconds from 0 to 65535";
const FLAG: &str = "true";
const ENDPOINT: &str = "an address and a port like 192.0.2.1:51820 or [2001:db8::1]:51820";
const PREFIX: &str = "an address and a prefix length like 10.0.0.0/8";

/// `public` is the value's text, unless it is a secret.
fn read<T>(
    value: Option<T>,
    key: &[u8],
    expected: &str,
    public: Option<&[u8]>,
) -> Result<T, Fault> {
    value.ok_or_else(|| bad_value(key, expected, public))
}

fn bad_value(key: &[u8], expected: &str, public: Option<&[u8]>) -> Fault {
    let key = key.escape_ascii();
    invalid(match public {
        Some(text) => format!("{key} is `{}'; expected {expected}", text.escape_ascii()),
        None => format!("expected {key} to be {expected}"),
    })
}

fn unknown(key: &[u8], place: &str) -> Fault {
    invalid(format!("`{}' is not a key of the {place}", key.escape_ascii()))
}
