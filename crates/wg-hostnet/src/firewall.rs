//! The nftables tables of a tunnel, made and removed without the `nft` program.
//!
//! A table per family: packets to the tunnel's addresses that came another way and from elsewhere
//! are dropped; the mark of the tunnel's own UDP packets is kept with the connection, so that what
//! comes back has it too and passes the reverse path filter.

mod batch;
mod expression;

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, ExpressionAttribute, Hook, HookNumber, InetHookNumber,
    ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};
use nix::errno::Errno;

use crate::{Cause, Error, Family};
use batch::{Request, ask, change, check};

/// What the firewall shall do for one family of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The interface's name.
    pub interface: String,
    /// The family.
    pub family: Family,
    /// The mark of the packets that the tunnel sends.
    pub mark: u32,
    /// The interface's addresses of this family.
    pub addresses: Vec<IpAddr>,
}

/// Whether the kernel has all that [`add_firewall`] needs. Nothing is changed.
///
/// # Errors
/// What is missing.
pub fn check_firewall(firewall: &Firewall) -> Result<(), Error> {
    check(requests(firewall)).map_err(|cause| refusal(firewall, cause))
}

/// Makes the table of one family in place of an older one, all of it or nothing.
///
/// # Errors
/// When the kernel refuses.
pub fn add_firewall(firewall: &Firewall) -> Result<(), Error> {
    change(requests(firewall)).map_err(|cause| refusal(firewall, cause))
}

/// The families in which the interface has a table.
///
/// # Errors
/// When the kernel does not answer. One without nf_tables has none.
pub fn firewalls(interface: &str) -> Result<Vec<Family>, Error> {
    let mut families = Vec::new();
    for family in [Family::Ipv6, Family::Ipv4] {
        let message =
            TableMessage { attributes: vec![TableAttribute::Name(table_name(interface))] };
        let request = Request::new(protocol(family), 0, NfTablesMessage::GetTable(message));
        match ask(request) {
            Ok(()) => families.push(family),
            Err(cause) if is_absence(&cause) => {}
            Err(cause) => {
                let what = format!("{interface}: look for its nftables tables");
                return Err(Error { what, cause });
            }
        }
    }
    Ok(families)
}

/// Removes the tables of these families, all or none.
///
/// # Errors
/// When there is no such table, or the kernel refuses.
pub fn delete_firewalls(interface: &str, families: &[Family]) -> Result<(), Error> {
    let delete = |family: &Family| {
        let message =
            TableMessage { attributes: vec![TableAttribute::Name(table_name(interface))] };
        Request::new(protocol(*family), 0, NfTablesMessage::DeleteTable(message))
    };
    let batch = families.iter().map(delete).collect();
    change(batch)
        .map_err(|cause| Error { what: format!("{interface}: delete its nftables tables"), cause })
}

fn requests(firewall: &Firewall) -> Vec<Request> {
    let family = protocol(firewall.family);
    let table = &table_name(&firewall.interface);
    let whole = || TableMessage { attributes: vec![TableAttribute::Name(table.clone())] };
    let new_table = || Request::new(family, NLM_F_CREATE, NfTablesMessage::NewTable(whole()));
    // There is one to delete, whether or not there was one before.
    let delete_table = Request::new(family, 0, NfTablesMessage::DeleteTable(whole()));
    let mut batch = vec![new_table(), delete_table, new_table()];
    for (chain, hook, priority) in [
        ("preraw", InetHookNumber::PreRouting, -300),
        ("premangle", InetHookNumber::PreRouting, -150),
        ("postmangle", InetHookNumber::PostRouting, -150),
    ] {
        batch.push(new_chain(family, table, chain, hook, priority));
    }
    for address in &firewall.addresses {
        let rule = expression::drop_from_elsewhere(&firewall.interface, *address);
        batch.push(new_rule(family, table, "preraw", rule));
    }
    batch.push(new_rule(family, table, "postmangle", expression::save_mark(firewall.mark)));
    batch.push(new_rule(family, table, "premangle", expression::restore_mark()));
    batch
}

fn refusal(firewall: &Firewall, cause: Cause) -> Error {
    let what = format!(
        "{}: add the nftables table {}",
        firewall.interface,
        table_name(&firewall.interface)
    );
    Error { what, cause }
}

/// `ENOENT`: no such table. The others: no nf_tables, or none of it for us.
fn is_absence(cause: &Cause) -> bool {
    let absent = [
        Errno::ENOENT,
        Errno::EOPNOTSUPP,
        Errno::EPROTONOSUPPORT,
        Errno::EAFNOSUPPORT,
        Errno::EINVAL,
        Errno::EPERM,
    ];
    matches!(cause, Cause::Kernel { errno, .. } if absent.contains(errno))
}

fn table_name(interface: &str) -> String {
    format!("wg-quick-{interface}")
}

fn new_chain(
    family: NetfilterProtoFamily,
    table: &str,
    name: &str,
    hook: InetHookNumber,
    priority: i32,
) -> Request {
    let attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(name.to_owned()),
        ChainAttribute::Hook(vec![
            Hook::Number(HookNumber::Inet(hook)),
            Hook::Priority(priority.cast_unsigned()),
        ]),
        ChainAttribute::Type("filter".to_owned()),
    ];
    Request::new(family, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
}

fn new_rule(
    family: NetfilterProtoFamily,
    table: &str,
    chain: &str,
    expressions: Vec<ListAttribute<ExpressionAttribute>>,
) -> Request {
    let attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(expressions),
    ];
    let message = NfTablesMessage::NewRule(RuleMessage { attributes });
    Request::new(family, NLM_F_CREATE | NLM_F_APPEND, message)
}

fn protocol(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::Ipv4 => NetfilterProtoFamily::IPv4,
        Family::Ipv6 => NetfilterProtoFamily::IPv6,
    }
}
