//! One change to the host.

use std::fmt;

use anyhow::anyhow;
use wg_control::DeviceUpdate;
use wg_hostnet::{Family, Prefix};

use crate::host::Host;
use crate::{link, say};

/// One change to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make the interface: in the kernel, else with the userspace daemon.
    CreateLink,
    /// Remove the interface, and with it its addresses and routes.
    DeleteLink,
    /// Run a command of the file.
    Hook(String),
    /// Apply the part of the file that `wg` reads.
    Configure {
        /// What it says.
        update: Box<DeviceUpdate>,
        /// What to say about it.
        warnings: Vec<String>,
    },
    /// Give the interface an address.
    AddAddress(Prefix),
    /// Set the MTU in bytes, and bring the interface up.
    SetMtuAndUp(u32),
    /// Add a route through the interface.
    AddRoute {
        /// Its destination.
        prefix: Prefix,
        /// The number of its table.
        table: u32,
        /// How the file calls the table, if it does.
        name: Option<String>,
    },
}

impl Step {
    /// The line that users know for it, as a command.
    pub(crate) fn describe<'a>(&'a self, interface: &'a str) -> impl fmt::Display + 'a {
        Description { step: self, interface }
    }

    /// Makes the change. A step that fails leaves nothing of itself behind.
    ///
    /// # Errors
    /// What the kernel, the daemon or the hook said; or that a signal interrupted it.
    pub(crate) fn apply(&self, host: &Host) -> anyhow::Result<()> {
        match self {
            Self::CreateLink => link::create_link(host),
            Self::DeleteLink => link::delete_link(host),
            Self::Hook(command) => host.run_hook(command),
            Self::Configure { update, warnings } => configure(&host.interface, update, warnings),
            Self::AddAddress(prefix) => Ok(host.net.add_address(&host.link()?, *prefix)?),
            Self::SetMtuAndUp(mtu) => Ok(host.net.set_mtu_and_up(&host.link()?, *mtu)?),
            Self::AddRoute { prefix, table, .. } => {
                Ok(host.net.add_route(&host.link()?, *prefix, *table)?)
            }
        }
    }

    /// The step that takes this one back; `None` where it goes when the interface does, or where
    /// nothing can.
    pub(crate) fn undo(&self) -> Option<Self> {
        match self {
            Self::CreateLink => Some(Self::DeleteLink),
            Self::DeleteLink
            | Self::Hook(_)
            | Self::Configure { .. }
            | Self::AddAddress(_)
            | Self::SetMtuAndUp(_)
            | Self::AddRoute { .. } => None,
        }
    }

    /// Whether a step that takes something back has anything to do.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn is_needed(&self, host: &Host) -> anyhow::Result<bool> {
        match self {
            Self::DeleteLink => link::is_left(host),
            _ => Ok(true),
        }
    }

    /// A step that takes something back, as a line of the journal.
    pub(crate) fn to_line(&self) -> Option<String> {
        match self {
            Self::DeleteLink => Some("delete-link".to_owned()),
            _ => None,
        }
    }

    /// Reads a line of the journal.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        (line == "delete-link").then_some(Self::DeleteLink)
    }
}

fn configure(interface: &str, update: &DeviceUpdate, warnings: &[String]) -> anyhow::Result<()> {
    for warning in warnings {
        say(format_args!("{warning}"));
    }
    wg_control::set(interface, update).map_err(|error| match error.detail() {
        Some(detail) => anyhow!("{interface}: configure: {error} ({detail})"),
        None => anyhow!("{interface}: configure: {error}"),
    })
}

struct Description<'a> {
    step: &'a Step,
    interface: &'a str,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = self.interface;
        match self.step {
            Step::CreateLink => write!(f, "ip link add dev {interface} type wireguard"),
            Step::DeleteLink => write!(f, "ip link delete dev {interface}"),
            Step::Hook(command) => f.write_str(command),
            // The descriptor on which bash gives the original's wg its input.
            Step::Configure { .. } => write!(f, "wg addconf {interface} /dev/fd/63"),
            Step::AddAddress(prefix) => {
                write!(f, "ip {} address add {prefix} dev {interface}", family_option(prefix))
            }
            Step::SetMtuAndUp(mtu) => write!(f, "ip link set mtu {mtu} up dev {interface}"),
            Step::AddRoute { prefix, name, .. } => {
                write!(f, "ip {} route add {prefix} dev {interface}", family_option(prefix))?;
                match name {
                    Some(name) => write!(f, " table {name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn family_option(prefix: &Prefix) -> &'static str {
    match prefix.family() {
        Family::Ipv4 => "-4",
        Family::Ipv6 => "-6",
    }
}
