use super::*;
use crate::{AllowedIp, Table};

const PUBLIC: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn quick(text: &str) -> Result<Parsed, ConfigErrors> {
    read("wg0.conf", text.as_bytes(), Dialect::WgQuick, |_| None)
}

fn places(errors: &ConfigErrors) -> Vec<(usize, usize, &str)> {
    errors.iter().map(|error| (error.line(), error.column(), error.original())).collect()
}

#[test]
fn the_settings_of_wg_quick() {
    let config = quick(
        "[Interface]\n\
         Address = 10.0.0.2/24, fd00::2\n\
         address=10.0.0.3 # x\n\
         DNS = 1.1.1.1, corp.example\n\
         DNS = fd00::53\n\
         MTU = 1280\n\
         MTU = 1420\n\
         Table = 1234\n\
         PreUp = echo \"#1; %i\" # not a comment\n\
         PostUp = a\n\
         POSTUP = b \\\n\
         PreDown =\n\
         PostDown = d = e\n\
         SaveConfig = True\n\
         [Interface]\n\
         ListenPort = 51820\n\
         SaveConfig = false\n\
         SaveConfig = true # at last\n",
    )
    .unwrap()
    .config;
    assert_eq!(config.peers, []);
    let ip = |text: &str, cidr| AllowedIp::new(text.parse().unwrap(), cidr).unwrap();
    let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        config.interface,
        crate::Interface {
            private_key: None,
            listen_port: Some(51820),
            fwmark: None,
            addresses: vec![ip("10.0.0.2", 24), ip("fd00::2", 128), ip("10.0.0.3", 32)],
            dns: vec!["1.1.1.1".parse().unwrap(), "fd00::53".parse().unwrap()],
            dns_search: strings(&["corp.example"]),
            mtu: Some(1420),
            table: Table::Id(1234),
            pre_up: strings(&["echo \"#1; %i\" # not a comment"]),
            post_up: strings(&["a", "b \\"]),
            pre_down: strings(&[""]),
            post_down: strings(&["d = e"]),
            save_config: true,
        }
    );
}

