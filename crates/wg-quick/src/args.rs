//! What the command line asks for.

use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use crate::resolve::{self, Resolve};

const DRY_RUN: &str = "dry-run";
const RESOLVE: &str = "resolve";

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print the usage because it was asked for.
    Help,
    /// Bring the tunnel up.
    Up {
        /// The file or the interface.
        target: OsString,
        /// Only say what would be done.
        dry_run: bool,
        /// What to do about endpoints that do not resolve.
        resolve: Resolve,
    },
    /// Have the tunnel follow its file.
    Reload {
        /// The file or the interface.
        target: OsString,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Look up endpoints in the background; for this program alone.
    ResolveEndpoints(OsString),
    /// Take the tunnel down.
    Down(OsString),
    /// Write the interface's state to the file.
    Save(OsString),
    /// Print the part of the file that `wg` reads.
    Strip(OsString),
}

/// Reads the arguments, the program's name included; `None` when they are no request.
pub(crate) fn parse(arguments: &[OsString]) -> Option<Request> {
    if let [_, only] = arguments
        && ["help", "-h", "--help"].iter().any(|word| only == OsStr::new(word))
    {
        return Some(Request::Help);
    }
    let matches = command().try_get_matches_from(arguments).ok()?;
    let (verb, matches) = matches.subcommand()?;
    let target = matches.get_one::<OsString>("TARGET")?.clone();
    match verb {
        "up" => Some(Request::Up {
            target,
            dry_run: matches.get_flag(DRY_RUN),
            resolve: match matches.get_one::<String>(RESOLVE)?.as_str() {
                "background" => Resolve::Background,
                _ => Resolve::Wait,
            },
        }),
        "reload" => Some(Request::Reload { target, dry_run: matches.get_flag(DRY_RUN) }),
        resolve::VERB => Some(Request::ResolveEndpoints(target)),
        "down" => Some(Request::Down(target)),
        "save" => Some(Request::Save(target)),
        "strip" => Some(Request::Strip(target)),
        _ => None,
    }
}

/// The usage. Its first line is part of the contract with scripts.
pub(crate) fn usage(program: &str) -> String {
    format!(
        "\
Usage: {program} [ up | down | save | strip ] [ CONFIG_FILE | INTERFACE ]

  CONFIG_FILE is a path that ends in the interface's name and `.conf'. A bare
  INTERFACE stands for /etc/wireguard/INTERFACE.conf. The file is what wg(8)
  reads with `setconf', and its [Interface] section may also hold:

  - Address: addresses of the interface, with an optional prefix length;
    may be given more than once.
  - DNS: name servers and search domains while the interface is up.
  - MTU: in bytes; found from the routes to the peers where not given.
  - Table: the routing table for the peers' allowed IPs, by number or name;
    `off' for no routes, `auto' for the main table.
  - PreUp, PostUp, PreDown, PostDown: commands for bash(1), run in order at
    that point; `%i' stands for INTERFACE.
  - SaveConfig: `true' to write the interface's state back on the way down.

  Also: {program} reload CONFIG_FILE | INTERFACE, which changes what differs from
  the file and leaves the rest alone. With `--dry-run', `up' and `reload' only say
  what they would do. With `--resolve=background', `up' does not wait for names of
  endpoints that do not resolve, and looks them up later.
"
    )
}

fn command() -> Command {
    let verb = |name: &'static str| {
        let target = Arg::new("TARGET")
            .required(true)
            .allow_hyphen_values(true)
            .value_parser(ValueParser::os_string());
        Command::new(name).disable_help_flag(true).arg(target)
    };
    let dry_run = || Arg::new(DRY_RUN).long(DRY_RUN).action(ArgAction::SetTrue);
    let resolve = Arg::new(RESOLVE)
        .long(RESOLVE)
        .require_equals(true)
        .value_parser(["wait", "background"])
        .default_value("wait");
    Command::new("wg-quick")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .subcommands([
            verb("up").arg(dry_run()).arg(resolve),
            verb("reload").arg(dry_run()),
            verb("down"),
            verb("save"),
            verb("strip"),
            verb(resolve::VERB),
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Request> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn up(target: &str, dry_run: bool, resolve: Resolve) -> Request {
        Request::Up { target: target.into(), dry_run, resolve }
    }

    #[test]
    fn a_verb_and_a_target_are_a_request() {
        assert_eq!(parsed("wg-quick up wg0"), Some(up("wg0", false, Resolve::Wait)));
        assert_eq!(parsed("wg-quick down ./wg0.conf"), Some(Request::Down("./wg0.conf".into())));
        assert_eq!(parsed("wg-quick save wg0"), Some(Request::Save("wg0".into())));
        assert_eq!(parsed("wg-quick strip -x"), Some(Request::Strip("-x".into())));
        assert_eq!(parsed("wg-quick up --help"), Some(up("--help", false, Resolve::Wait)));
        assert_eq!(parsed("wg-quick up --dry-run wg0"), Some(up("wg0", true, Resolve::Wait)));
        assert_eq!(
            parsed("wg-quick up --resolve=background wg0"),
            Some(up("wg0", false, Resolve::Background))
        );
        let reload = |dry_run| Some(Request::Reload { target: "wg0".into(), dry_run });
        assert_eq!(parsed("wg-quick reload wg0"), reload(false));
        assert_eq!(parsed("wg-quick reload wg0 --dry-run"), reload(true));
    }

    #[test]
    fn help_is_asked_for_in_three_ways() {
        for line in ["wg-quick help", "wg-quick -h", "wg-quick --help"] {
            assert_eq!(parsed(line), Some(Request::Help), "{line}");
        }
    }

    #[test]
    fn the_manual_and_the_completions_have_every_verb_and_option() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let manual = read("man/wg-quick.8");
        let completions = ["wg-quick.bash", "_wg-quick", "wg-quick.fish"]
            .map(|n| read(&format!("completions/{n}")));
        let command = command();
        let mut documented = vec!["help"];
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != resolve::VERB) {
            let name = verb.get_name();
            documented.push(name);
            assert!(completions.iter().all(|text| text.contains(name)), "{name}");
            for option in verb.get_arguments().filter_map(Arg::get_long) {
                assert!(manual.contains(&format!(".It Fl -{option}")), "{name} --{option}");
                assert!(completions.iter().all(|text| text.contains(option)), "--{option}");
            }
        }
        let described = manual.lines().filter_map(|line| line.strip_prefix(".It Cm "));
        let mut described: Vec<_> = described.filter_map(|line| line.split(' ').next()).collect();
        described.sort_unstable();
        documented.sort_unstable();
        assert_eq!(described, documented);
    }

    #[test]
    fn everything_else_is_no_request() {
        for line in
            ["wg-quick", "wg-quick up", "wg-quick up a b", "wg-quick frobnicate wg0", "wg-quick -v"]
        {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
