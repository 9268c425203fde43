//! `wg-quick`: an interface up and down from one configuration file.
//!
//! What a file asks for (`tunnel`) and what the host has (`observed`) give a `plan` of steps. A
//! `transaction` does them, writes the `journal`, and undoes them when one fails.

mod args;
mod config_file;
mod dns;
mod down;
mod dry_run;
mod firewall;
mod hook;
mod host;
mod journal;
mod link;
mod mtu;
mod observed;
mod plan;
mod policy;
mod privileges;
mod programs;
mod reload;
mod resolv_conf;
mod resolve;
mod route;
mod save;
mod signals;
mod state;
mod step;
mod strip;
mod transaction;
mod tunnel;
mod undo;
mod up;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use args::Request;
use hook::Failed;
use signals::Interrupted;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let outcome = match args::parse(&arguments) {
        None => {
            say(format_args!("{}", args::usage(&program()).trim_end()));
            return ExitCode::FAILURE;
        }
        Some(Request::Help) => {
            say(format_args!("{}", args::usage(&program()).trim_end()));
            return ExitCode::SUCCESS;
        }
        Some(request) => run(request, &arguments[1..]),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error).into(),
    }
}

fn run(request: Request, arguments: &[OsString]) -> anyhow::Result<()> {
    privileges::become_root(arguments)?;
    match request {
        Request::Help => Ok(()),
        Request::Up { target, dry_run: true, .. } => dry_run::up(&target),
        Request::Up { target, resolve, .. } => up::up(&target, resolve),
        Request::Reload { target, dry_run } => reload::reload(&target, dry_run),
        Request::ResolveEndpoints(target) => resolve::in_background(&target),
        Request::Down(target) => down::down(&target),
        Request::Save(target) => save::save(&target),
        Request::Strip(target) => strip::strip(&target),
    }
}

/// Prints a line on standard error, in one piece. Nobody is left to tell when that fails.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Tells of an error, unless it has spoken for itself, and gives the exit code: a command's own, 128
/// and the number for a signal, 2 where the kernel refused (as `ip` has it), else 1.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    let failed = error.downcast_ref::<Failed>().map(|failed| failed.0);
    let interrupted = error.downcast_ref::<Interrupted>().map(|i| 128 + i.0 as u8);
    let spoke_for_itself = (failed.is_some() || interrupted.is_some()) && error.chain().len() == 1;
    if !spoke_for_itself {
        say(format_args!("{}: {error:#}", program()));
    }
    let refused = error.downcast_ref::<wg_hostnet::Error>().map(|_| 2);
    failed.or(interrupted).or(refused).unwrap_or(1)
}

/// The name under which we were called.
pub(crate) fn program() -> String {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "wg-quick".to_owned())
}
