//! An interface as it is, and as its file wants it: what `reload` compares.

use std::collections::HashSet;

use wg_config::{KEY_LEN, PrivateKey};
use wg_control::{Device, DeviceUpdate, PeerUpdate};
use wg_hostnet::{Family, Firewall, Prefix, RouteFilter, Rule, TABLE_MAIN};

use crate::dns::Dns;
use crate::firewall::{self, Tool};
use crate::host::Host;
use crate::journal::Record;
use crate::mtu;
use crate::observed::{Coverage, Paths, expected};
use crate::plan::{self, Plan};
use crate::policy::{Policy, rules_of};
use crate::step::Step;
use crate::tunnel::{RouteTable, Tunnel};

/// All that a tunnel is made of, hooks aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Keys, port, mark and peers, as a change to an interface that has none.
    pub device: DeviceUpdate,
    /// The addresses, without those that the kernel gives by itself.
    pub addresses: Vec<Prefix>,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The name servers.
    pub dns: Option<Dns>,
    /// The routes that somebody added, each with its table.
    pub routes: Vec<(Prefix, u32)>,
    /// The tunnel's own rules.
    pub rules: Vec<Rule>,
    /// The firewall rules of each family, and what made them.
    pub firewalls: Vec<(Firewall, Tool)>,
}

