//! What a configuration file asks for, complete: no name left to look up, no default to guess.

use std::path::PathBuf;

use anyhow::{Context, bail};
use wg_config::{AllowedIp, Config, Parsed, Table};
use wg_control::{DeviceUpdate, Retries};
use wg_hostnet::{Prefix, TABLE_MAIN, table_id};

use crate::config_file::ConfigFile;
use crate::say;

/// A tunnel as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// The interface's name.
    pub interface: String,
    /// The file that describes it.
    pub config_file: PathBuf,
    /// The part of the file that `wg` reads, added to what PreUp hooks did; endpoints resolved.
    pub device: DeviceUpdate,
    /// The interface's addresses.
    pub addresses: Vec<Prefix>,
    /// The MTU in bytes where the file gives it.
    pub mtu: Option<u32>,
    /// Where the routes go.
    pub table: RouteTable,
    /// The commands of the file.
    pub hooks: Hooks,
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
    /// Completes what the file says: looks up the endpoints and the table's name.
    ///
    /// # Errors
    /// When a name cannot be resolved, or the file asks for what is not supported.
    pub(crate) fn new(file: &ConfigFile, parsed: &Parsed) -> anyhow::Result<Self> {
        let config = &parsed.config;
        let table = RouteTable::new(&config.interface.table)?;
        if table == RouteTable::Auto
            && let Some(prefix) =
                config.peers.iter().flat_map(|p| &p.allowed_ips).find(|a| a.ip.is_default_route())
        {
            bail!(no_default_route(prefix_of(&prefix.ip)));
        }
        Ok(Self {
            interface: file.interface.clone(),
            config_file: file.path.clone(),
            device: resolved(config)?,
            addresses: config.interface.addresses.iter().map(prefix_of).collect(),
            mtu: config.interface.mtu,
            table,
            hooks: Hooks::new(&file.interface, config),
            warnings: parsed.warnings.iter().map(|w| w.original().to_owned()).collect(),
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

/// The sentence for a default route in `Table = auto`.
pub(crate) fn no_default_route(prefix: Prefix) -> String {
    format!(
        "routing {prefix} through the tunnel needs policy routing, which is not there yet; \
         set Table to a number or to off"
    )
}

/// An allowed IP or an address in the terms of the host's network.
pub(crate) fn prefix_of(ip: &AllowedIp) -> Prefix {
    Prefix::new(ip.address(), ip.cidr())
}

fn resolved(config: &Config) -> anyhow::Result<DeviceUpdate> {
    let retries = Retries::from_env()?;
    Ok(DeviceUpdate::adding(config, |endpoint| {
        wg_control::resolve(endpoint, retries, |error, wait| {
            say(format_args!("{error}. Trying again in {:.2} seconds...", wait.as_secs_f64()));
        })
    })?)
}
