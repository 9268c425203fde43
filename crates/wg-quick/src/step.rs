//! One change to the host.

mod describe;
mod line;

use nix::errno::Errno;
use wg_control::DeviceUpdate;
use wg_hostnet::{Error, Family, Firewall, Prefix, Rule};

use crate::dns::{self, Dns, Manager};
use crate::firewall::{self, Tool};
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
    /// Apply what has changed of it since, and leave the rest alone.
    Synchronise(Box<DeviceUpdate>),
    /// Give the interface an address.
    AddAddress(Prefix),
    /// Take an address from the interface.
    DeleteAddress(Prefix),
    /// Set the MTU in bytes, and bring the interface up.
    SetMtuAndUp(u32),
    /// Set name servers and search domains.
    AddDns(Dns),
    /// Take them back.
    DeleteDns(Manager),
    /// Add a route through the interface.
    AddRoute {
        /// Its destination.
        prefix: Prefix,
        /// The number of its table.
        table: u32,
        /// How the file calls the table, if it does.
        name: Option<String>,
    },
    /// Remove a route through the interface.
    DeleteRoute {
        /// Its destination.
        prefix: Prefix,
        /// The number of its table.
        table: u32,
    },
    /// Mark the packets that the tunnel sends.
    SetFwmark(u32),
    /// Add a routing rule.
    AddRule(Rule),
    /// Remove a routing rule.
    DeleteRule(Rule),
    /// Have the reverse path filter look at marks.
    SetSrcValidMark {
        /// The tunnel's mark.
        mark: u32,
    },
    /// Have it no longer do so, unless another tunnel needs it.
    RestoreSrcValidMark {
        /// The tunnel's mark.
        mark: u32,
    },
    /// Make the firewall rules of one family.
    AddFirewall {
        /// What they shall do.
        firewall: Firewall,
        /// What makes them.
        tool: Tool,
    },
    /// Remove the interface's nftables tables.
    DeleteNftables,
    /// Remove the interface's iptables rules of one family.
    DeleteIptables(Family),
}

impl Step {
    /// Makes the change. A step that fails leaves nothing of itself behind.
    ///
    /// # Errors
    /// What the kernel, the daemon or the hook said; or that a signal interrupted it.
    pub(crate) fn apply(&self, host: &Host) -> anyhow::Result<()> {
        match self {
            Self::CreateLink => link::create_link(host),
            Self::DeleteLink => link::delete_link(host),
            Self::Hook(command) => host.run_hook(command),
            Self::Configure { update, warnings } => {
                for warning in warnings {
                    say(format_args!("{warning}"));
                }
                host.configure(update)
            }
            Self::Synchronise(update) => host.configure(update),
            Self::AddAddress(prefix) => Ok(host.net.add_address(&host.link()?, *prefix)?),
            // It may have gone with the first of its network, or with the address that it needs.
            Self::DeleteAddress(prefix) => unless_gone(
                host.net.delete_address(&host.link()?, *prefix),
                &[Errno::EADDRNOTAVAIL],
            ),
            Self::SetMtuAndUp(mtu) => link::set_mtu_and_up(host, *mtu),
            Self::AddDns(dns) => dns::add(host, dns),
            Self::DeleteDns(manager) => dns::delete(host, manager),
            Self::AddRoute { prefix, table, .. } => {
                Ok(host.net.add_route(&host.link()?, *prefix, *table)?)
            }
            Self::DeleteRoute { prefix, table } => unless_gone(
                host.net.delete_route(&host.link()?, *prefix, *table),
                &[Errno::ESRCH, Errno::ENOENT],
            ),
            Self::SetFwmark(mark) => {
                host.configure(&DeviceUpdate { fwmark: Some(*mark), ..DeviceUpdate::default() })
            }
            Self::AddRule(rule) => Ok(host.net.add_rule(rule)?),
            Self::DeleteRule(rule) => Ok(host.net.delete_rule(rule)?),
            Self::SetSrcValidMark { .. } => {
                set_src_valid_mark();
                Ok(())
            }
            Self::RestoreSrcValidMark { .. } => Ok(wg_hostnet::set_src_valid_mark(false)?),
            Self::AddFirewall { firewall, tool } => firewall::add(host, firewall, tool),
            Self::DeleteNftables => {
                let families = wg_hostnet::firewalls(&host.interface)?;
                Ok(wg_hostnet::delete_firewalls(&host.interface, &families)?)
            }
            Self::DeleteIptables(family) => firewall::delete_iptables(host, *family),
        }
    }

    /// The step that takes this one back; `None` where it goes when the interface does, or where
    /// nothing can.
    pub(crate) fn undo(&self) -> Option<Self> {
        match self {
            Self::CreateLink => Some(Self::DeleteLink),
            Self::AddDns(dns) => Some(Self::DeleteDns(dns.manager.clone())),
            Self::AddRule(rule) => Some(Self::DeleteRule(rule.clone())),
            Self::SetSrcValidMark { mark } => Some(Self::RestoreSrcValidMark { mark: *mark }),
            Self::AddFirewall { tool: Tool::Nftables, .. } => Some(Self::DeleteNftables),
            Self::AddFirewall { tool: Tool::Iptables(_), firewall } => {
                Some(Self::DeleteIptables(firewall.family))
            }
            _ => None,
        }
    }

    /// Whether a step that takes something back has anything to do.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn is_needed(&self, host: &Host) -> anyhow::Result<bool> {
        Ok(match self {
            Self::DeleteLink => link::is_left(host)?,
            Self::DeleteDns(manager) => dns::is_set(host, manager)?,
            Self::DeleteRule(rule) => host.net.rules(rule.family)?.contains(rule),
            Self::RestoreSrcValidMark { mark } => {
                let rules = host.net.rules(Family::Ipv4)?;
                let is_anothers = |rule: &Rule| rule.invert && rule.fwmark != Some(*mark);
                wg_hostnet::src_valid_mark().unwrap_or(false) && !rules.iter().any(is_anothers)
            }
            Self::DeleteNftables => !wg_hostnet::firewalls(&host.interface)?.is_empty(),
            Self::DeleteIptables(family) => firewall::has_iptables(host, *family),
            _ => true,
        })
    }
}

fn unless_gone(result: Result<(), Error>, gone: &[Errno]) -> anyhow::Result<()> {
    match result {
        Err(error) if !gone.iter().any(|errno| error.is(*errno)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// A tunnel works without it where the reverse path filter is not strict.
fn set_src_valid_mark() {
    if let Err(error) = wg_hostnet::set_src_valid_mark(true) {
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        say(format_args!(
            "[!] net.ipv4.conf.all.src_valid_mark cannot be set to 1: {why}. Where rp_filter is 1, \
             the tunnel's incoming packets may be dropped."
        ));
    }
}
