//! What a configuration file asks for, complete: no default to guess.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use wg_config::{AllowedIp, Config, Endpoint, Parsed, PublicKey, Table};
use wg_control::{DeviceUpdate, Retries};
use wg_hostnet::{Prefix, TABLE_MAIN, table_id};

use crate::config_file::ConfigFile;
use crate::dns::{Dns, Manager};
use crate::host::Host;
use crate::say;
use crate::signals::Signals;

/// How often signals are looked for while a name does not resolve.
const POLL: Duration = Duration::from_millis(50);

/// A tunnel as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// The interface's name.
    pub interface: String,
    /// The file that describes it.
    pub config_file: PathBuf,
    /// The part of the file that `wg` reads, added to what PreUp hooks did; empty until
    /// [`Tunnel::resolve`] has looked up the endpoints.
    pub device: DeviceUpdate,
    /// The interface's addresses.
    pub addresses: Vec<Prefix>,
    /// The MTU in bytes where the file gives it.
    pub mtu: Option<u32>,
    /// The name servers; without any, search domains are of no use.
    pub dns: Vec<IpAddr>,
    /// The search domains.
    pub dns_search: Vec<String>,
    /// Where the routes go.
    pub table: RouteTable,
    /// The commands of the file.
    pub hooks: Hooks,
    /// The endpoints as written, by the peers' keys.
    pub endpoints: Vec<(PublicKey, String)>,
    /// What the original's `wg` says about the file although it takes it.
    pub warnings: Vec<String>,
}

/// Where routes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteTable {
    /// Nowhere.
    Off,
    /// Into the main table, unless a route of the interface covers it.
    Auto,
    /// Into this table, whatever is there.
    Given {
        /// Its number.
        id: u32,
        /// How the file calls it.
        name: String,
    },
}

/// The commands to run, `%i` replaced, each list in the file's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// After the link is made, before it is configured.
    pub pre_up: Vec<String>,
    /// At the very end of `up`.
    pub post_up: Vec<String>,
    /// At the very start of `down`.
    pub pre_down: Vec<String>,
    /// At the very end of `down`.
    pub post_down: Vec<String>,
}

impl Tunnel {
    /// Takes what the file says, and looks up the table's name.
    ///
    /// # Errors
    /// When there is no such table.
    pub(crate) fn new(file: &ConfigFile, parsed: &Parsed) -> anyhow::Result<Self> {
        let config = &parsed.config;
        let table = RouteTable::new(&config.interface.table)?;
        Ok(Self {
            interface: file.interface.clone(),
            config_file: file.path.clone(),
            device: DeviceUpdate::default(),
            addresses: config.interface.addresses.iter().map(prefix_of).collect(),
            mtu: config.interface.mtu,
            dns: config.interface.dns.clone(),
            dns_search: config.interface.dns_search.clone(),
            table,
            hooks: Hooks::new(&file.interface, config),
            endpoints: config
                .peers
                .iter()
                .filter_map(|peer| Some((peer.public_key, peer.endpoint.as_ref()?.to_string())))
                .collect(),
            warnings: parsed.warnings.iter().map(|w| w.original().to_owned()).collect(),
        })
    }

    /// Looks up the endpoints of the file.
    ///
    /// # Errors
    /// When a name cannot be resolved; or a signal, where they are blocked, came meanwhile.
    pub(crate) fn resolve(
        &mut self,
        config: &Config,
        signals: Option<&Signals>,
    ) -> anyhow::Result<()> {
        let retries = Retries::from_env()?;
        self.device =
            DeviceUpdate::adding(config.clone(), |endpoint| look_up(endpoint, retries, signals))?;
        Ok(())
    }
}

impl Tunnel {
    /// Its name servers and search domains, and who gets them.
    pub(crate) fn dns(&self, host: &Host) -> Option<Dns> {
        (!self.dns.is_empty()).then(|| Dns {
            manager: Manager::find(host),
            servers: self.dns.clone(),
            search: self.dns_search.clone(),
        })
    }
}

impl RouteTable {
    fn new(table: &Table) -> anyhow::Result<Self> {
        Ok(match table {
            Table::Off => Self::Off,
            Table::Auto => Self::Auto,
            Table::Id(id) => Self::Given { id: *id, name: id.to_string() },
            Table::Name(name) => {
                let id = table_id(name)
                    .with_context(|| format!("there is no routing table `{name}' in rt_tables"))?;
                Self::Given { id, name: name.clone() }
            }
        })
    }

    /// The table's number, unless there shall be no routes.
    pub(crate) fn id(&self) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Auto => Some(TABLE_MAIN),
            Self::Given { id, .. } => Some(*id),
        }
    }
}

impl Hooks {
    /// The commands of a file with the interface's name put in.
    pub(crate) fn new(interface: &str, config: &Config) -> Self {
        let filled = |hooks: &[String]| hooks.iter().map(|h| h.replace("%i", interface)).collect();
        let file = &config.interface;
        Self {
            pre_up: filled(&file.pre_up),
            post_up: filled(&file.post_up),
            pre_down: filled(&file.pre_down),
            post_down: filled(&file.post_down),
        }
    }
}

/// An allowed IP or an address in the terms of the host's network.
pub(crate) fn prefix_of(ip: &AllowedIp) -> Prefix {
    Prefix::new(ip.address(), ip.cidr())
}

fn look_up(
    endpoint: &Endpoint,
    retries: Retries,
    signals: Option<&Signals>,
) -> anyhow::Result<SocketAddr> {
    let mut interrupted = Ok(());
    let found = wg_control::resolve(endpoint, retries, |error, wait| {
        say(format_args!("{error}. Trying again in {:.2} seconds...", wait.as_secs_f64()));
        let end = Instant::now() + wait;
        while interrupted.is_ok() && Instant::now() < end {
            sleep(POLL.min(end.saturating_duration_since(Instant::now())));
            interrupted = signals.map_or(Ok(()), Signals::check);
        }
        interrupted.is_ok()
    });
    interrupted?;
    Ok(found?)
}
