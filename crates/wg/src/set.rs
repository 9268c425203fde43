//! `wg set`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Result, bail};
use wg_config::Endpoint;
use zeroize::Zeroizing;

use crate::endpoint::Resolver;
use crate::set_arguments::{Sources, parse};
use crate::{failure, key_file, usage};

pub(crate) fn run(program: &str, arguments: &[OsString]) -> Result<()> {
    let (Some(name), Some(settings @ [_, ..])) = (arguments.first(), arguments.get(1..)) else {
        bail!(usage::set(program));
    };
    let update = parse(settings, &mut System::default())?;
    wg_control::set(&name.to_string_lossy(), update)
        .map_err(|error| failure::with_detail("Unable to modify interface", &error))
}

/// The resolver, the files and standard error.
#[derive(Default)]
struct System {
    resolver: Resolver,
}

impl Sources for System {
    fn address(&mut self, endpoint: &Endpoint) -> Result<SocketAddr> {
        self.resolver.resolve(endpoint)
    }

    fn service_port(&self, name: &str) -> Option<u16> {
        wg_control::service_port(name)
    }

    fn key(&mut self, path: &OsStr) -> Result<Option<Zeroizing<String>>> {
        key_file::read(path)
    }

    fn warn(&mut self, sentence: &str) {
        let _ = writeln!(io::stderr(), "{sentence}");
    }
}
