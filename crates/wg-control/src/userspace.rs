//! Interfaces whose dataplane is a userspace daemon, behind a socket in `/var/run/wireguard`.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, socket};

use crate::{Device, DeviceUpdate, Error, SecretWriter, uapi};

const SOCKETS: &str = "/var/run/wireguard";

/// How long a daemon may take for one read or write, or to take a connection; one that hangs would
/// hold us for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is waited only to find out whether there is a daemon: one with a queue of connections is
/// one. The kernel takes 0 for ever.
const GLANCE: Duration = Duration::from_millis(1);

/// The names of the interfaces in this network namespace that a daemon serves, in the order of
/// the folder.
///
/// A socket that nobody listens on is a daemon's remains, and one without an interface belongs to
/// another network namespace that shares the folder. One that may not be opened is listed.
pub(crate) fn interfaces() -> Vec<String> {
    let Ok(folder) = fs::read_dir(SOCKETS) else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned()))
        .filter(|name| if_nametoindex(name.as_str()).is_ok())
        .filter(|name| !matches!(connect_within(name, GLANCE), Ok(None)))
        .collect()
}

/// Connects to an interface's daemon; `None` when there is none.
///
/// # Errors
/// When there may be one that does not let us in.
pub(crate) fn connect(name: &str) -> io::Result<Option<UnixStream>> {
    connect_within(name, PATIENCE)
}

/// Whether a daemon that died left a socket for this interface, which nobody serves.
pub fn is_socket_stale(name: &str) -> bool {
    matches!(connect_within(name, GLANCE), Ok(None)) && path_of(name).exists()
}

fn connect_within(name: &str, patience: Duration) -> io::Result<Option<UnixStream>> {
    if name.contains('/') {
        return Ok(None);
    }
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    // Where the daemon's queue is full, connecting waits as long as writing would.
    stream.set_write_timeout(Some(patience))?;
    match socket::connect(stream.as_raw_fd(), &UnixAddr::new(&path_of(name))?) {
        Ok(()) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Some(stream))
        }
        // A file that is no socket refuses connections too.
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn path_of(name: &str) -> PathBuf {
    [SOCKETS, &format!("{name}.sock")].iter().collect()
}

pub(crate) fn get(mut stream: &UnixStream, name: &str) -> Result<Device, Error> {
    uapi::write_get(&mut stream)?;
    Ok(uapi::read_device(stream, name)?)
}

/// Sends a change and waits for the daemon's verdict.
///
/// A daemon that refuses early may hang up while the change is still being written; its answer
/// tells more than the broken connection, so it is read all the same.
pub(crate) fn set(stream: &UnixStream, update: DeviceUpdate) -> Result<(), Error> {
    let mut writer = SecretWriter::new(stream);
    let written = uapi::write_set(&mut writer, &update).and_then(|()| writer.flush());
    // 100,000 peers take a while to be freed, in which the daemon is busy as well.
    drop(update);
    match (written, uapi::read_errno(stream)) {
        (Err(broken), Err(uapi::AnswerError::Io(_) | uapi::AnswerError::Malformed { .. })) => {
            Err(broken.into())
        }
        (_, answer) => Ok(answer?),
    }
}
