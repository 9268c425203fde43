//! Steps that take something back, as lines of the journal.

use wg_hostnet::{Family, Rule};

use super::Step;
use crate::dns::Manager;

impl Step {
    /// A step that takes something back, as a line of the journal.
    pub(crate) fn to_line(&self) -> Option<String> {
        Some(match self {
            Self::DeleteLink => "delete-link".to_owned(),
            Self::DeleteDns(manager) => format!("delete-dns {}", manager.to_line()),
            Self::DeleteRule(Rule { family, priority, fwmark: Some(mark), .. }) => {
                format!("delete-mark-rule {} {priority} {mark}", digit(*family))
            }
            Self::DeleteRule(Rule { family, priority, .. }) => {
                format!("delete-main-rule {} {priority}", digit(*family))
            }
            Self::RestoreSrcValidMark { mark } => format!("restore-src-valid-mark {mark}"),
            Self::DeleteNftables => "delete-nftables".to_owned(),
            Self::DeleteIptables(family) => format!("delete-iptables {}", digit(*family)),
            _ => return None,
        })
    }

    /// Reads a line of the journal.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "delete-dns" {
            return Manager::from_line(rest).map(Self::DeleteDns);
        }
        let numbers: Vec<u32> =
            rest.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(match (verb, numbers.as_slice()) {
            ("delete-link", []) => Self::DeleteLink,
            ("delete-nftables", []) => Self::DeleteNftables,
            ("delete-iptables", [digit]) => Self::DeleteIptables(family(*digit)?),
            ("restore-src-valid-mark", [mark]) => Self::RestoreSrcValidMark { mark: *mark },
            ("delete-mark-rule", [digit, priority, mark]) => {
                Self::DeleteRule(Rule::for_unmarked(family(*digit)?, *priority, *mark, *mark))
            }
            ("delete-main-rule", [digit, priority]) => {
                Self::DeleteRule(Rule::main_without_default(family(*digit)?, *priority))
            }
            _ => return None,
        })
    }
}

fn digit(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 6,
    }
}

fn family(digit: u32) -> Option<Family> {
    match digit {
        4 => Some(Family::Ipv4),
        6 => Some(Family::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for step in [
            Step::DeleteLink,
            Step::DeleteDns(Manager::Resolvconf("tun.wg0".to_owned())),
            Step::DeleteDns(Manager::Resolved),
            Step::DeleteDns(Manager::File { created: true }),
            Step::DeleteDns(Manager::File { created: false }),
            Step::DeleteRule(Rule::for_unmarked(Family::Ipv4, 32765, 51820, 51820)),
            Step::DeleteRule(Rule::main_without_default(Family::Ipv6, 32764)),
            Step::RestoreSrcValidMark { mark: 51820 },
            Step::DeleteNftables,
            Step::DeleteIptables(Family::Ipv6),
        ] {
            let line = step.to_line().unwrap();
            assert_eq!(Step::from_line(&line), Some(step), "{line}");
        }
        for line in ["", "delete-link 1", "delete-iptables 5", "delete-main-rule 4", "x"] {
            assert_eq!(Step::from_line(line), None, "{line}");
        }
    }
}
