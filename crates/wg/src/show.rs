//! `wg show`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use wg_control::Device;

use crate::output::Output;
use crate::terminal::Style;
use crate::{failure, pretty, show_columns, usage};

pub(crate) fn run(program: &str, arguments: &[OsString], output: &mut Output) -> Result<ExitCode> {
    let arguments: Vec<_> = arguments.iter().map(|text| text.to_string_lossy()).collect();
    let arguments: Vec<&str> = arguments.iter().map(|text| &**text).collect();
    match arguments[..] {
        [] | ["all"] => all(program, None, output),
        ["-h" | "--help" | "help"] => {
            // On standard error, as the original has it.
            let _ = writeln!(io::stderr(), "{}", usage::show(program));
            Ok(ExitCode::SUCCESS)
        }
        ["interfaces"] => {
            let names = wg_control::interfaces();
            if !names.is_empty() {
                writeln!(output, "{}", names.join(" "))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ["all", column] => all(program, Some(column), output),
        ["interfaces", _] => bail!(usage::show(program)),
        [name] => {
            let device = wg_control::get(name).map_err(|error| failure::access(&error))?;
            pretty::write(output, &device, now(), Style::of(&io::stdout()))?;
            Ok(ExitCode::SUCCESS)
        }
        [name, column] => {
            let device = wg_control::get(name).map_err(|error| failure::access(&error))?;
            write_column(program, &device, column, "", output)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(usage::show(program)),
    }
}

/// All interfaces; one that cannot be read does not keep the others from being shown.
fn all(program: &str, column: Option<&str>, output: &mut Output) -> Result<ExitCode> {
    let names = wg_control::interfaces();
    let style = Style::of(&io::stdout());
    let mut shown = 0;
    for name in &names {
        let device = match wg_control::get(name) {
            Ok(device) => device,
            Err(error) => {
                let what = format!("Unable to access interface {name}");
                failure::report(&failure::with_detail(&what, &error));
                continue;
            }
        };
        match column {
            Some(column) => {
                write_column(program, &device, column, &format!("{name}\t"), output)?;
            }
            None => {
                if shown > 0 {
                    writeln!(output)?;
                }
                pretty::write(output, &device, now(), style)?;
            }
        }
        shown += 1;
    }
    let nothing_worked = shown == 0 && !names.is_empty();
    Ok(if nothing_worked { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_column(
    program: &str,
    device: &Device,
    column: &str,
    prefix: &str,
    output: &mut Output,
) -> Result<()> {
    match show_columns::write(output, device, column, prefix) {
        Some(written) => Ok(written?),
        None => bail!("Invalid parameter: `{column}'\n{}", usage::show(program)),
    }
}

/// Since the Unix epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
