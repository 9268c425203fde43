//! What was done to the host for one interface, so that it can be undone by another process.
//!
//! One text file in `/run/wg-quick`, locked while a wg-quick is at work on the interface. An empty
//! file is only the lock; it goes with its holder. A line is written before its step is done: what
//! undoes a step has to stand it that the step was not done.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use self::record::{FIRST_LINE, about, escape, lines, parse};
use crate::say;
use crate::signals::{Interrupted, Signals};
use crate::step::Step;
use crate::tunnel::Tunnel;

pub(crate) use self::record::Record;

mod record;

const DIRECTORY: &str = "/run/wg-quick";
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);
/// Where a journal is kept that is not understood.
const DAMAGED: &str = "@damaged";
/// Where the journal of a reloaded tunnel is written before it takes the old one's place.
const NEXT: &str = "@next";

/// An interface's journal, and the lock on it.
pub(crate) struct Journal {
    path: PathBuf,
    /// `None` where `/run` cannot be written.
    file: Option<Flock<File>>,
}

/// Whether there is a journal with anything in it.
pub(crate) fn exists(interface: &str) -> bool {
    path_of(interface).metadata().is_ok_and(|file| file.len() > 0)
}

/// Whether there is the journal of an `up` that neither ended nor still runs.
pub(crate) fn is_of_interrupted(interface: &str) -> bool {
    let Ok(text) = fs::read_to_string(path_of(interface)) else { return false };
    matches!(parse(&text), Ok(Some(record)) if !record.complete)
}

/// Waits until no other wg-quick chooses a routing table; the choice is ours until the lock is
/// dropped. `None` where `/run` cannot be used.
///
/// # Errors
/// When a signal comes meanwhile.
pub(crate) fn lock_tables(signals: &Signals) -> Result<Option<Flock<File>>, Interrupted> {
    let Ok(mut directory) = File::open(DIRECTORY) else { return Ok(None) };
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, Errno::EWOULDBLOCK)) => directory = file,
            Err(_) => return Ok(None),
        }
        signals.check()?;
        sleep(POLL);
    }
}

