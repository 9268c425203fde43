//! Endpoints: of arguments and files to addresses, and addresses to text.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread::sleep;

use anyhow::Result;
use wg_config::{AddressText, Endpoint};
use wg_control::{Retries, scope_name};

/// Resolves endpoints, and tells on standard error when it has to be tried again.
#[derive(Default)]
pub(crate) struct Resolver {
    /// What the environment says, asked for with the first endpoint.
    retries: Option<Retries>,
}

impl Resolver {
    pub(crate) fn resolve(&mut self, endpoint: &Endpoint) -> Result<SocketAddr> {
        let retries = match self.retries {
            Some(retries) => retries,
            None => *self.retries.insert(Retries::from_env()?),
        };
        let address = wg_control::resolve(endpoint, retries, |error, wait| {
            let seconds = wait.as_secs_f64();
            let _ = writeln!(io::stderr(), "{error}. Trying again in {seconds:.2} seconds...");
            sleep(wait);
            true
        })?;
        Ok(address)
    }
}

/// `1.2.3.4:5`, `[::1]:5` or `[fe80::1%eth0]:5`, as the original writes it.
pub(crate) struct Shown(pub(crate) SocketAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (AddressText::from(self.0.ip()), self.0.port());
        match self.0 {
            SocketAddr::V4(_) => write!(f, "{address}:{port}"),
            SocketAddr::V6(v6) if v6.scope_id() == 0 => write!(f, "[{address}]:{port}"),
            SocketAddr::V6(v6) => write!(f, "[{address}%{}]:{port}", scope_name(v6.scope_id())),
        }
    }
}
