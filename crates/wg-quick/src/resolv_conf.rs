//! The text of `/etc/resolv.conf` with a tunnel's lines in it.
//!
//! A tunnel's lines come first, between two comments. All that was there becomes a comment, so that
//! only the tunnel's name servers are asked. Tunnels may lie upon each other in any order: each is
//! taken out from wherever it is, and what is left is to the byte what would be there without it.

/// The text with an interface's lines, in place of any that it has already.
pub(crate) fn with(text: &str, interface: &str, lines: &str) -> String {
    let base = without(text, interface).unwrap_or_else(|| text.to_owned());
    let (begin, end) = frame(interface);
    let mark = mark(interface);
    let hidden: Vec<_> = base.split('\n').map(|line| format!("{mark}{line}")).collect();
    format!("{begin}{lines}{end}{}", hidden.join("\n"))
}

/// The text without an interface's lines; `None` when it has none.
pub(crate) fn without(text: &str, interface: &str) -> Option<String> {
    let top = top(text)?;
    let (begin, end) = frame(top);
    let (lines, hidden) = text.strip_prefix(begin.as_str())?.split_once(end.as_str())?;
    let mark = mark(top);
    // What somebody has written since is not hidden, and stays.
    let shown: Vec<_> =
        hidden.split('\n').map(|line| line.strip_prefix(mark.as_str()).unwrap_or(line)).collect();
    let base = shown.join("\n");
    if top == interface {
        return Some(base);
    }
    Some(with(&without(&base, interface)?, top, lines))
}

/// The interface whose lines come first.
fn top(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix("# wg-quick ")?.strip_suffix(" begins")
}

fn frame(interface: &str) -> (String, String) {
    (format!("# wg-quick {interface} begins\n"), format!("# wg-quick {interface} ends\n"))
}

/// What stands before a line that an interface hides.
fn mark(interface: &str) -> String {
    format!("# wg-quick {interface}: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: [&str; 4] =
        ["", "nameserver 192.0.2.53\n", "# a\n\nsearch example\noptions edns0", "\n"];

    #[test]
    fn only_the_tunnels_name_servers_are_left() {
        let text = with("nameserver 192.0.2.53\nsearch a\n", "wg0", "nameserver 10.0.0.1\n");
        let settings: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(settings, ["nameserver 10.0.0.1"]);
    }

    #[test]
    fn what_was_there_comes_back_to_the_byte() {
        for before in BEFORE {
            let text = with(before, "wg0", "nameserver 10.0.0.1\n");
            assert_eq!(without(&text, "wg0").as_deref(), Some(before));
            assert_eq!(without(&text, "wg1"), None);
            assert_eq!(without(before, "wg0"), None);
            let again = with(&text, "wg0", "nameserver 10.0.0.2\n");
            assert_eq!(without(&again, "wg0").as_deref(), Some(before));
        }
    }

    #[test]
    fn tunnels_go_in_any_order() {
        for before in BEFORE {
            let a = with(before, "a", "nameserver 10.0.0.1\n");
            let ab = with(&a, "b", "nameserver 10.0.0.2\n");
            let abc = with(&ab, "c", "nameserver 10.0.0.3\n");
            let bc =
                with(&with(before, "b", "nameserver 10.0.0.2\n"), "c", "nameserver 10.0.0.3\n");
            assert_eq!(without(&abc, "a").as_deref(), Some(bc.as_str()));
            assert_eq!(without(&abc, "c").as_deref(), Some(ab.as_str()));
            let b = without(&without(&abc, "a").unwrap(), "c").unwrap();
            assert_eq!(without(&b, "b").as_deref(), Some(before));
        }
    }

    #[test]
    fn a_file_that_somebody_has_written_anew_is_left_alone() {
        assert_eq!(without("nameserver 192.0.2.1\n# wg-quick wg0 begins\n", "wg0"), None);
        let appended = with("search a\n", "wg0", "nameserver 10.0.0.1\n") + "options rotate\n";
        assert_eq!(without(&appended, "wg0").as_deref(), Some("search a\noptions rotate\n"));
    }
}
