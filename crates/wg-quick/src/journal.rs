//! What was done to the host for one interface, so that it can be undone by another process.
//!
//! One text file in `/run/wg-quick`, locked while a wg-quick is at work on the interface. An empty
//! file is only the lock; it goes with its holder. A line is written before its step is done: what
//! undoes a step has to stand it that the step was not done.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::say;
use crate::step::Step;
use crate::tunnel::{Hooks, Tunnel};

const DIRECTORY: &str = "/run/wg-quick";
const FIRST_LINE: &str = "wg-quick journal 1";

/// An interface's journal, and the lock on it.
pub(crate) struct Journal {
    path: PathBuf,
    /// `None` where `/run` cannot be written.
    file: Option<Flock<File>>,
}

/// What a journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The file that the tunnel came from.
    pub config_file: PathBuf,
    /// The commands for the way down.
    pub hooks: Hooks,
    /// The steps that undo what was done, in the order in which it was done.
    pub undo: Vec<Step>,
    /// Whether all was done.
    pub complete: bool,
}

/// Whether there is a journal with anything in it.
pub(crate) fn exists(interface: &str) -> bool {
    path_of(interface).metadata().is_ok_and(|file| file.len() > 0)
}

impl Journal {
    /// Locks an interface's journal, which need not have anything in it.
    ///
    /// # Errors
    /// When another process holds the lock.
    pub(crate) fn lock(interface: &str) -> anyhow::Result<Self> {
        let path = path_of(interface);
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
                    Err((_, Errno::EWOULDBLOCK)) => {
                        bail!("another wg-quick is at work on `{interface}'")
                    }
                    Err((_, errno)) => {
                        return Err(errno).with_context(|| format!("{}: lock", path.display()));
                    }
                    // The last holder may have removed the file meanwhile.
                    Ok(file) if is_at(&file, &path) => return Ok(Self { path, file: Some(file) }),
                    Ok(_) => {}
                },
            }
        }
    }

    /// What it says; `None` when it is empty.
    ///
    /// # Errors
    /// When it cannot be read, or holds what this program does not understand.
    pub(crate) fn read(&mut self) -> anyhow::Result<Option<Record>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_string(&mut text))
            .with_context(|| format!("{}: read", self.path.display()))?;
        parse(&text).with_context(|| self.path.display().to_string())
    }

    /// Starts anew for a tunnel.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn start(&mut self, tunnel: &Tunnel) -> anyhow::Result<()> {
        let mut text = format!("{FIRST_LINE}\nconfig {}\n", tunnel.config_file.display());
        for hook in &tunnel.hooks.pre_down {
            text.push_str(&format!("pre-down {hook}\n"));
        }
        for hook in &tunnel.hooks.post_down {
            text.push_str(&format!("post-down {hook}\n"));
        }
        self.clear()?;
        self.append(&text)
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

    /// Notes that the tunnel is up.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn complete(&mut self) -> anyhow::Result<()> {
        self.append("complete\n")
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
        file.write_all(text.as_bytes()).with_context(|| format!("{}: write", self.path.display()))
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

fn open(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), path.metadata()), (Ok(a), Ok(b)) if id(&a) == id(&b))
}

fn parse(text: &str) -> anyhow::Result<Option<Record>> {
    // A last line without its end was being written when the machine or the process stopped.
    let Some((text, _)) = text.rsplit_once('\n') else { return Ok(None) };
    let mut lines = text.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        bail!("the journal is not of this version of wg-quick");
    }
    let mut record = Record::default();
    for line in lines {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "config" => record.config_file = PathBuf::from(value),
            "pre-down" => record.hooks.pre_down.push(value.to_owned()),
            "post-down" => record.hooks.post_down.push(value.to_owned()),
            "complete" => record.complete = true,
            "undo" => record.undo.push(
                Step::from_line(value)
                    .with_context(|| format!("the journal has an unknown step: `{value}'"))?,
            ),
            _ => bail!("the journal has an unknown line: `{line}'"),
        }
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_journal_says_what_was_written() {
        let record = parse(
            "wg-quick journal 1\nconfig /etc/wireguard/wg0.conf\npre-down echo  a b \n\
             post-down \npost-down x # y\nundo delete-link\ncomplete\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(record.config_file, Path::new("/etc/wireguard/wg0.conf"));
        assert_eq!(record.hooks.pre_down, ["echo  a b "]);
        assert_eq!(record.hooks.post_down, ["", "x # y"]);
        assert_eq!(record.undo, [Step::DeleteLink]);
        assert!(record.complete);
    }

    #[test]
    fn a_journal_that_broke_off_says_what_is_whole() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("wg-quick jour").unwrap(), None);
        let record = parse("wg-quick journal 1\nundo delete-link\ncompl").unwrap().unwrap();
        assert_eq!((record.undo.len(), record.complete), (1, false));
    }

    #[test]
    fn a_journal_of_another_version_is_not_guessed_at() {
        for text in
            ["wg-quick journal 2\n", "wg-quick journal 1\nundo x\n", "wg-quick journal 1\nx y\n"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
