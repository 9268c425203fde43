//! The arguments are those that were given to the original `wg set`, version 1.0.20260223, and
//! the sentences those that it printed.

use super::*;
use crate::Table;

fn errors<T: std::fmt::Debug>(
    parse: impl Fn(&str) -> Result<T, ValueError>,
    what: &str,
    texts: &[&str],
) {
    for text in texts {
        assert_eq!(parse(text).unwrap_err().original(), format!("{what}: `{text}'"), "{text:?}");
    }
}

#[test]
fn ports() {
    for (text, port) in [("0", 0), ("5", 5), (" 5", 5), ("+1", 1), ("010", 10), ("65535", 65535)] {
        assert_eq!(parse_port(text, |_| panic!()), Ok(port));
    }
    let lookup = |text: &str| parse_port(text, |service| (service == "domain").then_some(53));
    assert_eq!(lookup("domain"), Ok(53));
    let what = "Servname not supported for ai_socktype";
    errors(lookup, what, &["x", "5 ", "-1", "0x10", "off", "5x", "65536", "70000"]);
    assert_eq!(lookup("").unwrap_err().original(), "Unable to parse empty port");
}

#[test]
fn fwmarks() {
    for (text, mark) in [
        ("5", 5),
        ("0x10", 16),
        ("off", 0),
        ("OFF", 0),
        ("010", 10),
        ("0xABCDEF", 0xabcdef),
        ("4294967295", u32::MAX),
        ("0x00000000ffffffff", u32::MAX),
    ] {
        assert_eq!(parse_fwmark(text), Ok(mark));
    }
    errors(
        parse_fwmark,
        "Fwmark is neither 0/off nor 0-0xffffffff",
        &[
            "",
            "x",
            " 5",
            "0x",
            "0x 1",
            "0x-1",
            "0x+1",
            "0x0x1",
            "00x1",
            "0xg",
            "0XfF",
            "1e3",
            "+1",
            "-1",
            "4294967296",
            "0xfffffffff",
        ],
    );
}

#[test]
fn persistent_keepalives() {
    for (text, seconds) in [("5", 5), ("off", 0), ("OfF", 0), ("0", 0), ("010", 10)] {
        assert_eq!(parse_persistent_keepalive(text), Ok(seconds));
    }
    errors(
        parse_persistent_keepalive,
        "Persistent keepalive interval is neither 0/off nor 1-65535",
        &["", "x", " 5", "1 0", "-1", "+1", "0x10", "65536", "18446744073709551617"],
    );
}

#[test]
fn allowed_ips() {
    let parse = |text| {
        let (replace, changes) = parse_allowed_ips(text, &mut |_| ()).unwrap();
        let signed = changes
            .iter()
            .map(|change| format!("{}{}", if change.remove { "-" } else { "" }, change.ip));
        (replace, signed.collect::<Vec<_>>().join(" "))
    };
    for (text, replace, changes) in [
        ("", true, ""),
        (" ", true, ""),
        ("10.0.0.0/8", true, "10.0.0.0/8"),
        (" 10.0.0.0/8, 10. 1.0.0/16\t", true, "10.0.0.0/8 10.1.0.0/16"),
        ("10.0.0.1", true, "10.0.0.1/32"),
        ("::", true, "::/128"),
        ("+10.0.0.0/8", false, "10.0.0.0/8"),
        ("+ 10.0.0.0/8", false, "10.0.0.0/8"),
        ("10.2.0.0/24,-10.3.0.0/16", false, "10.2.0.0/24 -10.3.0.0/16"),
        ("1:2:3:4:5:6:7::", true, "1:2:3:4:5:6:7:0/128"),
    ] {
        assert_eq!(parse(text), (replace, changes.to_owned()), "{text:?}");
    }
    for (text, sentence) in [
        ("x", "Unable to parse IP address: `x'"),
        (",", "Unable to parse IP address: `'"),
        ("10.0.0.0/8,", "Unable to parse IP address: `'"),
        ("--10.3.0.0/16", "Unable to parse IP address: `-10.3.0.0'"),
        ("00.0.0.0", "Unable to parse IP address: `00.0.0.0'"),
        ("1.2.3.4.", "Unable to parse IP address: `1.2.3.4.'"),
        ("::00001", "Unable to parse IP address: `::00001'"),
        ("::1.2.3.4.5", "Unable to parse IP address: `::1.2.3.4.5'"),
        ("-10.0.0.0/33", "AllowedIP is not in the correct format: `10.0.0.0/33'"),
        ("1.2.3.4/32/", "AllowedIP is not in the correct format: `1.2.3.4/32/'"),
    ] {
        assert_eq!(parse_allowed_ips(text, &mut |_| ()).unwrap_err().original(), sentence);
    }
}

#[test]
fn host_bits_are_reported_also_before_an_error() {
    let mut warnings = Vec::new();
    let text = "10.0.0.1/024, -FD00::1/64, 10.0.0.0/8, x";
    let result = parse_allowed_ips(text, &mut |warning| warnings.push(warning));
    assert_eq!(&text[result.unwrap_err().span()], "x");
    let said: Vec<_> = warnings.iter().map(|w| (w.original(), &text[w.span()])).collect();
    assert_eq!(
        said,
        [
            ("Warning: AllowedIP has nonzero host part: 10.0.0.1/024", "10.0.0.1/024"),
            ("Warning: AllowedIP has nonzero host part: FD00::1/64", "-FD00::1/64"),
        ]
    );
}

