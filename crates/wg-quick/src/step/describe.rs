//! The lines that users know, each as a command.

use std::fmt;

use wg_hostnet::{Family, Rule, TABLE_MAIN};

use super::Step;
use crate::dns;
use crate::firewall::{Tool, restore};

impl Step {
    /// The line that users know for it, as a command.
    pub(crate) fn describe<'a>(&'a self, interface: &'a str) -> impl fmt::Display + 'a {
        Description { step: self, interface }
    }
}

struct Description<'a> {
    step: &'a Step,
    interface: &'a str,
}

/// The descriptor on which bash gives the original's programs what they read.
const INPUT: &str = "/dev/fd/63";

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = self.interface;
        match self.step {
            Step::CreateLink => write!(f, "ip link add dev {interface} type wireguard"),
            Step::DeleteLink => write!(f, "ip link delete dev {interface}"),
            Step::Hook(command) => f.write_str(command),
            Step::Configure { .. } => write!(f, "wg addconf {interface} {INPUT}"),
            Step::Synchronise(_) => write!(f, "wg syncconf {interface} {INPUT}"),
            Step::AddAddress(prefix) => {
                write!(f, "ip {} address add {prefix} dev {interface}", option(prefix.family()))
            }
            Step::DeleteAddress(prefix) => {
                write!(f, "ip {} address delete {prefix} dev {interface}", option(prefix.family()))
            }
            Step::SetMtuAndUp(mtu) => write!(f, "ip link set mtu {mtu} up dev {interface}"),
            Step::AddDns(dns) => dns::describe_add(f, interface, dns),
            Step::DeleteDns(manager) => dns::describe_delete(f, interface, manager),
            Step::AddRoute { prefix, name, .. } => {
                write!(f, "ip {} route add {prefix} dev {interface}", option(prefix.family()))?;
                match name {
                    Some(name) => write!(f, " table {name}"),
                    None => Ok(()),
                }
            }
            Step::DeleteRoute { prefix, table } => {
                write!(f, "ip {} route delete {prefix} dev {interface}", option(prefix.family()))?;
                if *table == TABLE_MAIN { Ok(()) } else { write!(f, " table {table}") }
            }
            Step::SetFwmark(mark) => write!(f, "wg set {interface} fwmark {mark}"),
            Step::AddRule(rule) => describe_rule(f, "add", rule),
            Step::DeleteRule(rule) => describe_rule(f, "delete", rule),
            Step::SetSrcValidMark { .. } => {
                write!(f, "sysctl -q net.ipv4.conf.all.src_valid_mark=1")
            }
            Step::RestoreSrcValidMark { .. } => {
                write!(f, "sysctl -q net.ipv4.conf.all.src_valid_mark=0")
            }
            Step::AddFirewall { tool: Tool::Iptables(_), firewall } => {
                write!(f, "{} -n", restore(firewall.family))
            }
            Step::AddFirewall { .. } | Step::DeleteNftables => write!(f, "nft -f {INPUT}"),
            Step::DeleteIptables(family) => write!(f, "{} -n", restore(*family)),
        }
    }
}

fn describe_rule(f: &mut fmt::Formatter<'_>, verb: &str, rule: &Rule) -> fmt::Result {
    let option = option(rule.family);
    match rule.fwmark {
        Some(mark) if verb == "add" => {
            write!(f, "ip {option} rule add not fwmark {mark} table {}", rule.table)
        }
        Some(_) => write!(f, "ip {option} rule {verb} table {}", rule.table),
        None => {
            let table = if rule.table == TABLE_MAIN { "main" } else { "" };
            write!(f, "ip {option} rule {verb} table {table} suppress_prefixlength 0")
        }
    }
}

fn option(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "-4",
        Family::Ipv6 => "-6",
    }
}
