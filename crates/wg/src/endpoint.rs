//! Endpoints of arguments and files to addresses.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::Result;
use wg_config::Endpoint;
use wg_control::Retries;

/// Resolves an endpoint, and tells on standard error when it has to be tried again.
pub(crate) fn resolve(endpoint: &Endpoint) -> Result<SocketAddr> {
    let address = wg_control::resolve(endpoint, Retries::from_env()?, |error, wait| {
        let seconds = wait.as_secs_f64();
        let _ = writeln!(io::stderr(), "{error}. Trying again in {seconds:.2} seconds...");
    })?;
    Ok(address)
}
