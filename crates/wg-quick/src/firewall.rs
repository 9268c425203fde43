//! What does the firewall's work: nf_tables, else `iptables-restore`, else nothing, which is said.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use wg_hostnet::{Error, Family, Firewall};

use crate::host::Host;
use crate::programs::Programs;
use crate::say;

/// What makes the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The kernel's nf_tables.
    Nftables,
    /// This `iptables-restore` or `ip6tables-restore`.
    Iptables(PathBuf),
    /// Nothing: the kernel lacks what is named here, and there is no `iptables-restore`.
    Missing(Error),
}

impl Tool {
    /// Finds what can make these rules.
    pub(crate) fn find(programs: &Programs, firewall: &Firewall) -> Self {
        match wg_hostnet::check_firewall(firewall) {
            Ok(()) => Self::Nftables,
            Err(error) => match programs.find(restore(firewall.family)) {
                Some(program) => Self::Iptables(program),
                None => Self::Missing(error),
            },
        }
    }
}

/// Makes the rules. Without them the tunnel works, so that a failure is a warning.
///
/// # Errors
/// When a signal interrupts it.
pub(crate) fn add(host: &Host, firewall: &Firewall, tool: &Tool) -> anyhow::Result<()> {
    let why = match tool {
        Tool::Nftables => match wg_hostnet::add_firewall(firewall) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Tool::Iptables(program) => match host.run_program(program, &["-n"], &additions(firewall)) {
            Ok(()) => return Ok(()),
            Err(error) if error.is::<crate::signals::Interrupted>() => return Err(error),
            Err(error) => format!("{}: {error}", program.display()),
        },
        Tool::Missing(error) => error.to_string(),
    };
    warn(firewall, &why);
    Ok(())
}

/// Whether [`delete_iptables`] has anything to do.
pub(crate) fn has_iptables(host: &Host, family: Family) -> bool {
    deletions(host, family).is_some()
}

/// Removes the rules that `iptables-restore` made for the interface.
///
/// # Errors
/// When `iptables-restore` fails.
pub(crate) fn delete_iptables(host: &Host, family: Family) -> anyhow::Result<()> {
    let (Some(text), Some(program)) =
        (deletions(host, family), host.programs.find(restore(family)))
    else {
        return Ok(());
    };
    host.run_program(&program, &["-n"], &text).with_context(|| program.display().to_string())
}

/// The name of the program for this family.
pub(crate) fn restore(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables-restore",
        Family::Ipv6 => "ip6tables-restore",
    }
}

fn warn(firewall: &Firewall, why: &str) {
    let (what, interface) = (family_name(firewall.family), &firewall.interface);
    say(format_args!("[!] {what} has no firewall rules for `{interface}': {why}"));
    say(format_args!(
        "[!] Not dropped: packets to the addresses of `{interface}' that come by other interfaces."
    ));
    say(format_args!(
        "[!] Not restored: the mark of the tunnel's incoming packets, which a strict reverse path \
         filter (rp_filter=1) needs."
    ));
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

fn marker(interface: &str) -> String {
    format!("-m comment --comment \"wg-quick(8) rule for {interface}\"")
}

/// What `iptables-restore -n` reads; the original's text.
fn additions(firewall: &Firewall) -> String {
    let interface = &firewall.interface;
    let marker = marker(interface);
    let mut text = "*raw\n".to_owned();
    for address in &firewall.addresses {
        text.push_str(&format!(
            "-I PREROUTING ! -i {interface} -d {address} -m addrtype ! --src-type LOCAL -j DROP \
             {marker}\n"
        ));
    }
    text.push_str(&format!(
        "COMMIT\n*mangle\n\
         -I POSTROUTING -m mark --mark {} -p udp -j CONNMARK --save-mark {marker}\n\
         -I PREROUTING -p udp -j CONNMARK --restore-mark {marker}\nCOMMIT\n",
        firewall.mark
    ));
    text
}

/// What undoes it, from what `iptables-save` prints; `None` where there is nothing to undo.
fn deletions(host: &Host, family: Family) -> Option<String> {
    let save = match family {
        Family::Ipv4 => "iptables-save",
        Family::Ipv6 => "ip6tables-save",
    };
    let mut command = host.programs.command(&host.programs.find(save)?);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    deletions_from(&String::from_utf8_lossy(&output.stdout), &marker(&host.interface))
}

fn deletions_from(saved: &str, marker: &str) -> Option<String> {
    let mut text = String::new();
    let mut found = false;
    for line in saved.lines() {
        match line.strip_prefix("-A ") {
            Some(rule) if rule.contains(marker) => {
                found = true;
                text.push_str(&format!("-D {rule}\n"));
            }
            None if line.starts_with('*') || line == "COMMIT" => {
                text.push_str(&format!("{line}\n"));
            }
            _ => {}
        }
    }
    found.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that the original gave to `iptables-restore`.
    #[test]
    fn the_rules_are_the_originals() {
        let firewall = Firewall {
            interface: "wg0".to_owned(),
            family: Family::Ipv4,
            mark: 51820,
            addresses: vec!["10.66.0.2".parse().unwrap(), "10.67.0.2".parse().unwrap()],
        };
        let expected = r#"*raw
-I PREROUTING ! -i wg0 -d 10.66.0.2 -m addrtype ! --src-type LOCAL -j DROP -m comment --comment "wg-quick(8) rule for wg0"
-I PREROUTING ! -i wg0 -d 10.67.0.2 -m addrtype ! --src-type LOCAL -j DROP -m comment --comment "wg-quick(8) rule for wg0"
COMMIT
*mangle
-I POSTROUTING -m mark --mark 51820 -p udp -j CONNMARK --save-mark -m comment --comment "wg-quick(8) rule for wg0"
-I PREROUTING -p udp -j CONNMARK --restore-mark -m comment --comment "wg-quick(8) rule for wg0"
COMMIT
"#;
        assert_eq!(additions(&firewall), expected);
    }

    #[test]
    fn only_this_interfaces_rules_are_removed() {
        let saved = r#"# Generated
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp -m comment --comment "wg-quick(8) rule for wg0" -j CONNMARK --restore-mark
-A PREROUTING -p udp -m comment --comment "wg-quick(8) rule for wg01" -j CONNMARK --restore-mark
-A PREROUTING -p tcp -j ACCEPT
COMMIT
"#;
        let expected = "*mangle\n-D PREROUTING -p udp -m comment --comment \
                        \"wg-quick(8) rule for wg0\" -j CONNMARK --restore-mark\nCOMMIT\n";
        assert_eq!(deletions_from(saved, &marker("wg0")).as_deref(), Some(expected));
        assert_eq!(deletions_from(saved, &marker("wg1")), None);
    }
}