#[test]
fn endpoints() {
    for (text, host, service) in [
        ("1.2.3.4:5", "1.2.3.4", "5"),
        ("[::1]:5", "::1", "5"),
        ("::1:5", "::1", "5"),
        ("1.2.3.4:005", "1.2.3.4", "5"),
        ("[fe80::1%7]:5", "fe80::1%7", "5"),
        ("[fe80::1%eth0]:+5", "fe80::1%eth0", "5"),
        ("[localhost]:domain", "localhost", "domain"),
    ] {
        assert_eq!(parse_endpoint(text), Ok(Endpoint::new(host, service)), "{text}");
    }
    let cases: [(&str, &[&str]); 4] = [
        ("Unable to find port of endpoint", &["x", "1.2.3.4:", "[::1]", "[::1]x5", "[::1]x]:5"]),
        ("Unable to find matching brace of endpoint", &["[::1", "[:5"]),
        ("Name or service not known", &["[]:5", ":5", "2001:db8::1"]),
        ("Servname not supported for ai_socktype", &["1.2.3.4:-1", "1.2.3.4:70000"]),
    ];
    for (what, texts) in cases {
        errors(parse_endpoint, what, texts);
    }
    assert_eq!(parse_endpoint("").unwrap_err().original(), "Unable to parse empty endpoint");
}

#[test]
fn keys() {
    let text = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    assert_eq!(parse_private_key(text).unwrap().to_base64().as_str(), text);
    assert_eq!(parse_preshared_key(text).unwrap().to_base64().as_str(), text);
    assert_eq!(parse_public_key(text).unwrap().to_string(), text);

    let what = "Key is not the correct length or format";
    errors(parse_public_key, what, &["", " ", &text[..43], &text.replace('+', "_")]);
    errors(parse_private_key, what, &["", "short"]);
    for almost in [&text[..43], &text[..16], &text.replace('+', "_")] {
        let error = parse_private_key(almost).unwrap_err();
        assert_eq!(error.original(), format!("{what}: `(hidden)'"));
        assert_eq!(parse_preshared_key(almost).unwrap_err(), error);
        assert!(!format!("{error:?}").contains(&almost[..16]));
    }
}

#[test]
fn addresses() {
    let parse = |text| {
        parse_address(text)
            .map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(parse("10.0.0.1/24 , fd00::1"), Ok("10.0.0.1/24 fd00::1/128".to_owned()));
    assert_eq!(parse("10.0.0.1 10.0.0.2,,"), Ok("10.0.0.1/32 10.0.0.2/32".to_owned()));
    assert_eq!(parse(""), Ok(String::new()));
    assert_eq!(parse("10.0.0.1/255.255.254.0"), Ok("10.0.0.1/23".to_owned()));
    assert_eq!(parse("10.0.0.1/0.0.0.0"), Ok("10.0.0.1/0".to_owned()));
    let text = "10.0.0.1/24, 10.0.0.1/33";
    assert_eq!(&text[parse(text).unwrap_err().span()], "10.0.0.1/33");
    errors(
        parse_address,
        "Unable to parse IP address",
        &["x", "10.0.0.1/", "::/129", "1.1.1.1/+8", "1.1.1.1/255.0.255.0", "::1/255.0.0.0"],
    );
}

#[test]
fn dns() {
    let entries = parse_dns("1.1.1.1, corp.example fd00::53").unwrap();
    assert_eq!(
        entries,
        [
            DnsEntry::Server("1.1.1.1".parse().unwrap()),
            DnsEntry::Search("corp.example".into()),
            DnsEntry::Server("fd00::53".parse().unwrap()),
        ]
    );
    errors(parse_dns, "Unable to parse IP address", &["1.1.1", "fd00::x", "1.1.1.1:53"]);
}

#[test]
fn mtu_table_and_save_config() {
    assert_eq!(parse_mtu("1420"), Ok(Some(1420)));
    assert_eq!(parse_mtu(""), Ok(None));
    errors(parse_mtu, "MTU is not a number of bytes", &["0", "x", "-5", "1 420", "2147483648"]);

    for (text, table) in [
        ("", Table::Auto),
        ("Auto", Table::Auto),
        ("off", Table::Off),
        ("1234", Table::Id(1234)),
        ("0x10", Table::Id(16)),
        ("010", Table::Id(8)),
        ("main", Table::Name("main".into())),
    ] {
        assert_eq!(parse_table(text), Ok(table));
    }
    let what = "Table is neither auto, off, a number nor a name";
    errors(parse_table, what, &["a b", "5x", "4294967296", "0x+1", "0x"]);

    assert_eq!(parse_bool("TRUE"), Ok(true));
    assert_eq!(parse_bool("false"), Ok(false));
    for text in ["yes", "", "true x"] {
        let sentence = format!("`{text}' is neither true nor false");
        assert_eq!(parse_bool(text).unwrap_err().original(), sentence);
    }
}
