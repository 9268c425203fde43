//! What a host's network and run-time files look like, to compare before and after.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

use crate::Host;

/// The state of a host that programs under test may change, as text by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    topics: BTreeMap<&'static str, String>,
}

impl Snapshot {
    /// The lines that only `self` has (`-`) and only `after` has (`+`), by topic; empty when the
    /// two are equal.
    #[must_use]
    pub fn difference(&self, after: &Self) -> String {
        let mut text = String::new();
        for (topic, before) in &self.topics {
            let after = after.topics.get(topic).map_or("", String::as_str);
            if before == after {
                continue;
            }
            text.push_str(&format!("{topic}:\n"));
            for line in missing_from(after, before) {
                text.push_str(&format!("- {line}\n"));
            }
            for line in missing_from(before, after) {
                text.push_str(&format!("+ {line}\n"));
            }
        }
        text
    }

    /// One topic of those that [`Host::snapshot`] lists, as text.
    #[must_use]
    pub fn topic(&self, topic: &str) -> &str {
        self.topics.get(topic).map_or("", String::as_str)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (topic, text) in &self.topics {
            writeln!(f, "{topic}:\n{text}")?;
        }
        Ok(())
    }
}

impl Host {
    /// Links and addresses (`ip addr`), routes of all tables (`ip -4 route`, `ip -6 route`), rules
    /// (`ip -4 rule`, `ip -6 rule`), listening sockets (`ss`), files of `/run/wireguard`,
    /// `/run/wg-quick` and `/etc/wireguard` (`files`), `/etc/resolv.conf` (`resolver`) and
    /// processes without their ids (`processes`).
    ///
    /// # Errors
    /// When iproute2 is missing.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let ask = |line: &str| Ok::<_, anyhow::Error>(self.run(line)?.success()?.stdout);
        let mut processes: Vec<_> = self.processes()?.into_iter().map(|p| p.command).collect();
        processes.sort();
        let mut sockets: Vec<_> = ask("ss -H -l -n -t -u")?
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        sockets.sort();
        let mut files = String::new();
        for folder in ["/run/wireguard", "/run/wg-quick", "/etc/wireguard"] {
            list(&self.path(folder), folder, &mut files)
                .with_context(|| format!("cannot list {folder} of {}", self.name()))?;
        }
        Ok(Snapshot {
            topics: BTreeMap::from([
                ("ip addr", ask("ip -details addr show")?),
                ("ip -4 route", ask("ip -4 route show table all")?),
                ("ip -6 route", ask("ip -6 route show table all")?),
                ("ip -4 rule", ask("ip -4 rule show")?),
                ("ip -6 rule", ask("ip -6 rule show")?),
                ("ss", sockets.join("\n")),
                ("files", files),
                ("resolver", self.read_file("/etc/resolv.conf")?),
                ("processes", processes.join("\n")),
            ]),
        })
    }
}

fn missing_from<'a>(there: &str, here: &'a str) -> impl Iterator<Item = &'a str> {
    let there: Vec<String> = there.lines().map(str::to_owned).collect();
    here.lines().filter(move |line| !there.iter().any(|other| other == line))
}

/// One line for each file below `folder`: mode, length unless it is a socket, and name. A folder
/// itself is no file: an empty one is as good as none.
fn list(folder: &Path, name: &str, lines: &mut String) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut names =
        entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    for file in names {
        let path = folder.join(&file);
        let shown = format!("{name}/{}", file.to_string_lossy());
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            list(&path, &shown, lines)?;
            continue;
        }
        let length = if kind.is_socket() { 0 } else { metadata.len() };
        lines.push_str(&format!("{:o} {length} {shown}\n", metadata.permissions().mode()));
    }
    Ok(())
}
