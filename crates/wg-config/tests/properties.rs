//! What holds for every text: no panic, no loss, and agreement between the forms of a file.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wg_config::{
    AllowedIp, AllowedIpChange, Config, Dialect, Endpoint, Interface, Peer, PresharedKey,
    PrivateKey, PublicKey, Table, read, strip,
};

const HOST: &str = "[a-z][a-z0-9-]{0,9}(\\.[a-z]{2,5})?";

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_with_places(text in vec(any::<u8>(), 0..300)) {
        judge(&text)?;
    }

    #[test]
    fn almost_any_configuration_is_read_or_refused_with_places(text in almost_a_config()) {
        judge(&text)?;
    }

    #[test]
    fn a_configuration_written_as_text_is_read_back(
        config in config(),
        style in style(),
    ) {
        let text = "\u{feff}".to_owned() + &style.write(&config);
        let parsed = read("x", text.as_bytes(), Dialect::WgQuick, |_| None);
        let parsed = parsed.map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        prop_assert_eq!(parsed.config, config, "{}", text);
    }

    #[test]
    fn wg_reads_of_a_stripped_file_what_wg_quick_reads_of_the_whole(
        config in config(),
        style in style(),
    ) {
        let text = style.write(&config);
        let whole = read("x", text.as_bytes(), Dialect::WgQuick, |_| None).unwrap();
        let stripped = strip(text.as_bytes()).unwrap();
        let part = read("x", &stripped, Dialect::Wg, |_| None);
        let part = part.map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        let Interface { private_key, listen_port, fwmark, .. } = whole.config.interface;
        let interface = Interface { private_key, listen_port, fwmark, ..Interface::default() };
        prop_assert_eq!(part.config, Config { interface, peers: whole.config.peers });
    }

    #[test]
    fn strip_keeps_what_is_not_of_wg_quick(lines in vec(line(), 0..12), ends in any::<bool>()) {
        let mut text = Vec::new();
        let mut kept = Vec::new();
        let mut in_interface = false;
        let last = lines.len().wrapping_sub(1);
        for (index, line) in lines.iter().enumerate() {
            let end: &[u8] = if index == last && !ends { b"" } else { b"\n" };
            text.extend([&line.indent, line.written.as_bytes(), b"\t ", end].concat());
            match line.kind {
                Kind::Interface => in_interface = true,
                Kind::OtherHeader => in_interface = false,
                Kind::Quick if in_interface => continue,
                Kind::Quick | Kind::Other => {}
            }
            // The original drops a last line that has neither text nor end.
            if !(line.written.is_empty() && end.is_empty()) {
                kept.extend([line.written.as_bytes(), b"\n"].concat());
            }
        }
        kept.push(b'\n');
        prop_assert_eq!(
            strip(&text).unwrap().escape_ascii().to_string(),
            kept.escape_ascii().to_string()
        );
    }
}

fn judge(text: &[u8]) -> Result<(), TestCaseError> {
    let _ = strip(text);
    for dialect in [Dialect::Wg, Dialect::WgQuick] {
        let (diagnostics, is_refused) = match read("x", text, dialect, |_| None) {
            Ok(parsed) => (parsed.warnings, false),
            Err(errors) => (errors.iter().cloned().collect(), true),
        };
        let lines = text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
        for diagnostic in &diagnostics {
            let line = lines[diagnostic.line() - 1];
            prop_assert!((1..=line.len() + 1).contains(&diagnostic.column()));
            let rendered = diagnostic.render(false);
            prop_assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{}", rendered);
            prop_assert!(!diagnostic.original().contains(char::is_control));
            // The canonical text never surprises the floor above it.
            prop_assert!(!diagnostic.title().contains("do not match"));
        }
        if is_refused {
            prop_assert!(!diagnostics.is_empty());
            prop_assert!(dialect == Dialect::WgQuick || diagnostics.len() == 1);
        }
        prop_assert!(diagnostics.is_sorted_by_key(|d| (d.line(), d.column())));
    }
    Ok(())
}

