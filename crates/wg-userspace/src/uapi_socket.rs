//! The UAPI socket: `/var/run/wireguard/NAME.sock`, for root alone.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{Mode, umask};

/// Where clients look for sockets.
const DIRECTORY: &str = "/var/run/wireguard";

/// A listening socket and its place in the file system.
pub(crate) struct UapiSocket {
    listener: UnixListener,
    place: Option<Place>,
}

/// A path and the file that we put there.
#[derive(Clone)]
pub(crate) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl UapiSocket {
    /// Listens at the interface's path. The socket of a daemon that is gone is replaced, one
    /// that is served is not. To be called while there is one thread, because it changes the
    /// file mode mask for a moment.
    pub(crate) fn bind(interface: &str) -> anyhow::Result<Self> {
        let path = path_of(interface);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(DIRECTORY)
            .with_context(|| format!("cannot create {DIRECTORY}"))?;
        remove_stale(&path)?;
        let mask = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&path);
        umask(mask);
        let listener = listener.with_context(|| format!("cannot listen at {}", path.display()))?;
        let place = Place::of(path)?;
        Ok(Self { listener, place: Some(place) })
    }

    /// Takes over a socket that someone else listens at, and its path if it is the usual one,
    /// where otherwise another daemon's socket may lie.
    pub(crate) fn from_fd(fd: OwnedFd, interface: &str) -> anyhow::Result<Self> {
        let listener = UnixListener::from(fd);
        let address = listener.local_addr().context("WG_UAPI_FD is not a Unix socket")?;
        let bound = address.as_pathname().and_then(|path| Place::of(path.to_owned()).ok());
        // The paths may differ all the same: `/var/run` is a link.
        let place = Place::of(path_of(interface)).ok().filter(|usual| {
            bound.is_some_and(|bound| (bound.device, bound.inode) == (usual.device, usual.inode))
        });
        Ok(Self { listener, place })
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Becomes readable when the directory changes: see [`Place::is_ours`].
    pub(crate) fn watch(&self) -> anyhow::Result<Option<Inotify>> {
        let Some(directory) = self.place.as_ref().and_then(Place::directory) else {
            return Ok(None);
        };
        let flags = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|inotify| inotify.add_watch(directory, flags).map(|_| inotify))
            .with_context(|| format!("cannot watch {}", directory.display()))?;
        Ok(Some(watch))
    }
}

impl Drop for UapiSocket {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.remove();
        }
    }
}

impl Place {
    fn of(path: PathBuf) -> anyhow::Result<Self> {
        let metadata = fs::symlink_metadata(&path)
            .with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), path })
    }

    /// The folder that the socket is in.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// Whether our socket is still at its path.
    pub(crate) fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }

    /// Removes our socket, and nobody else's.
    pub(crate) fn remove(&self) {
        if self.is_ours() {
            // If someone was faster, it is gone as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn path_of(interface: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{interface}.sock"))
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("{} exists and is not a socket", path.display());
        }
        _ => {}
    }
    match UnixStream::connect(path) {
        Err(error) if is_refused(&error) => fs::remove_file(path)
            .with_context(|| format!("cannot remove the stale socket {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use {}", path.display())),
        Ok(_) => bail!("another daemon serves {}", path.display()),
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ECONNREFUSED as i32)
}
