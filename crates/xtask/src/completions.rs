//! `cargo xtask completions`: the completions of the three programs for three shells, from one list
//! of words and a template a shell.
//!
//! They are checked in, for packages to install; a test tells when they are out of date. Other tests
//! compare the words with what the programs know.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use testbed::originals::COLUMNS;

use crate::build;

/// Names and what they do.
type Words = [(&'static str, &'static str)];

const WG_COMMANDS: &Words = &[
    ("show", "Show interfaces and peers"),
    ("showconf", "Show an interface as a configuration file"),
    ("set", "Change an interface and its peers"),
    ("setconf", "Make an interface what a file says"),
    ("addconf", "Add what a file says to an interface"),
    ("syncconf", "Change only what differs from a file"),
    ("genkey", "Make a private key"),
    ("genpsk", "Make a preshared key"),
    ("pubkey", "Work out the public key of a private one"),
];

const INTERFACE_SETTINGS: &Words = &[
    ("listen-port", "UDP port"),
    ("fwmark", "Mark of outgoing packets"),
    ("private-key", "File with the private key"),
    ("peer", "Public key of a peer"),
];

const PEER_SETTINGS: &Words = &[
    ("remove", "Remove the peer"),
    ("preshared-key", "File with the preshared key"),
    ("endpoint", "Address and port"),
    ("persistent-keepalive", "Seconds between keepalives"),
    ("allowed-ips", "Prefixes, separated by commas"),
    ("peer", "Public key of another peer"),
];

const QUICK_VERBS: &Words = &[
    ("up", "Bring a tunnel up"),
    ("down", "Take a tunnel down"),
    ("reload", "Change what differs from the file"),
    ("save", "Write the state of the interface to its file"),
    ("strip", "Print what wg reads of the file"),
];

/// The verbs of `wg-quick` that are about a tunnel that is up.
const OF_RUNNING: [&str; 3] = ["down", "reload", "save"];

const DRY_RUN: (&str, &str) = ("--dry-run", "Print the steps and do none");
const RESOLVE: (&str, &str) = ("--resolve=", "What to do about names that do not resolve");
const RESOLVE_HOW: [&str; 2] = ["wait", "background"];

const USERSPACE_OPTIONS: &[(&str, &str, &str)] = &[
    ("f", "foreground", "Stay in the foreground"),
    ("h", "help", "Print the usage"),
    ("V", "version", "Print the version"),
];

