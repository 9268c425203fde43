//! The files of `examples/`, and hosts that have them.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use culvert_tests::{Daemon, wait_for_sockets};
use testbed::Host;

/// A file of `examples/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A host called `name` that has the files of `examples/RECIPE/NAME` in `/etc/wireguard`.
pub(crate) fn host(recipe: &str, name: &str) -> Result<Host> {
    let host = Host::new(name)?;
    let folder = path(&format!("{recipe}/{name}"));
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let place = format!("/etc/wireguard/{}", entry.file_name().display());
            // Programs stay programs; for the rest, a checkout's modes are not those of a secret.
            let program = entry.metadata()?.permissions().mode() & 0o100;
            host.write_file(&place, fs::read(entry.path())?, 0o600 | program)?;
        }
    }
    Ok(host)
}

/// Makes names resolve to addresses on all `hosts`.
pub(crate) fn name(hosts: &[&Host], names: &[(&str, IpAddr)]) -> Result<()> {
    for host in hosts {
        for (name, address) in names {
            host.add_host_name(*address, &format!("{name}.example"))?;
        }
    }
    Ok(())
}

/// `wg-quick up wg0`; what comes to the hosts' listening ports is no longer lost.
pub(crate) fn up(hosts: &[&Host]) -> Result<()> {
    for host in hosts {
        host.run("wg-quick up wg0")?.success()?;
        let port = host.run("wg show wg0 listen-port")?.success()?.stdout;
        wait_for_sockets(host, port.trim().parse()?, Daemon::Ours.socket_families())?;
    }
    Ok(())
}

/// `wg-quick down wg0`; no rule of the firewall is left that was not there before the tunnel.
pub(crate) fn down(hosts: &[&Host]) -> Result<()> {
    for host in hosts {
        host.run("wg-quick down wg0")?.success()?;
        let rules = host.run("nft list ruleset")?.success()?.stdout;
        let tables = rules.lines().filter(|line| line.starts_with("table "));
        let left: Vec<_> = tables.filter(|line| *line != "table inet router {").collect();
        ensure!(left.is_empty(), "{} still has {left:?}", host.name());
    }
    Ok(())
}
