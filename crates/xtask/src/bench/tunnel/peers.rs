//! The daemons that are compared.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use testbed::{daemons, originals};

/// Who made a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    Culvert,
    WireguardGo,
    Boringtun,
    Gotatun,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Culvert => "culvert",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
        })
    }
}

/// What our daemon can be told to do without, see `WG_NO_OFFLOAD` in its manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Offload {
    Tun,
    Gso,
    Gro,
}

impl Offload {
    fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Gso => "gso",
            Self::Gro => "gro",
        }
    }
}

/// A daemon that makes an interface and serves its UAPI socket.
pub(super) struct Implementation {
    pub(super) name: String,
    /// The command that starts it in the background, without the interface's name.
    pub(super) command: String,
    /// The value of `WG_NO_OFFLOAD`; ours alone looks at it.
    pub(super) no_offload: String,
}

/// Those named, installed if need be, and our daemon without each of the offloads and without all
/// of them together. One that cannot be had is said and left out.
pub(super) fn chosen(names: &[Name], without: &[Offload]) -> Vec<Implementation> {
    let mut chosen = Vec::new();
    for name in names {
        match command(*name) {
            Ok(command) => {
                let no_offload = String::new();
                chosen.push(Implementation { name: name.to_string(), command, no_offload });
            }
            Err(error) => println!("{name} is left out: {error:#}"),
        }
    }
    chosen.extend(reduced(without));
    chosen
}

const OURS: &str = "wg-userspace";
/// boringtun and gotatun log into a file that stays unless they are given another.
const BORINGTUN_OPTIONS: &str = "--disable-drop-privileges --verbosity error --log /dev/null";

fn command(name: Name) -> Result<String> {
    match name {
        Name::Culvert => Ok(OURS.to_owned()),
        Name::WireguardGo => Ok(originals::wireguard_go()?.display().to_string()),
        Name::Boringtun => Ok(format!("{} {BORINGTUN_OPTIONS}", daemons::boringtun()?.display())),
        Name::Gotatun => Ok(format!("{} {BORINGTUN_OPTIONS}", daemons::gotatun()?.display())),
    }
}

/// Our daemon without each of these offloads, and without all of them when there are several.
fn reduced(without: &[Offload]) -> Vec<Implementation> {
    let ours = |name: String, no_offload: String| Implementation {
        name,
        command: OURS.to_owned(),
        no_offload,
    };
    let names: Vec<_> = without.iter().map(|offload| offload.name()).collect();
    let mut reduced: Vec<_> =
        names.iter().map(|name| ours(format!("culvert, no {name}"), (*name).to_owned())).collect();
    if names.len() > 1 {
        reduced.push(ours(format!("culvert, no {}", names.join("+")), names.join(",")));
    }
    reduced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_left_out_one_by_one_and_together() {
        let rows = |without: &[Offload]| -> Vec<_> {
            let rows = reduced(without).into_iter();
            rows.map(|row| format!("{}: {}", row.name, row.no_offload)).collect()
        };
        assert_eq!(rows(&[]), Vec::<String>::new());
        assert_eq!(rows(&[Offload::Gso]), ["culvert, no gso: gso"]);
        assert_eq!(
            rows(&[Offload::Tun, Offload::Gro]),
            ["culvert, no tun: tun", "culvert, no gro: gro", "culvert, no tun+gro: tun,gro"]
        );
    }

    #[test]
    fn implementations_are_called_as_the_option_calls_them() {
        for name in Name::value_variants() {
            let value = name.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), name.to_string());
        }
    }
}
