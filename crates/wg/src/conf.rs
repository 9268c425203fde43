//! `wg setconf`, `wg addconf` and `wg syncconf`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use anyhow::{Result, bail};
use wg_config::{Config, ConfigErrors, Dialect};
use wg_control::{DeviceUpdate, service_port};

use crate::endpoint::Resolver;
use crate::terminal::Style;
use crate::{failure, secret_file, usage};

/// What becomes of what the file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is cleared.
    Set,
    /// It stays.
    Add,
    /// It is cleared, and what is right already is left alone.
    Sync,
}

pub(crate) fn run(program: &str, mode: Mode, arguments: &[OsString]) -> Result<()> {
    let [name, path] = arguments else {
        let command = match mode {
            Mode::Set => "setconf",
            Mode::Add => "addconf",
            Mode::Sync => "syncconf",
        };
        bail!(usage::conf(program, command));
    };
    let name = name.to_string_lossy();
    let config = read(path)?;
    let mut resolver = Resolver::default();
    let mut update = match mode {
        Mode::Add => DeviceUpdate::adding(config, |endpoint| resolver.resolve(endpoint)),
        Mode::Set | Mode::Sync => {
            DeviceUpdate::replacing(config, |endpoint| resolver.resolve(endpoint))
        }
    }
    .map_err(resolve_error)?;
    // Without peers there is nothing that could be left alone.
    if mode == Mode::Sync && !update.peers.is_empty() {
        let device = wg_control::get(&name).map_err(|error| {
            failure::with_detail("Unable to retrieve current interface configuration", &error)
        })?;
        update = update.differing_from(&device);
    }
    wg_control::set(&name, update)
        .map_err(|error| failure::with_detail("Unable to modify interface", &error))
}

fn read(path: &OsStr) -> Result<Config> {
    let text = secret_file::read(path)?;
    let warn = |warnings: &[wg_config::Diagnostic]| {
        for warning in warnings {
            let _ = writeln!(io::stderr(), "{}", warning.original());
        }
    };
    match wg_config::read(&path.to_string_lossy(), &text, Dialect::Wg, service_port) {
        Ok(parsed) => {
            warn(&parsed.warnings);
            Ok(parsed.config)
        }
        Err(errors) => {
            warn(errors.warnings());
            Err(config_error(&errors))
        }
    }
}

/// The original's two lines, and the place in the file.
fn config_error(errors: &ConfigErrors) -> anyhow::Error {
    let first = errors.first();
    let place = first.render(Style::of(&io::stderr()) == Style::Coloured);
    anyhow::Error::msg(place)
        .context(errors.original_summary())
        .context(first.original().to_owned())
}

/// An endpoint that does not resolve is an error of the file.
fn resolve_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<wg_control::ResolveError>() {
        Ok(error) => anyhow::Error::msg("Configuration parsing error").context(error),
        Err(error) => error,
    }
}
