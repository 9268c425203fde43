//! Policy routing for a full tunnel: all packets but the tunnel's own go by a table whose default
//! route is the interface.

use std::collections::BTreeMap;

use wg_hostnet::{Family, Firewall, Link, Prefix, RouteFilter, Rule};

use crate::firewall::Tool;
use crate::host::Host;
use crate::plan::Plan;
use crate::step::Step;

/// The number of the first table that is tried, and of the mark.
const FIRST_TABLE: u32 = 51820;

/// What the host has that a full tunnel's steps depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The mark of the tunnel's own packets, and the number of its table.
    pub mark: u32,
    /// Whether the interface has that mark already.
    pub is_marked: bool,
    /// The priority of the next rule of each family.
    pub priorities: BTreeMap<Family, u32>,
    /// What does the firewall's work, for each family that has a default route.
    pub firewalls: Vec<(Firewall, Tool)>,
    /// Whether the reverse path filter looks at marks.
    pub src_valid_mark: bool,
}

impl Policy {
    /// Asks for all that the default routes in `defaults` need; takes the interface's mark where it
    /// has one, else the first whose table is empty.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn observe(
        host: &Host,
        link: Option<&Link>,
        fwmark: u32,
        addresses: &[Prefix],
        defaults: &[Family],
    ) -> anyhow::Result<Self> {
        let mark = if fwmark == 0 { free_table(host)? } else { fwmark };
        let mut addresses = addresses.to_vec();
        if let Some(link) = link {
            // With those that hooks and the kernel have given.
            addresses = host.net.addresses(Some(link))?.iter().map(|a| a.prefix).collect();
        }
        let mut priorities = BTreeMap::new();
        let mut firewalls = Vec::new();
        for family in defaults {
            priorities.insert(*family, Rule::next_priority(&host.net.rules(*family)?));
            let of_family = addresses.iter().filter(|prefix| prefix.family() == *family);
            let firewall = Firewall {
                interface: host.interface.clone(),
                family: *family,
                mark,
                addresses: of_family.map(|prefix| prefix.address).collect(),
            };
            let tool = Tool::find(&host.programs, &firewall);
            firewalls.push((firewall, tool));
        }
        Ok(Self {
            mark,
            is_marked: fwmark != 0,
            priorities,
            firewalls,
            // Where it cannot be read it may still be possible to set it.
            src_valid_mark: wg_hostnet::src_valid_mark().unwrap_or(false),
        })
    }

    /// The steps for one default route.
    pub(crate) fn default_route(&mut self, prefix: Prefix, plan: &mut Plan) {
        let family = prefix.family();
        if !std::mem::replace(&mut self.is_marked, true) {
            plan.push(Step::SetFwmark(self.mark));
        }
        let priority = self.priorities.get(&family).copied().unwrap_or(0);
        plan.push(Step::AddRule(Rule::for_unmarked(family, priority, self.mark, self.mark)));
        let next = priority.saturating_sub(1);
        plan.push(Step::AddRule(Rule::main_without_default(family, next)));
        let name = Some(self.mark.to_string());
        plan.push(Step::AddRoute { prefix, table: self.mark, name });
        if family == Family::Ipv4 && !self.src_valid_mark {
            plan.push(Step::SetSrcValidMark { mark: self.mark });
        }
        let ours = self.firewalls.iter().find(|(firewall, _)| firewall.family == family);
        if let Some((firewall, tool)) = ours {
            plan.push(Step::AddFirewall { firewall: firewall.clone(), tool: tool.clone() });
        }
    }
}

/// The rules of the tunnel with this mark, as far as they are there: for the way down without a
/// journal. The rule that spares the main table is the one next before the tunnel's own.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn rules_of(host: &Host, mark: u32) -> anyhow::Result<Vec<Rule>> {
    let mut ours = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let rules = host.net.rules(family)?;
        let is_own = |rule: &&Rule| rule.invert && rule.fwmark == Some(mark) && rule.table == mark;
        for own in rules.iter().filter(is_own) {
            ours.push(own.clone());
            let spares_main =
                |rule: &&Rule| **rule == Rule::main_without_default(family, rule.priority);
            let mut before = rules.iter().filter(|rule| rule.priority < own.priority);
            ours.extend(before.rfind(spares_main).cloned());
        }
    }
    Ok(ours)
}

fn free_table(host: &Host) -> anyhow::Result<u32> {
    let routes = host.net.routes(RouteFilter::default())?;
    let is_free = |table: &u32| !routes.iter().any(|route| route.table == *table);
    Ok((FIRST_TABLE..).find(is_free).unwrap_or(FIRST_TABLE))
}
