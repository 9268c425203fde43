//! The programs reach the kernel themselves: no `ip`, `nft`, `sysctl`, and no shell but for hooks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use culvert_tests::Keys;
use testbed::{Host, packages};

/// A full tunnel, with all that it needs.
const SCRIPT: &str = "wg-quick up wg0 && wg-quick reload wg0 && wg-quick save wg0 && \
                      wg-quick down wg0";

#[test]
fn up_and_down_start_nothing_but_the_daemon_and_hooks() -> Result<()> {
    packages::ensure(&["strace"])?;
    let host = Host::new("traced")?;
    let config = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.7.0.1/24, fd07::1/64\nPostUp = true\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0, 10.8.0.0/16, fd08::/64\nEndpoint = 192.0.2.1:51820\n",
        Keys::generate(&host)?.private,
        Keys::generate(&host)?.public,
    );
    host.write_file("/etc/wireguard/wg0.conf", config, 0o600)?;
    let mut strace = host.command("strace");
    strace.args(["-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none"]);
    strace.args(["-o", "/run/trace", "sh", "-c", SCRIPT]);
    host.run_command(&mut strace, "")?.success()?;

    let trace = host.read_file("/run/trace")?;
    let mut started = Vec::new();
    // Lines as `12 execve("/usr/bin/sh", ["sh", "-c", …], …) = 0`; failed ones tried a path in vain.
    for line in trace.lines().filter(|line| line.ends_with(" = 0")) {
        let path = line.split('"').nth(1).with_context(|| format!("no program in {line}"))?;
        let name = Path::new(path).file_name().context("a program has a name")?;
        started.push(name.to_string_lossy().into_owned());
    }
    let quick = "wg-quick";
    let expected = ["sh", quick, "wg-userspace", "bash", quick];
    // The daemon may or may not start itself again for the background.
    started.dedup();
    ensure!(started == expected, "{started:?}\n{trace}");
    Ok(())
}

#[test]
fn sources_name_no_program_but_the_hooks_shell() -> Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let programs = ["ip", "iptables", "nft", "sysctl", "resolvconf", "resolvectl", "bash", "sh"];
    let mut named = BTreeSet::new();
    let mut searched = 0;
    for entry in fs::read_dir(&crates)? {
        let name = entry?.file_name();
        if ["testbed", "xtask"].iter().any(|development| name == *development) {
            continue;
        }
        for file in sources(&crates.join(&name).join("src"))? {
            searched += 1;
            let text = fs::read_to_string(&file)?;
            let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
            for line in code.filter(|line| !line.trim_start().starts_with("//")) {
                let found = programs.iter().find(|name| line.contains(&format!("\"{name}\"")));
                if let Some(program) = found {
                    named.insert(format!("{} {program}", file.strip_prefix(&crates)?.display()));
                }
            }
        }
    }
    ensure!(searched > 40, "only {searched} source files found");
    // The shells of hooks, and who manages the resolver.
    let expected = [
        "wg-quick/src/dns.rs resolvconf",
        "wg-quick/src/dns.rs resolvectl",
        "wg-quick/src/hook.rs bash",
        "wg-quick/src/hook.rs sh",
    ];
    ensure!(named.iter().eq(expected.iter()), "{named:?}");
    Ok(())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            files.push(path);
        }
    }
    Ok(files)
}