/// Pieces of configurations in any order, so that many lines are nearly right.
fn almost_a_config() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "[Interface]\n",
        "[Peer]\n",
        "[peer",
        "]",
        "\n",
        "\n",
        "\r\n",
        "=",
        "=",
        " = ",
        " ",
        "\t",
        "#",
        "\\",
        "\\\n",
        ";",
        ":",
        "\"",
        "'",
        "\0",
        "\u{feff}",
        "\u{a0}",
        "\u{85}",
        "\u{2028}",
        "ListenPort",
        "FwMark",
        "PrivateKey",
        "PublicKey",
        "PresharedKey",
        "AllowedIPs",
        "Endpoint",
        "PersistentKeepalive",
        "Address",
        "DNS",
        "MTU",
        "Table",
        "SaveConfig",
        "PostUp",
        "PreDown",
        "off",
        "0x",
        "51820",
        "10.0.0.1/8",
        "fd00::1/64",
        ",",
        "+",
        "-",
        "[::1]:5",
        "example:5",
        "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "true",
        "é",
    ]);
    let piece = prop_oneof![
        20 => fixed.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// How a file may be written without a change of meaning.
#[derive(Debug, Clone)]
struct Style {
    line_end: &'static str,
    upper_case: bool,
    /// Around names and values, and inside the values of wg(8).
    blank: &'static str,
    comment: &'static str,
    /// Lists on one line, not on a line for each entry.
    lists: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let line_end = prop::sample::select(vec!["\n", "\r\n"]);
    let blank = prop::sample::select(vec!["", " ", "\t \t"]);
    let comment = prop::sample::select(vec!["", "# x", " # [Peer] \\"]);
    (line_end, any::<bool>(), blank, comment, any::<bool>()).prop_map(
        |(line_end, upper_case, blank, comment, lists)| Style {
            line_end,
            upper_case,
            blank,
            comment,
            lists,
        },
    )
}

impl Style {
    fn write(&self, config: &Config) -> String {
        let mut text = String::new();
        self.header(&mut text, "[Interface]");
        let interface = &config.interface;
        if let Some(key) = &interface.private_key {
            self.wg(&mut text, "PrivateKey", &key.to_base64());
        }
        self.list(&mut text, "Address", &strings(&interface.addresses));
        let dns = [strings(&interface.dns), interface.dns_search.clone()].concat();
        self.list(&mut text, "DNS", &dns);
        for (name, hooks) in [
            ("PreUp", &interface.pre_up),
            ("PostUp", &interface.post_up),
            ("PreDown", &interface.pre_down),
            ("PostDown", &interface.post_down),
        ] {
            hooks.iter().for_each(|hook| self.setting(&mut text, name, hook, ""));
        }
        if let Some(mtu) = interface.mtu {
            self.setting(&mut text, "MTU", &mtu.to_string(), self.comment);
        }
        // A second section of the same kind adds to the first.
        self.header(&mut text, "[Interface]");
        let table = match &interface.table {
            Table::Auto => "auto".into(),
            Table::Off => "off".into(),
            Table::Id(id) => id.to_string(),
            Table::Name(name) => name.clone(),
        };
        self.setting(&mut text, "Table", &table, self.comment);
        let save = interface.save_config.to_string();
        self.setting(&mut text, "SaveConfig", &save, self.comment);
        if let Some(port) = interface.listen_port {
            self.wg(&mut text, "ListenPort", &port.to_string());
        }
        if let Some(mark) = interface.fwmark {
            self.wg(&mut text, "FwMark", &format!("{mark:#x}"));
        }
        config.peers.iter().for_each(|peer| self.peer(&mut text, peer));
        text
    }

    fn peer(&self, text: &mut String, peer: &Peer) {
        self.header(text, "[Peer]");
        if let Some(name) = &peer.name {
            text.push_str(&format!("#{}Name = {name}{}", self.blank, self.line_end));
        }
        let ips = peer.allowed_ips.iter().map(|change| match change.remove {
            true => format!("-{}", change.ip),
            false if peer.replace_allowed_ips => change.ip.to_string(),
            false => format!("+{}", change.ip),
        });
        if self.lists && !peer.allowed_ips.is_empty() {
            self.wg(text, "AllowedIPs", &ips.collect::<Vec<_>>().join(","));
        } else {
            ips.for_each(|ip| self.wg(text, "AllowedIPs", &ip));
        }
        if let Some(endpoint) = &peer.endpoint {
            self.wg(text, "Endpoint", &endpoint.to_string());
        }
        if let Some(key) = &peer.preshared_key {
            self.wg(text, "PresharedKey", &key.to_base64());
        }
        if let Some(seconds) = peer.persistent_keepalive {
            self.wg(text, "PersistentKeepalive", &seconds.to_string());
        }
        self.wg(text, "PublicKey", &peer.public_key.to_string());
    }

    fn header(&self, text: &mut String, header: &str) {
        let header = self.spell(header);
        text.push_str(&format!("{0}{header}{0}{1}{2}", self.blank, self.comment, self.line_end));
    }

    fn list(&self, text: &mut String, name: &str, entries: &[String]) {
        if self.lists {
            let separator = format!(",{}", self.blank);
            self.setting(text, name, &entries.join(&separator), self.comment);
        } else {
            entries.iter().for_each(|entry| self.setting(text, name, entry, self.comment));
        }
    }

    fn wg(&self, text: &mut String, name: &str, value: &str) {
        let spread: String =
            value.chars().flat_map(|c| [self.blank.to_owned(), c.into()]).collect();
        self.setting(text, name, &spread, self.comment);
    }

    fn setting(&self, text: &mut String, name: &str, value: &str, comment: &str) {
        let (name, blank, end) = (self.spell(name), self.blank, self.line_end);
        text.push_str(&format!("{blank}{name}{blank}={blank}{value}{blank}{comment}{end}"));
    }

    fn spell(&self, name: &str) -> String {
        if self.upper_case { name.to_uppercase() } else { name.to_owned() }
    }
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn config() -> impl Strategy<Value = Config> {
    (interface(), vec(peer(), 0..4)).prop_map(|(interface, peers)| Config { interface, peers })
}

fn interface() -> impl Strategy<Value = Interface> {
    let hooks = || vec("([!-~é]([ -~]{0,12}[!-~é])?)?", 0..3);
    let table = prop_oneof![
        Just(Table::Auto),
        Just(Table::Off),
        any::<u32>().prop_map(Table::Id),
        "t[a-z]{0,8}".prop_map(Table::Name),
    ];
    let wg = (option::of(any::<[u8; 32]>()), any::<Option<u16>>(), any::<Option<u32>>());
    let addresses = (vec(allowed_ip(), 0..3), vec(any::<IpAddr>(), 0..3), vec(HOST, 0..3));
    let rest = (option::of(1..=i32::MAX as u32), table, any::<bool>());
    (wg, addresses, rest, hooks(), hooks(), hooks(), hooks()).prop_map(
        |(wg, addresses, rest, pre_up, post_up, pre_down, post_down)| Interface {
            private_key: wg.0.map(PrivateKey::from),
            listen_port: wg.1,
            fwmark: wg.2,
            addresses: addresses.0,
            dns: addresses.1,
            dns_search: addresses.2,
            mtu: rest.0,
            table: rest.1,
            save_config: rest.2,
            pre_up,
            post_up,
            pre_down,
            post_down,
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    let host = prop_oneof![
        HOST.prop_map(String::from),
        any::<IpAddr>().prop_map(|ip| ip.to_string()),
        Just("fe80::1%eth0".to_owned()),
    ];
    let service = prop_oneof![any::<u16>().prop_map(|port| port.to_string()), "[a-z]{1,8}"];
    let endpoint = (host, service).prop_map(|(host, service)| Endpoint::new(&host, &service));
    let allowed_ips = (any::<bool>(), vec((allowed_ip(), any::<bool>()), 0..4));
    let keys = (any::<[u8; 32]>(), option::of(any::<[u8; 32]>()));
    let name = option::of("[!-~é]([ -~é]{0,12}[!-~é])?");
    (name, keys, option::of(endpoint), any::<Option<u16>>(), allowed_ips).prop_map(
        |(name, keys, endpoint, persistent_keepalive, (replace, ips))| {
            let replace_allowed_ips = replace || ips.is_empty();
            let change =
                |(ip, remove)| AllowedIpChange { ip, remove: remove && !replace_allowed_ips };
            Peer {
                name,
                public_key: PublicKey::from(keys.0),
                preshared_key: keys.1.map(PresharedKey::from),
                endpoint,
                persistent_keepalive,
                replace_allowed_ips,
                allowed_ips: ips.into_iter().map(change).collect(),
            }
        },
    )
}

fn allowed_ip() -> impl Strategy<Value = AllowedIp> {
    (any::<IpAddr>(), 0..=128u8).prop_map(|(address, cidr)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        AllowedIp::new(address, cidr.min(most)).unwrap()
    })
}

/// A line for `strip`, and whether the original knows it as one of wg-quick's.
#[derive(Debug, Clone)]
struct Line {
    indent: Vec<u8>,
    written: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Interface,
    OtherHeader,
    Quick,
    Other,
}

#[rustfmt::skip]
const LINES: [(Kind, &[&str]); 4] = [
    (Kind::Interface, &["[Interface]", "[INTERFACE] # x", "[interface]=3", "\x0b[Interface]\r"]),
    (Kind::OtherHeader, &["[Peer]", "[Foo", "[ Interface ]", "[Interface]x", "["]),
    (Kind::Quick, &[
        "Address = 1", "mtu=5 # x", "PostUp=a#b", "DNS", "Table#x", "SaveConfig = true", "POSTDOWN =",
        "PreUp\x0c=\\", "predown=\r",
    ]),
    (Kind::Other, &[
        "ListenPort = 5", "# MTU = 5", "", "x", "Mtu x = 5", "Add ress=1", "\u{e9}=1", "=MTU", "\r",
        "\u{a0}MTU=5",
    ]),
];

fn line() -> impl Strategy<Value = Line> {
    let kinds = prop::sample::select(LINES.to_vec());
    let indent = prop::sample::select(vec!["", " ", "\t\t", "\0 "]);
    (kinds, any::<prop::sample::Index>(), indent).prop_map(|((kind, lines), index, indent)| Line {
        indent: indent.into(),
        written: lines[index.index(lines.len())],
        kind,
    })
}