/// Writes the checked-in files anew.
pub(crate) fn run() -> Result<()> {
    let folder = build::workspace()?.join("completions");
    for (name, text) in files() {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn files() -> Vec<(&'static str, String)> {
    [wg().as_slice(), &wg_quick(), &wg_userspace()].concat()
}

fn wg() -> [(&'static str, String); 3] {
    let bash = include_str!("completions/wg.bash")
        .replace("@COMMANDS@", &names(WG_COMMANDS))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@CONF@", "@(set|add|sync)conf")
        .replace("@INTERFACE_SETTINGS@", &names(INTERFACE_SETTINGS))
        .replace("@PEER_SETTINGS@", &names(PEER_SETTINGS));
    let zsh = include_str!("completions/_wg")
        .replace("@COMMANDS@", &for_zsh(WG_COMMANDS))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@INTERFACE_SETTINGS@", &for_zsh(INTERFACE_SETTINGS))
        .replace("@PEER_SETTINGS@", &for_zsh(PEER_SETTINGS));
    let settings = INTERFACE_SETTINGS.iter().chain(PEER_SETTINGS);
    let takes_value: Vec<_> =
        settings.map(|(name, _)| *name).filter(|name| *name != "remove").collect();
    let fish = include_str!("completions/wg.fish")
        .replace("@TAKES_VALUE@", &takes_value.join(" "))
        .replace("@COMMANDS@", &for_fish("wg", "__wg_at 1", WG_COMMANDS))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@INTERFACE_SETTINGS@", &for_fish("wg", "__wg_set interface", INTERFACE_SETTINGS))
        .replace("@PEER_SETTINGS@", &for_fish("wg", "__wg_set peer", PEER_SETTINGS));
    [("wg.bash", bash), ("_wg", zsh), ("wg.fish", fish)]
}

fn wg_quick() -> [(&'static str, String); 3] {
    let (up, reload) = ([DRY_RUN, RESOLVE], [DRY_RUN]);
    let how = RESOLVE_HOW.join(" ");
    // zsh would put a blank behind the `='.
    let whole = RESOLVE_HOW.map(|how| format!("        '{}{how}:{}'", RESOLVE.0, RESOLVE.1));
    let up_of_zsh = format!("{}\n{}", for_zsh(&[DRY_RUN]), whole.join("\n"));
    let bash = include_str!("completions/wg-quick.bash")
        .replace("@VERBS@", &names(QUICK_VERBS))
        .replace("@HOW@", &how)
        .replace("@UP_OPTIONS@", &names(&up))
        .replace("@RELOAD_OPTIONS@", &names(&reload))
        .replace("@RUNNING@", &OF_RUNNING.join(" | "));
    let zsh = include_str!("completions/_wg-quick")
        .replace("@VERBS@", &for_zsh(QUICK_VERBS))
        .replace("@UP_OPTIONS@", &up_of_zsh)
        .replace("@RELOAD_OPTIONS@", &for_zsh(&reload))
        .replace("@RUNNING@", &OF_RUNNING.join("|"));
    let fish = include_str!("completions/wg-quick.fish")
        .replace("@VERBS@", &for_fish("wg-quick", "__wg_quick_needs command", QUICK_VERBS))
        .replace("@HOW@", &how)
        .replace("@DRY_RUN@", DRY_RUN.1)
        .replace("@RESOLVE@", RESOLVE.1)
        .replace("@ALL@", &names(QUICK_VERBS))
        .replace("@RUNNING@", &OF_RUNNING.join(" "));
    [("wg-quick.bash", bash), ("_wg-quick", zsh), ("wg-quick.fish", fish)]
}

fn wg_userspace() -> [(&'static str, String); 3] {
    let words: Vec<_> =
        USERSPACE_OPTIONS.iter().map(|(short, long, _)| format!("-{short} --{long}")).collect();
    let bash = include_str!("completions/wg-userspace.bash").replace("@OPTIONS@", &words.join(" "));
    let (mut lines, mut of_fish) = (String::new(), String::new());
    for (short, long, what) in USERSPACE_OPTIONS {
        lines.push_str(&format!("        '-{short}:{what}'\n        '--{long}:{what}'\n"));
        of_fish.push_str(&format!("complete -c wg-userspace -s {short} -l {long} -d '{what}'\n"));
    }
    let zsh = include_str!("completions/_wg-userspace").replace("@OPTIONS@\n", &lines);
    let fish = include_str!("completions/wg-userspace.fish").replace("@OPTIONS@\n", &of_fish);
    [("wg-userspace.bash", bash), ("_wg-userspace", zsh), ("wg-userspace.fish", fish)]
}

fn names(words: &Words) -> String {
    words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

fn for_zsh(words: &Words) -> String {
    described(words, "        '", ":", "'")
}

fn for_fish(program: &str, condition: &str, words: &Words) -> String {
    described(words, &format!("complete -c {program} -n '{condition}' -a "), " -d '", "'")
}

/// A line for each name with its description.
fn described(words: &Words, before: &str, between: &str, after: &str) -> String {
    let mut lines = String::new();
    for (name, description) in words {
        writeln!(lines, "{before}{name}{between}{description}{after}").expect("a string takes all");
    }
    lines.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_completions_are_the_generated_ones() {
        let folder = build::workspace().unwrap().join("completions");
        let files = files();
        for (name, text) in &files {
            let is_word = |part: &str| part.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
            let left = text.split('@').skip(1).find(|part| !part.is_empty() && is_word(part));
            assert_eq!(left, None, "{name}: a word that is not filled in");
            let checked_in = fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(checked_in, *text, "run `cargo xtask completions`");
        }
        assert_eq!(fs::read_dir(folder).unwrap().count(), files.len());
    }
}
