//! The examples of a document, tried in their order on the same hosts: a laptop and a server with a
//! cable between them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use culvert_tests::{OUTER_V4, OUTER_V6, ip};
use testbed::documents::{self, Example, Executor, Kind};
use testbed::{Host, connect};

/// What stands for any text in the output of an example.
const ANYTHING: &str = "...";

/// Tries all examples of a document but those that something else executes.
pub(crate) fn tell(document: &str) -> Result<()> {
    let hosts = hosts()?;
    let examples = documents::of(document)?;
    for example in examples.iter().filter(|example| example.executor == Executor::Story) {
        let host = hosts.get(example.host.as_str()).context("there is no such host");
        host.and_then(|host| attempt(host, example))
            .with_context(|| format!("{}\n{}", example.place, example.text))?;
        example.executed()?;
    }
    Ok(())
}

fn hosts() -> Result<BTreeMap<&'static str, Host>> {
    let names = ["server", "laptop"];
    let hosts = [Host::new(names[0])?, Host::new(names[1])?];
    connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
    for (me, host) in hosts.iter().enumerate() {
        host.add_address("eth0", &format!("{}/24", OUTER_V4[me]))?;
        host.add_address("eth0", &format!("{}/64", OUTER_V6[me]))?;
        host.add_default_route(ip(OUTER_V4[1 - me]))?;
        for (other, name) in names.iter().enumerate() {
            host.add_host_name(ip(OUTER_V4[other]), &format!("{name}.example"))?;
        }
    }
    Ok(names.into_iter().zip(hosts).collect())
}

fn attempt(host: &Host, example: &Example) -> Result<()> {
    match &example.kind {
        Kind::File(place) => {
            if Path::new(place.as_deref().unwrap_or("x.conf")).extension() == Some("conf".as_ref())
            {
                check_file(&example.text)?;
            }
            match place {
                Some(path) => host.write_file(path, &example.text, 0o600),
                None => Ok(()),
            }
        }
        Kind::Console { fails } => run(host, example, *fails),
    }
}

fn check_file(text: &str) -> Result<()> {
    let dialect = wg_config::Dialect::WgQuick;
    let parsed = wg_config::read("example", text.as_bytes(), dialect, |_| None)?;
    ensure!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    Ok(())
}

/// Runs the commands by one shell. What the example shows has to be what they print; an example that
/// shows nothing may print anything.
fn run(host: &Host, example: &Example, fails: bool) -> Result<()> {
    let (script, shown) = example.script()?;
    let mut shell = host.command("bash");
    // The folder is the host's own, so that nothing is left on the machine.
    let prelude = "exec 2>&1; set -e -o pipefail; cd /etc/wireguard\n";
    shell.args(["-c", &format!("{prelude}{script}")]);
    // No test waits for names that do not exist.
    shell.env("WG_ENDPOINT_RESOLUTION_RETRIES", "0").env("HOME", "/etc/wireguard");
    let output = host.run_command(&mut shell, "")?;
    ensure!(output.status.success() != fails, "{output}");
    if !shown.is_empty() {
        let printed = without_fallback(&output.stdout);
        ensure!(matches(&printed, &shown), "printed:\n{printed}");
    }
    Ok(())
}

/// Without the lines that tell of a kernel without WireGuard, which the documents do not suppose.
fn without_fallback(printed: &str) -> String {
    let of_fallback = |line: &&str| {
        line.starts_with("[!] This kernel has no WireGuard.")
            || line.starts_with("[#] wg-userspace ")
            || line.contains(": create a link of type wireguard: ")
    };
    printed.lines().filter(|line| !of_fallback(line)).map(|line| format!("{line}\n")).collect()
}

/// Whether all that is shown is there in its order, with nothing but what `...` stands for between.
fn matches(printed: &str, shown: &str) -> bool {
    // On a line of its own it also stands for no line.
    let shown = shown.replace(&format!("{ANYTHING}\n"), ANYTHING);
    let mut parts = shown.split(ANYTHING);
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let mut ends_in_anything = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        ends_in_anything = part.is_empty();
    }
    rest.is_empty() || ends_in_anything
}

#[test]
fn what_is_shown_has_to_be_printed() {
    assert!(matches("a\nb\n", "a\nb\n"));
    assert!(!matches("a\nb\nc\n", "a\nb\n"));
    assert!(!matches("a\nb\n", "b\n"));
    assert!(matches("a\nb\nc\n", "...\nc\n"));
    assert!(matches("c\n", "...\nc\n"));
    assert!(matches("a\nb\nc\n", "a\n...\n"));
    assert!(matches("port: 5\n", "port: ...\n"));
    assert!(!matches("mark: 5\n", "port: ...\n"));
}