#[test]
fn all_errors_of_a_file_in_its_order_with_their_places() {
    let errors = quick(
        "MTU = 1420\n\
         [Interface]\n\
         Adress = 10.0.0.1/24\n\
         \tAddress = 10.0.0.1/24, 10.0.0.2/33\n\
         SaveConfig = yes\n\
         ; comment\n\
         [Peer]\n\
         AllowedIPs = 10.0.0.0/8, 10. 1.0.0 /99\n\
         [Peer]\n\
         Endpoint = é:5, ä\n\
         [Pear]\n\
         not judged\n\
         [Peer]\n\
         PublicKey = short\n\
         [Peer]\n",
    )
    .unwrap_err();
    assert_eq!(
        places(&errors),
        [
            (1, 1, "Line unrecognized: `MTU=1420'"),
            (3, 1, "Line unrecognized: `Adress=10.0.0.1/24'"),
            (4, 25, "Unable to parse IP address: `10.0.0.2/33'"),
            (5, 14, "`yes' is neither true nor false"),
            (6, 1, "Line unrecognized: `;comment'"),
            (8, 26, "AllowedIP is not in the correct format: `10.1.0.0/99'"),
            (9, 1, "A peer is missing a public key"),
            (11, 1, "Line unrecognized: `[Pear]'"),
            (14, 13, "Key is not the correct length or format: `short'"),
            (15, 1, "A peer is missing a public key"),
        ]
    );
    assert_eq!(
        errors.iter().nth(5).unwrap().render(false),
        "\
error: invalid value for `AllowedIPs': `10.1.0.0/99'
 --> wg0.conf:8:26
  |
8 | AllowedIPs = 10.0.0.0/8, 10. 1.0.0 /99
  |                          ^^^^^^^^^^^^^ expected a prefix length from 0 to 32 behind the `/'"
    );
    assert_eq!(errors.iter().nth(1).unwrap().help(), Some("did you mean `Address'?"));
    assert_eq!(
        errors.to_string().lines().nth(3),
        Some("wg0.conf:5:14: invalid value for `SaveConfig': `yes': expected `true' or `false'")
    );
}

#[test]
fn the_place_of_a_part_is_right_behind_white_space_and_wide_characters() {
    let text =
        format!("[Peer]\nPublicKey={PUBLIC}\nEndpoint = e x\u{a0}é . example : 7 0 0 0 0 #\n");
    let errors = quick(&text).unwrap_err();
    assert_eq!(
        places(&errors),
        [(3, 30, "Servname not supported for ai_socktype: `exé.example:70000'")]
    );
    assert!(errors.first().render(false).contains("         ^^^^^^^^^ expected a port"));
}

#[test]
fn a_comment_under_the_header_names_a_peer() {
    let names = |text: &str| {
        let text = text.replace('P', &format!("PublicKey = {PUBLIC}"));
        let peers = quick(&text.replace("[]", "[Peer]")).unwrap().config.peers;
        peers.into_iter().map(|peer| peer.name).collect::<Vec<_>>()
    };
    assert_eq!(names("[]\n# Name = a b \nP"), [Some("a b".to_owned())]);
    assert_eq!(names("[] # x\n # x\n #name=é\r\nP"), [Some("é".to_owned())]);
    assert_eq!(names("[]\n\n# Name = a\nP"), [None]);
    assert_eq!(names("[]\nP\n# Name = a\n[]\nP"), [None, None]);
    assert_eq!(names("[]\n# Name =\nP"), [None]);
}

#[test]
fn bytes_that_are_no_text() {
    let read = |text: &[u8]| read("x", text, Dialect::WgQuick, |_| None);
    let error = |text| read(text).unwrap_err();

    // Only comments may be anything.
    assert!(read(b"[Interface] # \xff\0\n# \xff\0\nListenPort = 5 # \xff\0").is_ok());

    let errors = error(b"[Interface]\nPostUp = echo # caf\xe9\n");
    assert_eq!(errors.first().title(), "bytes that are not UTF-8");
    assert_eq!((errors.first().line(), errors.first().column()), (2, 20));

    let errors = error(b"[Interface]\nPostUp = a\0b\n");
    assert_eq!(errors.first().title(), "a NUL byte");

    let errors = error(b"[Interface]\nPostUp = a\rPreUp = b\r\n");
    assert_eq!(errors.first().title(), "a carriage return inside a line");

    let utf16: Vec<u8> =
        "\u{feff}[Interface]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(error(&utf16).first().help(), Some("the file is UTF-16; save it as UTF-8"));
}

#[test]
fn lines_of_megabytes_give_one_short_error() {
    let long = 16 << 20;
    for (start, fill) in [
        ("", "a"),
        ("[Interface]\nPostUp = # ", "a"),
        ("[Interface]\nPrivateKey = ", "="),
        ("[Peer]\nEndpoint = ", "é"),
    ] {
        let text = format!("{start}{}", fill.repeat(long / fill.len() + 1));
        for dialect in [Dialect::Wg, Dialect::WgQuick] {
            let errors = read("x", text.as_bytes(), dialect, |_| None).unwrap_err();
            let error = errors.first();
            assert!(error.render(false).len() < 3000 && error.original().len() < 3000);
            assert!(errors.to_string().len() < 3000);
        }
    }
    // A comment may be as long as it likes.
    let text = format!("[Interface]\nListenPort = 5 #{}", "a".repeat(long));
    assert!(quick(&text).is_ok());
}

#[test]
fn neither_errors_nor_warnings_grow_without_bound() {
    assert_eq!(quick(&"x\n".repeat(1000)).unwrap_err().iter().count(), MOST_ERRORS);
    let prefixes = "10.0.0.1/8,".repeat(1000);
    let text = format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs = {prefixes}10.0.0.1/8");
    let parsed = quick(&text).unwrap();
    assert_eq!(parsed.config.peers[0].allowed_ips.len(), 1001);
    assert_eq!(parsed.warnings.len(), MOST_WARNINGS);
    assert_eq!(parsed.warnings[1].column(), 25);
    assert!(parsed.warnings[1].render(false).starts_with("warning: "));
}
