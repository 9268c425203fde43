//! `cargo xtask completions`: the completions of `wg`, for three shells from one list.
//!
//! They are checked in, for packages to install; a test tells when they are out of date.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::build;

const COMMANDS: [(&str, &str); 9] = [
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

const COLUMNS: [&str; 12] = [
    "public-key",
    "private-key",
    "listen-port",
    "fwmark",
    "peers",
    "preshared-keys",
    "endpoints",
    "allowed-ips",
    "latest-handshakes",
    "transfer",
    "persistent-keepalive",
    "dump",
];

const INTERFACE_SETTINGS: [(&str, &str); 4] = [
    ("listen-port", "UDP port"),
    ("fwmark", "Mark of outgoing packets"),
    ("private-key", "File with the private key"),
    ("peer", "Public key of a peer"),
];

const PEER_SETTINGS: [(&str, &str); 6] = [
    ("remove", "Remove the peer"),
    ("preshared-key", "File with the preshared key"),
    ("endpoint", "Address and port"),
    ("persistent-keepalive", "Seconds between keepalives"),
    ("allowed-ips", "Prefixes, separated by commas"),
    ("peer", "Public key of another peer"),
];

/// Writes the checked-in files anew.
pub(crate) fn run() -> Result<()> {
    let folder = build::workspace()?.join("completions");
    for (name, text) in files() {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn files() -> [(&'static str, String); 3] {
    let names = |list: &[(&'static str, &str)]| {
        list.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    };
    let bash = include_str!("completions/wg.bash")
        .replace("@COMMANDS@", &names(&COMMANDS))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@CONF@", "@(set|add|sync)conf")
        .replace("@INTERFACE_SETTINGS@", &names(&INTERFACE_SETTINGS))
        .replace("@PEER_SETTINGS@", &names(&PEER_SETTINGS));
    let zsh = include_str!("completions/_wg")
        .replace("@COMMANDS@", &described(&COMMANDS, "        '", ":", "'"))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@INTERFACE_SETTINGS@", &described(&INTERFACE_SETTINGS, "        '", ":", "'"))
        .replace("@PEER_SETTINGS@", &described(&PEER_SETTINGS, "        '", ":", "'"));
    let fish = |condition: &str, list: &[(&'static str, &str)]| {
        described(list, &format!("complete -c wg -n '{condition}' -a "), " -d '", "'")
    };
    let of_interface = INTERFACE_SETTINGS.iter().chain(&PEER_SETTINGS);
    let takes_value: Vec<_> =
        of_interface.map(|(name, _)| *name).filter(|name| *name != "remove").collect();
    let fish = include_str!("completions/wg.fish")
        .replace("@TAKES_VALUE@", &takes_value.join(" "))
        .replace("@COMMANDS@", &fish("__wg_at 1", &COMMANDS))
        .replace("@COLUMNS@", &COLUMNS.join(" "))
        .replace("@INTERFACE_SETTINGS@", &fish("__wg_set interface", &INTERFACE_SETTINGS))
        .replace("@PEER_SETTINGS@", &fish("__wg_set peer", &PEER_SETTINGS));
    [("wg.bash", bash), ("_wg", zsh), ("wg.fish", fish)]
}

/// A line for each name with its description.
fn described(list: &[(&str, &str)], before: &str, between: &str, after: &str) -> String {
    let mut lines = String::new();
    for (name, description) in list {
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
        for (name, text) in files() {
            let checked_in = fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(checked_in, text, "run `cargo xtask completions`");
        }
    }
}
