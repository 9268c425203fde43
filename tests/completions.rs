//! The completions of `wg`, asked of the shells themselves. A shell that is not there is passed over
//! and named; `cargo xtask test` installs all three.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use testbed::programs;

const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A line as far as it is typed, some of what has to be offered, and what must not.
const LINES: [(&str, &[&str], &[&str]); 16] = [
    ("wg ", &["show", "showconf", "set", "syncconf", "genkey", "pubkey"], &["wg0", "peers"]),
    ("wg sh", &["show", "showconf"], &["set"]),
    ("wg show ", &["all", "interfaces", "wg0", "wg1"], &["peers", "show"]),
    ("wg show wg0 ", &["peers", "dump", "latest-handshakes"], &["wg0", "interfaces"]),
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
];

#[test]
fn bash_completes() -> Result<()> {
    check("bash", &["--norc", "-c"], |file, line| {
        format!(
            "source '{}'; COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}; _wg; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.join("wg.bash").display()
        )
    })
}

/// The completion system needs a terminal, so its functions are stood in for.
#[test]
fn zsh_completes() -> Result<()> {
    check("zsh", &["-f", "-c"], |file, line| {
        let (words, last) = line.rsplit_once(' ').unwrap_or(("", line));
        format!(
            "offer() {{ for one in \"$@\"; do [[ $one == ${{words[CURRENT]}}* ]] && \
             print -r -- \"$one\"; done }}; \
             compadd() {{ shift; offer \"$@\" }}; \
             _describe() {{ offer \"${{(@)${{(P@)@[-1]}}%%:*}}\" }}; _files() {{ }}; \
             words=({words} '{last}') CURRENT=${{#words}}; \
             source '{}'",
            file.join("_wg").display()
        )
    })
}

#[test]
fn fish_completes() -> Result<()> {
    check("fish", &["--no-config", "-c"], |file, line| {
        format!("source '{}'; complete -C '{line}'", file.join("wg.fish").display())
    })
}

/// `script` makes the shell print what it offers, a line each, perhaps with a description.
fn check(shell: &str, options: &[&str], script: impl Fn(&Path, &str) -> String) -> Result<()> {
    if Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: there is no {shell}");
        return Ok(());
    }
    let completions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../completions");
    let path = format!("{}:{}", stand_in()?.display(), env::var("PATH")?);
    for (line, offered, not_offered) in LINES {
        let mut command = Command::new(shell);
        let home = programs::target_folder()?;
        command.args(options).arg(script(&completions, line)).env("PATH", &path).env("HOME", home);
        let output = command.stdin(Stdio::null()).output().context("cannot start the shell")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(stderr.is_empty(), "{shell}, `{line}': {stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<_> =
            stdout.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        for word in offered {
            ensure!(words.contains(word), "{shell}, `{line}': no {word} in {words:?}");
        }
        for word in not_offered {
            ensure!(!words.contains(word), "{shell}, `{line}': {word} in {words:?}");
        }
    }
    Ok(())
}

/// A folder with a `wg` that knows two interfaces and a peer.
fn stand_in() -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    static ONCE: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let make = || -> Result<PathBuf> {
        let folder = programs::target_folder()?.join("completions");
        fs::create_dir_all(&folder)?;
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n'show interfaces') echo wg0 wg1 ;;\n\
             'show wg0 peers') echo {PEER} ;;\n*) exit 1 ;;\nesac\n"
        );
        // Renamed into place: a file that is being written cannot be run.
        fs::write(folder.join("wg.new"), script)?;
        fs::set_permissions(folder.join("wg.new"), fs::Permissions::from_mode(0o755))?;
        fs::rename(folder.join("wg.new"), folder.join("wg"))?;
        Ok(folder)
    };
    let folder = ONCE.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    folder.clone().map_err(anyhow::Error::msg)
}
