//! Policy routing rules.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};

use crate::{Error, Family, Hostnet};

/// A policy routing rule; selectors that no tunnel uses are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The family whose packets it is for.
    pub family: Family,
    /// Rules are tried from the lowest to the highest.
    pub priority: u32,
    /// The table to look in; 0 for rules that do something else.
    pub table: u32,
    /// Matches packets with this mark.
    pub fwmark: Option<u32>,
    /// Matches the packets that the selectors do not match.
    pub invert: bool,
    /// Ignore routes whose prefix is this long or shorter.
    pub suppress_prefixlength: Option<u32>,
}

impl Hostnet {
    /// The rules of a family, in order of their priority.
    ///
    /// # Errors
    /// When the kernel does not answer, or has no policy routing.
    pub fn rules(&self, family: Family) -> Result<Vec<Rule>, Error> {
        let mut request = RuleMessage::default();
        request.header.family = family.into();
        self.dump(&RouteNetlinkMessage::GetRule(request))
            .map(|answers| answers.into_iter().filter_map(|m| rule_from(m, family)).collect())
            .map_err(|cause| Error { what: "list the rules".to_owned(), cause })
    }
}

fn rule_from(message: RouteNetlinkMessage, family: Family) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let mut rule = Rule {
        family,
        priority: 0,
        table: message.header.table.into(),
        fwmark: None,
        invert: message.header.flags.contains(RuleFlags::Invert),
        suppress_prefixlength: None,
    };
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::FwMark(mark) => rule.fwmark = Some(mark),
            // The kernel says "off" with all bits set.
            RuleAttribute::SuppressPrefixLen(length) if length != u32::MAX => {
                rule.suppress_prefixlength = Some(length);
            }
            _ => {}
        }
    }
    Some(rule)
}
