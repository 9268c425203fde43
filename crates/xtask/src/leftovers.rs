//! What a test run must not leave on the real machine.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use testbed::Host;

/// What tunnels and hosts could leave: interfaces, named namespaces, sockets and journals.
pub(crate) struct Machine(BTreeSet<String>);

impl Machine {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let mut things = BTreeSet::new();
        for folder in ["/sys/class/net", "/run/netns", "/run/wireguard", "/run/wg-quick"] {
            // A folder that is not there holds nothing.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                things.insert(entry.path().display().to_string());
            }
        }
        Self(things)
    }

    /// What there is that was not there `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// The namespaces of a host, to look for after its end.
pub(crate) struct Namespaces(Vec<String>);

impl Namespaces {
    /// As the kernel names them: `net:[4026532281]`.
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let name = |kind| {
            let link = fs::read_link(format!("/proc/{}/ns/{kind}", host.init_pid()))?;
            Ok(link.display().to_string())
        };
        ["net", "mnt", "pid", "uts"].into_iter().map(name).collect::<Result<_>>().map(Self)
    }

    /// The processes that still live in one of them.
    pub(crate) fn processes(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot read /proc")? {
            let folder = entry?.path();
            // Whoever goes meanwhile has no namespaces, as have other things in /proc.
            for link in fs::read_dir(folder.join("ns")).into_iter().flatten().flatten() {
                let name = fs::read_link(link.path()).unwrap_or_default().display().to_string();
                if self.0.contains(&name) {
                    found.push(format!("{} in {name}", folder.display()));
                }
            }
        }
        Ok(found)
    }
}

/// What a host still has after `wg-quick down`: interfaces other than its own, processes, files of
/// tunnels.
pub(crate) fn of_tunnels(host: &Host) -> Result<Vec<String>> {
    let mut found: Vec<_> = host.processes()?.into_iter().map(|process| process.command).collect();
    found.extend(host.interfaces()?.into_iter().filter(|name| name != "lo" && name != "eth0"));
    for folder in ["/run/wireguard", "/run/wg-quick"] {
        for entry in fs::read_dir(host.path(folder)).into_iter().flatten() {
            found.push(format!("{folder}/{}", entry?.file_name().display()));
        }
    }
    Ok(found)
}
