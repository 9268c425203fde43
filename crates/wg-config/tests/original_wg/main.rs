//! The same files give the same sentences and the same request as with the original `wg`.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod recorded;

use wg_config::{Config, Diagnostic, Dialect, read};

const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PUBLIC: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PRIVATE_HEX: &str = "c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669";
const PUBLIC_HEX: &str = "c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038";

#[test]
fn refuses_with_the_sentences_of_the_original() {
    for (text, printed) in recorded::REFUSED {
        let text = with_keys(text);
        let errors = read("x.conf", text.as_bytes(), Dialect::Wg, |_| None).expect_err(&text);
        assert_eq!(errors.iter().count(), 1, "{text:?}");
        let mut ours = sentences(errors.warnings());
        ours += &format!("{}\n{}\n", errors.first().original(), errors.original_summary());
        assert_eq!(ours, with_keys(printed), "{text:?}");
    }
}

#[test]
fn takes_what_the_original_takes_and_reads_the_same_from_it() {
    for (text, printed, requested) in recorded::TAKEN {
        let text = with_keys(text);
        let parsed = match read("x.conf", text.as_bytes(), Dialect::Wg, |_| None) {
            Ok(parsed) => parsed,
            Err(errors) => panic!("{text:?}: {errors}"),
        };
        assert_eq!(sentences(&parsed.warnings), *printed, "{text:?}");
        let requested = requested.replace("{P}", PUBLIC_HEX).replace("{K}", PRIVATE_HEX);
        assert_eq!(request(&parsed.config).join("\n"), requested, "{text:?}");
    }
}

/// Files on which the answer differs from the original's with intent, and what it is.
#[test]
fn deviates_where_the_original_is_careless_or_needlessly_strict() {
    let refused: &[(&str, &str)] = &[
        // The original wraps round: ports 0 and 4464.
        ("[Interface]\nListenPort=65536", "Servname not supported for ai_socktype: `65536'"),
        ("[Interface]\nListenPort=70000", "Servname not supported for ai_socktype: `70000'"),
        (
            "[Peer]\nPublicKey={P}\nEndpoint=1.2.3.4:70000",
            "Servname not supported for ai_socktype: `1.2.3.4:70000'",
        ),
        // The original looks it up: port 53.
        ("[Interface]\nListenPort=domain", "Servname not supported for ai_socktype: `domain'"),
        // The original drops what follows a NUL byte without a word.
        ("[Interface]\nListenPort=5\0x", "Line unrecognized: `ListenPort=5'"),
        // The original lets control characters through to the terminal.
        ("[Interface]\nFoo=\x07\x1b[31mred", "Line unrecognized: `Foo=␇␛[31mred'"),
        // The original prints the secret.
        (
            "[Interface]\nPrivateKey=yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk",
            "Key is not the correct length or format: `(hidden)'",
        ),
        ("[Peer]\nPublicKey={P}\nPrivateKey={K}", "Line unrecognized: `PrivateKey=(hidden)'"),
    ];
    for (text, sentence) in refused {
        let text = with_keys(text);
        let errors = read("x.conf", text.as_bytes(), Dialect::Wg, |_| None).expect_err(&text);
        assert_eq!(errors.first().original(), *sentence, "{text:?}");
        assert!(!errors.first().render(false).contains(&PRIVATE[..16]), "{text:?}");
        assert!(!format!("{errors:?} {errors}").contains(&PRIVATE[..16]), "{text:?}");
    }
    for text in ["\u{feff}[Interface]\nListenPort=5\n", "[Interface]\n\u{a0}ListenPort=5\u{a0}\n"] {
        let parsed = read("x.conf", text.as_bytes(), Dialect::Wg, |_| None).unwrap();
        assert_eq!(parsed.config.interface.listen_port, Some(5));
    }
}

/// The request in the order in which the original sends it, without its first line.
fn request(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let interface = &config.interface;
    if let Some(key) = &interface.private_key {
        lines.push(format!("private_key={}", hex(key.as_bytes())));
    }
    lines.extend(interface.listen_port.map(|port| format!("listen_port={port}")));
    lines.extend(interface.fwmark.map(|mark| format!("fwmark={mark}")));
    for peer in &config.peers {
        lines.push(format!("public_key={}", hex(peer.public_key.as_bytes())));
        if let Some(key) = &peer.preshared_key {
            lines.push(format!("preshared_key={}", hex(key.as_bytes())));
        }
        // The original has resolved a zone by now.
        lines.extend(peer.endpoint.as_ref().map(|endpoint| format!("endpoint={endpoint}")));
        let keepalive = peer.persistent_keepalive;
        lines.extend(keepalive.map(|s| format!("persistent_keepalive_interval={s}")));
        if peer.replace_allowed_ips {
            lines.push("replace_allowed_ips=true".into());
        }
        for change in &peer.allowed_ips {
            let sign = if change.remove { "-" } else { "" };
            lines.push(format!("allowed_ip={sign}{}", change.ip));
        }
    }
    lines
}

fn with_keys(text: &str) -> String {
    text.replace("{P}", PUBLIC).replace("{K}", PRIVATE)
}

fn sentences(warnings: &[Diagnostic]) -> String {
    warnings.iter().map(|warning| format!("{}\n", warning.original())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