impl State {
    /// Looks at the interface, which is like `device`.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn observe(
        host: &Host,
        tunnel: &Tunnel,
        device: &Device,
        record: &Record,
    ) -> anyhow::Result<Self> {
        let link = host.link()?;
        let all: Vec<Prefix> =
            host.net.addresses(Some(&link))?.iter().map(|address| address.prefix).collect();
        let firewall = |family| Firewall {
            interface: host.interface.clone(),
            family,
            mark: device.fwmark,
            addresses: addresses_of(&all, family),
        };
        let mut firewalls: Vec<_> = wg_hostnet::firewalls(&host.interface)?
            .into_iter()
            .map(|family| (firewall(family), Tool::Nftables))
            .collect();
        for step in &record.undo {
            if let Step::DeleteIptables(family) = step
                && firewall::has_iptables(host, *family)
                && let Some(program) = host.programs.find(firewall::restore(*family))
            {
                firewalls.push((firewall(*family), Tool::Iptables(program)));
            }
        }
        let filter = RouteFilter { device: Some(link.index), ..RouteFilter::default() };
        let routes = host.net.routes(filter)?;
        Ok(Self {
            device: snapshot(device),
            addresses: all
                .into_iter()
                .filter(|prefix| !is_link_local(prefix) || tunnel.addresses.contains(prefix))
                .collect(),
            mtu: link.mtu,
            dns: record.dns(),
            routes: routes
                .iter()
                .filter(|route| route.is_static)
                .map(|route| (route.destination, route.table))
                .collect(),
            rules: rules(host, device.fwmark, record)?,
            firewalls,
        })
    }

    /// What the file wants of an interface that is like `device` and `now`. What the file does not
    /// say stays: the port, the private key.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) fn wanted(
        host: &Host,
        tunnel: &Tunnel,
        device: &Device,
        now: &Self,
    ) -> anyhow::Result<Self> {
        let mut update = tunnel.device.clone();
        update.replace_peers = true;
        if update.private_key.is_none() {
            update.private_key.clone_from(&device.private_key);
        }
        let coverage = Coverage::expected(tunnel);
        let defaults = coverage.defaults();
        let mut policy = None;
        if tunnel.table == RouteTable::Auto && !defaults.is_empty() {
            let mark = update.fwmark.unwrap_or(device.fwmark);
            let mut addresses = tunnel.addresses.clone();
            for address in host.net.addresses(Some(&host.link()?))? {
                if is_link_local(&address.prefix) && !addresses.contains(&address.prefix) {
                    addresses.push(address.prefix);
                }
            }
            let observed = Policy::observe(host, None, mark, &addresses, &defaults)?;
            update.fwmark = Some(observed.mark);
            policy = Some(observed);
        } else if !now.rules.is_empty() && update.fwmark.is_none() {
            // It was chosen for a default route that is no more.
            update.fwmark = Some(0);
        }
        let mut state = Self {
            addresses: tunnel.addresses.clone(),
            mtu: match tunnel.mtu {
                Some(mtu) => mtu,
                None => mtu_of_path(host, &update, device)?,
            },
            dns: tunnel.dns(host),
            routes: Vec::new(),
            rules: Vec::new(),
            firewalls: policy.as_ref().map(|p| p.firewalls.clone()).unwrap_or_default(),
            device: update,
        };
        if let (Some(wanted), Some(old)) = (&mut state.dns, &now.dns) {
            wanted.manager = old.manager.clone();
        }
        for (wanted, tool) in &mut state.firewalls {
            let mut there = now.firewalls.iter();
            if let Some((_, old)) = there.find(|(old, _)| old.family == wanted.family) {
                tool.clone_from(old);
            }
        }
        let is_marked = |rule: &Rule| rule.fwmark == state.device.fwmark;
        let same_mark = if now.rules.iter().any(is_marked) { &now.rules[..] } else { &[] };
        for step in plan::routes(tunnel, &coverage, policy) {
            match step {
                Step::AddRoute { prefix, table, .. } => state.routes.push((prefix, table)),
                Step::AddRule(rule) => state.rules.push(as_it_is(rule, same_mark)),
                _ => {}
            }
        }
        Ok(state)
    }

    /// The steps from `now`, where the interface is like `device`, to here. What is right already is
    /// not touched.
    pub(crate) fn steps_from(&self, device: &Device, now: &Self) -> Plan {
        let mut plan = Plan::new();
        let update = self.device.clone().differing_from(device);
        if update != DeviceUpdate::default() {
            plan.push(Step::Synchronise(Box::new(update)));
        }
        plan.extend(missing(&self.addresses, &now.addresses).map(Step::AddAddress));
        plan.extend(missing(&now.addresses, &self.addresses).map(Step::DeleteAddress));
        if self.mtu != now.mtu {
            plan.push(Step::SetMtuAndUp(self.mtu));
        }
        plan.extend(self.dns_steps(now.dns.as_ref()));
        plan.extend(missing(&self.rules, &now.rules).map(Step::AddRule));
        plan.extend(missing(&self.routes, &now.routes).map(|(prefix, table)| Step::AddRoute {
            prefix,
            table,
            name: (table != TABLE_MAIN).then(|| table.to_string()),
        }));
        plan.extend(missing(&now.rules, &self.rules).map(Step::DeleteRule));
        let gone = missing(&now.routes, &self.routes);
        plan.extend(gone.map(|(prefix, table)| Step::DeleteRoute { prefix, table }));
        plan.extend(self.firewall_steps(&now.firewalls));
        let has_v4 = |state: &Self| state.rules.iter().any(|rule| rule.family == Family::Ipv4);
        if has_v4(self) && !wg_hostnet::src_valid_mark().unwrap_or(false) {
            plan.push(Step::SetSrcValidMark { mark: self.device.fwmark.unwrap_or(0) });
        }
        plan
    }

    /// What undoes a tunnel like this; as far as `before` says, `src_valid_mark` too.
    pub(crate) fn undo(&self, before: &[Step]) -> Vec<Step> {
        let mut undo = vec![Step::DeleteLink];
        undo.extend(self.dns.iter().map(|dns| Step::DeleteDns(dns.manager.clone())));
        undo.extend(self.rules.iter().cloned().map(Step::DeleteRule));
        let sysctl = |step: &&Step| matches!(step, Step::RestoreSrcValidMark { .. });
        undo.extend(before.iter().filter(sysctl).cloned());
        let add = |(firewall, tool): &(Firewall, Tool)| Step::AddFirewall {
            firewall: firewall.clone(),
            tool: tool.clone(),
        };
        undo.extend(self.firewalls.iter().filter_map(|ours| add(ours).undo()));
        undo
    }

    fn dns_steps(&self, now: Option<&Dns>) -> Option<Step> {
        match (&self.dns, now) {
            (Some(wanted), Some(now))
                if wanted.servers == now.servers && wanted.search == now.search =>
            {
                None
            }
            (Some(wanted), _) => Some(Step::AddDns(wanted.clone())),
            (None, Some(now)) => Some(Step::DeleteDns(now.manager.clone())),
            (None, None) => None,
        }
    }

    fn firewall_steps(&self, now: &[(Firewall, Tool)]) -> Plan {
        let mut plan = Plan::new();
        let same_addresses = |a: &Firewall, b: &Firewall| {
            let set = |f: &Firewall| f.addresses.iter().copied().collect::<HashSet<_>>();
            a.family == b.family && a.mark == b.mark && set(a) == set(b)
        };
        let stays = |(old, _): &(Firewall, Tool)| {
            self.firewalls.iter().any(|(wanted, _)| wanted.family == old.family)
        };
        // The tables of both families go together, and one of them comes again.
        let whole = now.iter().any(|ours| ours.1 == Tool::Nftables && !stays(ours));
        if whole {
            plan.push(Step::DeleteNftables);
        }
        for (firewall, tool) in now {
            let is_wanted = self.firewalls.iter().any(|(w, _)| same_addresses(w, firewall));
            if *tool != Tool::Nftables && !is_wanted {
                plan.push(Step::DeleteIptables(firewall.family));
            }
        }
        for (firewall, tool) in &self.firewalls {
            let is_there = now.iter().any(|(old, _)| same_addresses(old, firewall));
            if !is_there || (whole && *tool == Tool::Nftables) {
                plan.push(Step::AddFirewall { firewall: firewall.clone(), tool: tool.clone() });
            }
        }
        plan
    }
}