impl Journal {
    /// Locks an interface's journal, which need not have anything in it.
    ///
    /// A child that a killed wg-quick had just forked holds the lock until it is another program, so
    /// the lock is waited for a moment.
    ///
    /// # Errors
    /// When another process holds the lock.
    pub(crate) fn lock(interface: &str) -> anyhow::Result<Self> {
        let path = path_of(interface);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match open(&path) {
                // The directory went between its making and the opening.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    say(format_args!(
                        "[!] Without a journal, as {} cannot be written: {error}",
                        path.display()
                    ));
                    return Ok(Self { path, file: None });
                }
                Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => sleep(POLL),
                    Err((_, Errno::EWOULDBLOCK)) => {
                        bail!("another wg-quick is at work on `{interface}'")
                    }
                    Err((_, errno)) => {
                        return Err(errno).with_context(|| format!("{}: lock", path.display()));
                    }
                    // The last holder may have removed the file meanwhile.
                    Ok(file) if is_at(&file, &path) => {
                        // What a killed `reload` may have left.
                        let _ = fs::remove_file(beside(&path, NEXT));
                        return Ok(Self { path, file: Some(file) });
                    }
                    Ok(_) => {}
                },
            }
        }
    }

    /// What it says; `None` when it is empty. One that this program does not understand is told,
    /// kept under another name, and empty from then on: nobody could mend it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&mut self) -> anyhow::Result<Option<Record>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut text))
            .with_context(|| format!("{}: read", self.path.display()))?;
        let parsed = match std::str::from_utf8(&text) {
            Ok(text) => parse(text),
            Err(error) => Err(error.into()),
        };
        parsed.or_else(|error| {
            say(format_args!("[!] {}: {error:#}. Going on without it.", self.path.display()));
            // The lock is on the file itself and must stay, so what is kept is a copy.
            if let Err(error) = fs::copy(&self.path, beside(&self.path, DAMAGED)) {
                say(format_args!("[!] {}: copy: {error}", self.path.display()));
            }
            self.clear()?;
            Ok(None)
        })
    }

    /// Starts anew for a tunnel of which nothing is there yet. Where there is no room, the tunnel
    /// goes without a journal.
    ///
    /// # Errors
    /// When the journal of before cannot be forgotten.
    pub(crate) fn start(&mut self, tunnel: &Tunnel) -> anyhow::Result<()> {
        self.clear()?;
        if let Err(error) = self.append(&about(tunnel)) {
            say(format_args!("[!] Without a journal: {error:#}"));
            self.clear()?;
            self.file = None;
            // Nothing else holds the lock by now.
            let _ = fs::remove_file(&self.path);
        }
        Ok(())
    }

    /// Notes that from now on the tunnel is neither what it was nor what it shall be. `undo` is what
    /// takes down the tunnel as it was, where there is no journal yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin_reload(
        &mut self,
        config_file: &Path,
        undo: Option<&[Step]>,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        if let Some(undo) = undo {
            let (file, undo) = (escape(config_file), lines(undo));
            text = format!("{FIRST_LINE}\nconfig {file}\n{undo}complete\n");
        }
        self.append(&(text + "reloading\n"))
    }

    /// Says from now on what undoes a tunnel that has been reloaded.
    ///
    /// # Errors
    /// When it cannot be written; it says what it said then.
    pub(crate) fn replace(
        &mut self,
        tunnel: &Tunnel,
        link: Option<u32>,
        undo: &[Step],
    ) -> anyhow::Result<()> {
        let mut text = about(tunnel);
        if let Some(index) = link {
            text.push_str(&format!("link {index}\n"));
        }
        text.push_str(&lines(undo));
        text.push_str("complete\n");
        if self.file.is_none() {
            return Ok(());
        }
        let next = beside(&self.path, NEXT);
        let write = || -> io::Result<Flock<File>> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            // Who waits for the lock sees that the file is another one, and waits for this one's.
            let file = Flock::lock(options.open(&next)?, FlockArg::LockExclusiveNonblock);
            let mut file = file.map_err(|(_, errno)| errno)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&next, &self.path)?;
            Ok(file)
        };
        let written = write().inspect_err(|_| {
            // The next holder of the lock removes it otherwise.
            let _ = fs::remove_file(&next);
        });
        self.file = Some(written.with_context(|| format!("{}: write", self.path.display()))?);
        Ok(())
    }

    /// Notes what will undo the step that comes now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note(&mut self, undo: &Step) -> anyhow::Result<()> {
        match undo.to_line() {
            Some(line) => self.append(&format!("undo {line}\n")),
            None => Ok(()),
        }
    }

    /// Notes the index of the interface, once there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note_link(&mut self, index: u32) -> anyhow::Result<()> {
        self.append(&format!("link {index}\n"))
    }

    /// Notes that the tunnel is up.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn complete(&mut self) -> anyhow::Result<()> {
        self.append("complete\n")
    }

    /// Notes the commands that are to run once the tunnel is removed, which begins now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn owe(&mut self, config_file: &Path, hooks: &[String]) -> anyhow::Result<()> {
        if hooks.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if self.read()?.is_none() {
            text.push_str(&format!("{FIRST_LINE}\nconfig {}\ncomplete\n", escape(config_file)));
        }
        text.push_str("owed-from-here\n");
        for hook in hooks {
            text.push_str(&format!("owed {hook}\n"));
        }
        self.append(&text)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.set_len(0)
            .and_then(|()| file.rewind())
            .with_context(|| format!("{}: truncate", self.path.display()))
    }

    fn append(&mut self, text: &str) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut write = || {
            let end = file.stream_position()?;
            file.write_all(text.as_bytes()).inspect_err(|_| {
                // A part of it would make what is there void. Should that fail too, it stays.
                let _ = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
            })
        };
        write().with_context(|| format!("{}: write", self.path.display()))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        if file.metadata().is_ok_and(|file| file.len() == 0) {
            // A journal that stays behind empty does no harm, nor does its directory.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(DIRECTORY);
        }
    }
}

/// `NAME`; outside the network namespace of process 1, where the same name may be in use, with the
/// namespace's number behind it. No name holds an `@`.
fn path_of(interface: &str) -> PathBuf {
    let number = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).map(|ns| ns.ino());
    let directory = Path::new(DIRECTORY);
    match (number("self"), number("1")) {
        (Ok(own), Ok(first)) if own != first => directory.join(format!("{interface}@{own}")),
        _ => directory.join(interface),
    }
}

/// Another file of the same interface.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn open(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), path.metadata()), (Ok(a), Ok(b)) if id(&a) == id(&b))
}
