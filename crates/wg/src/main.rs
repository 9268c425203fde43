//! `wg`: sets and retrieves the configuration of WireGuard interfaces.
//!
//! The arguments are read by hand: the original's usage texts and the order in which it finds
//! faults are part of what scripts know.

mod columns;
mod conf;
mod dump;
mod endpoint;
mod failure;
mod genkey;
mod key_file;
mod output;
mod pretty;
mod pubkey;
mod quantity;
mod secret_file;
mod set;
mod set_arguments;
mod show;
mod show_columns;
mod showconf;
mod terminal;
mod usage;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};

use output::Output;

fn main() -> ExitCode {
    match Output::new().map_err(Into::into).and_then(|mut output| {
        let result = run(&std::env::args_os().collect::<Vec<_>>(), &mut output);
        // What was found out before an error is worth having.
        let written = output.finish();
        result.and_then(|code| written.map(|()| code))
    }) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

fn run(arguments: &[OsString], output: &mut Output) -> Result<ExitCode> {
    let program = arguments.first().map(|name| name.to_string_lossy());
    let program = program.as_deref().unwrap_or("wg");
    let Some(command) = arguments.get(1) else {
        return show::run(program, &[], output);
    };
    let rest = &arguments[2..];
    let command = command.to_string_lossy();
    match &*command {
        "-h" | "--help" | "help" if rest.is_empty() => {
            write!(output, "{}", usage::commands(program))?;
        }
        "-v" | "--version" | "version" if rest.is_empty() => {
            writeln!(output, "{}", usage::VERSION)?;
        }
        "show" => return show::run(program, rest, output),
        "showconf" => showconf::run(program, rest, output)?,
        "set" => set::run(program, rest)?,
        "setconf" => conf::run(program, conf::Mode::Set, rest)?,
        "addconf" => conf::run(program, conf::Mode::Add, rest)?,
        "syncconf" => conf::run(program, conf::Mode::Sync, rest)?,
        "genkey" => genkey::private_key(program, rest, output)?,
        "genpsk" => genkey::preshared_key(program, rest, output)?,
        "pubkey" => pubkey::run(program, rest, output)?,
        _ => bail!(
            "Invalid subcommand: `{command}'\n{}",
            usage::commands(program).trim_end_matches('\n')
        ),
    }
    Ok(ExitCode::SUCCESS)
}
