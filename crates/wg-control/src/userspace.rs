//! Interfaces whose dataplane is a userspace daemon, behind a socket in `/var/run/wireguard`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::net::if_::if_nametoindex;

use crate::{Device, DeviceUpdate, Error, SecretWriter, uapi};

const SOCKETS: &str = "/var/run/wireguard";

/// How long a daemon may take for one read or write; one that hangs would hold us for ever.
const PATIENCE: Duration = Duration::from_secs(30);

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
        .filter(|name| !matches!(connect(name), Ok(None)))
        .collect()
}

/// Connects to an interface's daemon; `None` when there is none.
///
/// # Errors
/// When there may be one that does not let us in.
pub(crate) fn connect(name: &str) -> io::Result<Option<UnixStream>> {
    if name.contains('/') {
        return Ok(None);
    }
    let socket: PathBuf = [SOCKETS, &format!("{name}.sock")].iter().collect();
    match UnixStream::connect(socket) {
        Ok(stream) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Some(stream))
        }
        Err(error) => match error.kind() {
            // A file that is no socket refuses connections too.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

pub(crate) fn get(mut stream: &UnixStream, name: &str) -> Result<Device, Error> {
    uapi::write_get(&mut stream)?;
    Ok(uapi::read_device(stream, name)?)
}

/// Sends a change and waits for the daemon's verdict.
///
/// A daemon that refuses early may hang up while the change is still being written; its answer
/// tells more than the broken connection, so it is read all the same.
pub(crate) fn set(stream: &UnixStream, update: &DeviceUpdate) -> Result<(), Error> {
    let mut writer = SecretWriter::new(stream);
    let written = uapi::write_set(&mut writer, update).and_then(|()| writer.flush());
    match (written, uapi::read_errno(stream)) {
        (Err(broken), Err(uapi::AnswerError::Io(_) | uapi::AnswerError::Malformed { .. })) => {
            Err(broken.into())
        }
        (_, answer) => Ok(answer?),
    }
}
