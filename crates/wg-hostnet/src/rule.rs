//! Policy routing rules.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use nix::errno::Errno;

use crate::{Error, Family, Hostnet, TABLE_MAIN};

/// A policy routing rule; selectors that no tunnel uses are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

impl Rule {
    /// `not fwmark MARK table TABLE`: what the tunnel did not send itself goes by that table.
    pub fn for_unmarked(family: Family, priority: u32, mark: u32, table: u32) -> Self {
        let fwmark = Some(mark);
        Self { family, priority, table, fwmark, invert: true, suppress_prefixlength: None }
    }

    /// `table main suppress_prefixlength 0`: the main table, its default route aside.
    pub fn main_without_default(family: Family, priority: u32) -> Self {
        Self {
            family,
            priority,
            table: TABLE_MAIN,
            fwmark: None,
            invert: false,
            suppress_prefixlength: Some(0),
        }
    }

    /// The priority that the kernel would give to a new rule: before all but the first of `rules`,
    /// which are in the order of their priorities (`fib_default_rule_pref` of `net/core/fib_rules.c`).
    pub fn next_priority(rules: &[Self]) -> u32 {
        rules.get(1).map_or(0, |rule| rule.priority.saturating_sub(1))
    }
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

    /// Adds a rule.
    ///
    /// # Errors
    /// `EEXIST` when there is the same one at its priority.
    pub fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRule(request(rule));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, || {
            format!("add rule for table {}", rule.table)
        })
    }

    /// Removes the rule that is like this one; none is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelRule(request(rule));
        match self.change(message, 0, || format!("delete rule for table {}", rule.table)) {
            Err(error) if error.is(Errno::ENOENT) => Ok(()),
            result => result,
        }
    }
}

fn request(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = rule.family.into();
    message.header.action = RuleAction::ToTable;
    if rule.invert {
        message.header.flags = RuleFlags::Invert;
    }
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.extend(rule.fwmark.map(RuleAttribute::FwMark));
    attributes.extend(rule.suppress_prefixlength.map(RuleAttribute::SuppressPrefixLen));
    message
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_rule_comes_before_all_but_the_first() {
        let rule = |priority| Rule::main_without_default(Family::Ipv4, priority);
        let next = |priorities: &[u32]| {
            Rule::next_priority(&priorities.iter().copied().map(rule).collect::<Vec<_>>())
        };
        assert_eq!(next(&[0, 32766, 32767]), 32765);
        assert_eq!(next(&[0, 100, 32766]), 99);
        assert_eq!(next(&[0, 0, 32766]), 0);
        assert_eq!(next(&[0]), 0);
        assert_eq!(next(&[]), 0);
    }
}