/// The rule with the priority that it has among the tunnel's rules of now; as proposed where the
/// family has none yet.
fn as_it_is(rule: Rule, now: &[Rule]) -> Rule {
    let of_family = |old: &&Rule| old.family == rule.family;
    let Some(own) = now.iter().filter(of_family).find(|old| old.fwmark.is_some()) else {
        return rule;
    };
    match rule.fwmark {
        Some(_) => own.clone(),
        None => {
            let spares_main = now.iter().filter(of_family).find(|old| old.fwmark.is_none());
            let next = Rule { priority: own.priority.saturating_sub(1), ..rule.clone() };
            spares_main.cloned().unwrap_or(next)
        }
    }
}

/// Those of `these` that are not among `others`, in order.
fn missing<'a, T: Clone + Eq + std::hash::Hash>(
    these: &'a [T],
    others: &[T],
) -> impl Iterator<Item = T> + use<'a, T> {
    let others: HashSet<T> = others.iter().cloned().collect();
    these.iter().filter(move |item| !others.contains(item)).cloned()
}

fn addresses_of(prefixes: &[Prefix], family: Family) -> Vec<std::net::IpAddr> {
    let own = prefixes.iter().filter(|prefix| prefix.family() == family);
    own.map(|prefix| prefix.address).collect()
}

/// What the kernel gives to a TUN device by itself.
fn is_link_local(prefix: &Prefix) -> bool {
    matches!(prefix.address, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn mtu_of_path(host: &Host, update: &DeviceUpdate, device: &Device) -> anyhow::Result<u32> {
    let mut then = expected(update);
    then.fwmark = update.fwmark.unwrap_or(device.fwmark);
    // Those that the file does not name anew stay.
    then.peers.extend(device.peers.iter().cloned());
    let paths = Paths::observe(&host.net, &then)?;
    Ok(mtu::automatic(&paths.to_peers, paths.default.as_ref(), &paths.links))
}

/// The tunnel's rules that are there: those of its mark, and those of the journal, whose mark may be
/// gone already when a reload was killed.
fn rules(host: &Host, mark: u32, record: &Record) -> anyhow::Result<Vec<Rule>> {
    let mut ours = if mark == 0 { Vec::new() } else { rules_of(host, mark)? };
    for step in &record.undo {
        if let Step::DeleteRule(rule) = step
            && !ours.contains(rule)
            && host.net.rules(rule.family)?.contains(rule)
        {
            ours.push(rule.clone());
        }
    }
    Ok(ours)
}

/// A change that makes an interface like this one.
fn snapshot(device: &Device) -> DeviceUpdate {
    let key = device.private_key.clone();
    DeviceUpdate {
        private_key: Some(key.unwrap_or_else(|| PrivateKey::from([0; KEY_LEN]))),
        listen_port: Some(device.listen_port),
        fwmark: Some(device.fwmark),
        replace_peers: true,
        peers: device
            .peers
            .iter()
            .map(|peer| PeerUpdate {
                preshared_key: peer.preshared_key.clone(),
                endpoint: peer.endpoint,
                persistent_keepalive: Some(peer.persistent_keepalive),
                replace_allowed_ips: true,
                allowed_ips: peer.allowed_ips.iter().copied().map(Into::into).collect(),
                ..PeerUpdate::new(peer.public_key)
            })
            .collect(),
    }
}
