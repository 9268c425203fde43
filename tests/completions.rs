//! The completions, asked of the shells themselves, on a host with interfaces, a peer and files. A
//! shell that is not there is passed over and named; `cargo xtask test` installs all three.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use culvert_tests::Daemon;
use testbed::originals::COLUMNS;
use testbed::{Host, report};

const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A line as far as it is typed, some of what has to be offered, and what must not.
const LINES: [(&str, &[&str], &[&str]); 36] = [
    ("wg ", &["show", "showconf", "set", "syncconf", "genkey", "pubkey"], &["wg0", "peers"]),
    ("wg sh", &["show", "showconf"], &["set"]),
    ("wg show ", &["all", "interfaces", "wg0", "wg1"], &["peers", "show"]),
    ("wg show wg0 ", &COLUMNS, &["wg0", "interfaces"]),
    ("wg show all l", &["listen-port", "latest-handshakes"], &["peers"]),
    ("wg show interfaces ", &[], &["peers", "dump"]),
    ("wg show wg0 dump ", &[], &["peers", "dump", "wg0"]),
    ("wg showconf ", &["wg0", "wg1"], &["all", "interfaces"]),
    ("wg setconf ", &["wg0", "wg1"], &["all"]),
    ("wg setconf wg0 no-such", &[], &["wg0", "dump"]),
    ("wg set wg0 ", &["listen-port", "fwmark", "private-key", "peer"], &["endpoint", "remove"]),
    ("wg set wg0 fwmark ", &["off"], &["peer"]),
    ("wg set wg0 fwmark 5 peer ", &[PEER], &["fwmark", "endpoint"]),
    ("wg set wg0 peer xTIB", &[PEER], &["remove"]),
    (
        "wg set wg0 peer xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= ",
        &["remove", "preshared-key", "endpoint", "allowed-ips", "peer"],
        &["fwmark", PEER],
    ),
    ("wg genkey ", &[], &["wg0", "show"]),
    ("wg-quick ", &["up", "down", "reload", "save", "strip"], &["home", "wg0"]),
    ("wg-quick s", &["save", "strip"], &["up"]),
    ("wg-quick up ", &["home", "office"], &["up", "wg0", "peers"]),
    ("wg-quick up ho", &["home"], &["office"]),
    ("wg-quick up --", &["--dry-run"], &["home"]),
    ("wg-quick up --dry-run ", &["home", "office"], &["up", "wg0"]),
    ("wg-quick up home ", &[], &["home", "office", "up"]),
    ("wg-quick up /etc/wireguard/ho", &["/etc/wireguard/home.conf"], &["home", "office"]),
    ("wg-quick down ", &["home", "wg0", "wg1"], &["up", "--dry-run"]),
    ("wg-quick down --", &[], &["--dry-run"]),
    ("wg-quick reload ", &["wg0"], &["up"]),
    ("wg-quick reload --", &["--dry-run"], &["--resolve="]),
    ("wg-quick save ", &["wg1"], &["up"]),
    ("wg-quick strip o", &["office"], &["home", "wg0"]),
    ("wg-quick help ", &[], &["up"]),
    ("wg-userspace ", &["home", "office"], &["wg0"]),
    ("wg-userspace -", &["--foreground", "-f", "--version", "--help"], &["home"]),
    ("wg-userspace --fo", &["--foreground"], &["--help"]),
    ("wg-userspace -f h", &["home"], &["office"]),
    ("wg-userspace --foreground o", &["office"], &["home"]),
];

#[test]
fn bash_completes() -> Result<()> {
    let script = |file: &Path, line: &str| {
        format!(
            "source '{}.bash'; COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}; \
             read -ra COMP_WORDS <<< \"$COMP_LINE\"; \
             [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             set -- $(complete -p ${{COMP_WORDS[0]}}); $3; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        )
    };
    check("bash", &["--norc", "-c"], script, &[("wg-quick up --resolve=b", "background")])
}

/// The completion system needs a terminal, so its functions are stood in for.
#[test]
fn zsh_completes() -> Result<()> {
    let script = |file: &Path, line: &str| {
        let (words, last) = line.rsplit_once(' ').unwrap_or(("", line));
        let name = file.file_name().unwrap_or_default().display();
        format!(
            "offer() {{ for one in \"$@\"; do [[ $one == ${{words[CURRENT]}}* ]] && \
             print -r -- \"$one\"; done }}; \
             compadd() {{ shift; offer \"$@\" }}; \
             _describe() {{ offer \"${{(@)${{(P@)@[-1]}}%%:*}}\" }}; \
             _files() {{ [[ $1 == -g ]] && offer ${{words[CURRENT]}}${{~2}}(N) }}; \
             words=({words} '{last}') CURRENT=${{#words}}; \
             source '{}'",
            file.with_file_name(format!("_{name}")).display()
        )
    };
    let more = [("wg-quick up --resolve=b", "--resolve=background")];
    check("zsh", &["-f", "-c"], script, &more)
}

#[test]
fn fish_completes() -> Result<()> {
    let script =
        |file: &Path, line: &str| format!("source '{}.fish'; complete -C '{line}'", file.display());
    let more = [("wg-quick up --resolve=b", "--resolve=background")];
    check("fish", &["--no-config", "-c"], script, &more)
}

/// `script` makes the shell print what it offers, a line each, perhaps with a description; it is
/// given the file of the completions without what a shell adds to its name. `more` are lines that
/// each shell completes in its own way.
fn check(
    shell: &str,
    options: &[&str],
    script: impl Fn(&Path, &str) -> String,
    more: &[(&str, &str)],
) -> Result<()> {
    if Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_err() {
        return report::cannot_run(&format!("{shell}_completes"), &format!("there is no {shell}"));
    }
    let host = host()?;
    let offer = |line: &str| -> Result<Vec<String>> {
        let program = line.split(' ').next().unwrap_or_default();
        let mut command = host.command(shell);
        command.args(options).arg(script(&folder().join(program), line));
        let output = host.run_command(command.env("HOME", "/run"), "")?;
        ensure!(output.stderr.is_empty(), "{shell}, `{line}': {}", output.stderr);
        let words = output.stdout.lines().filter_map(|line| line.split('\t').next());
        Ok(words.map(str::to_owned).collect())
    };
    for (line, offered, not_offered) in LINES {
        let words = offer(line)?;
        let has = |word: &&str| words.iter().any(|offered| offered == *word);
        if let Some(word) = offered.iter().find(|word| !has(word)) {
            anyhow::bail!("{shell}, `{line}': no {word} in {words:?}");
        }
        if let Some(word) = not_offered.iter().find(|word| has(word)) {
            anyhow::bail!("{shell}, `{line}': {word} in {words:?}");
        }
    }
    for (line, expected) in more {
        let words = offer(line)?;
        ensure!(words == [*expected], "{shell}, `{line}': {words:?}");
    }
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../completions")
}

/// A host with two interfaces, one of which has a peer, and the files of two others.
fn host() -> Result<Host> {
    let host = Host::new("completions")?;
    Daemon::Ours.start(&host, "wg0")?;
    Daemon::Ours.start(&host, "wg1")?;
    host.run(&format!("wg set wg0 peer {PEER}"))?.success()?;
    host.write_file("/etc/wireguard/home.conf", "", 0o600)?;
    host.write_file("/etc/wireguard/office.conf", "", 0o600)?;
    host.write_file("/etc/wireguard/peers.txt", "", 0o600)?;
    Ok(host)
}
