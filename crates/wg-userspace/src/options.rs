//! The command line and the environment, as wireguard-go reads them.

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use log::LevelFilter;
use wg_tunnel::{Lanes, Offloads};

#[derive(Parser)]
#[command(name = "wg-userspace", version, about = "A userspace WireGuard daemon for Linux")]
#[command(after_help = "Environment:
  WG_PROCESS_FOREGROUND=1  as --foreground
  WG_NO_OFFLOAD=LIST       do without these offloads: tun, gso, gro, separated by commas
  WG_LANES=LANESxWORKERS   so many lanes, with so many threads for each direction
  LOG_LEVEL                verbose or debug, info, error (the default), silent
  WG_TUN_FD                number of an open TUN device to use
  WG_UAPI_FD               number of a listening UAPI socket to use")]
struct Arguments {
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Name of the interface to create, at most 15 characters
    #[arg(value_name = "NAME")]
    interface: String,
}

/// What the user asked for.
pub(crate) struct Options {
    pub(crate) interface: String,
    pub(crate) foreground: bool,
    pub(crate) log_level: LevelFilter,
    pub(crate) offloads: Offloads,
    pub(crate) lanes: Lanes,
    /// Keep standard output and error open in the background, because someone wants the log.
    pub(crate) keep_output: bool,
}

impl Options {
    /// Reads the options, or says why not and returns the exit code.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        let arguments = Arguments::try_parse().map_err(|error| {
            // A closed pipe is no reason to say more.
            let _ = error.print();
            ExitCode::from(u8::from(error.use_stderr()))
        })?;
        let offloads = parsed("WG_NO_OFFLOAD")?;
        let lanes = parsed("WG_LANES")?;
        let variable = std::env::var_os("LOG_LEVEL");
        let log_level = log_level(variable.as_ref().and_then(|value| value.to_str()));
        Ok(Self {
            interface: arguments.interface,
            foreground: arguments.foreground
                || std::env::var_os("WG_PROCESS_FOREGROUND").is_some_and(|value| value == "1"),
            log_level,
            offloads,
            lanes,
            keep_output: variable.is_some_and(|value| !value.is_empty())
                && log_level != LevelFilter::Off,
        })
    }
}

/// What a variable says, or its default where it is not set.
fn parsed<T: FromStr<Err: Display>>(variable: &str) -> Result<T, ExitCode> {
    let value = std::env::var_os(variable).unwrap_or_default();
    value.to_string_lossy().parse().map_err(|error| {
        eprintln!("wg-userspace: {variable}: {error}");
        ExitCode::FAILURE
    })
}

fn log_level(value: Option<&str>) -> LevelFilter {
    match value {
        Some("verbose" | "debug") => LevelFilter::Debug,
        Some("info") => LevelFilter::Info,
        Some("silent") => LevelFilter::Off,
        _ => LevelFilter::Error,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn levels_are_those_of_wireguard_go() {
        assert_eq!(log_level(Some("verbose")), LevelFilter::Debug);
        assert_eq!(log_level(Some("silent")), LevelFilter::Off);
        assert_eq!(log_level(Some("nonsense")), LevelFilter::Error);
        assert_eq!(log_level(None), LevelFilter::Error);
    }
}
