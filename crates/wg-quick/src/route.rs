//! Which of the peers' allowed IPs get a route, and in which order.

use wg_hostnet::Prefix;

/// The allowed IPs in the order in which their routes are added: most specific first, as
/// `sort -nr -k 2 -t /` of the original puts them.
pub(crate) fn in_order(allowed_ips: impl IntoIterator<Item = Prefix>) -> Vec<Prefix> {
    let mut keyed: Vec<(u8, String, Prefix)> =
        allowed_ips.into_iter().map(|prefix| (prefix.len, prefix.to_string(), prefix)).collect();
    keyed.sort_unstable_by(|a, b| b.cmp(a));
    keyed.dedup();
    keyed.into_iter().map(|(_, _, prefix)| prefix).collect()
}

/// Those that no route of the device covers yet. A route that is added covers what comes after it.
pub(crate) fn not_covered(ordered: Vec<Prefix>, existing: &[Prefix]) -> Vec<Prefix> {
    // The order is from the most to the least specific and holds nothing twice: none of those that
    // are added covers a later one.
    ordered.into_iter().filter(|p| !existing.iter().any(|route| route.contains(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(text: &str) -> Vec<Prefix> {
        text.split(' ')
            .map(|word| {
                let (address, len) = word.split_once('/').unwrap();
                Prefix::new(address.parse().unwrap(), len.parse().unwrap())
            })
            .collect()
    }

    fn text(prefixes: &[Prefix]) -> String {
        prefixes.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_is_the_originals() {
        // Captured from the original with three peers whose allowed IPs overlap.
        let given = prefixes(
            "10.0.0.0/8 10.66.0.0/16 fd66::/32 10.66.0.0/24 172.16.0.0/16 fd66:0:0:1::/64 \
             fd66::5/128 10.66.0.128/25 172.16.0.0/12 192.168.77.0/24 fd66::/48 10.66.0.5/32",
        );
        let expected = prefixes(
            "fd66::5/128 fd66:0:0:1::/64 fd66::/48 fd66::/32 10.66.0.5/32 10.66.0.128/25 \
             192.168.77.0/24 10.66.0.0/24 172.16.0.0/16 10.66.0.0/16 172.16.0.0/12 10.0.0.0/8",
        );
        assert_eq!(in_order(given), expected);
    }

    #[test]
    fn a_route_of_the_device_makes_another_needless() {
        let wanted = prefixes("10.66.0.5/32 10.66.0.0/24 10.66.0.0/16 fd66::1/128");
        let existing = prefixes("10.66.0.0/24 fe80::/64");
        assert_eq!(text(&not_covered(wanted, &existing)), "10.66.0.0/16 fd66::1/128");
    }
}
