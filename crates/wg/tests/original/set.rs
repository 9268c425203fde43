//! `wg set`.

use anyhow::Result;

use crate::bench::{Bench, PRIVATE, PUBLIC};

fn bench() -> Result<Bench> {
    let bench = Bench::new()?;
    bench.host.write_file("/run/key", format!("{PRIVATE}\n"), 0o600)?;
    Ok(bench)
}

#[test]
fn settings_of_the_interface() -> Result<()> {
    bench()?.compare(&[
        "wg set",
        "wg set --help",
        "wg set lo",
        "wg set nonex",
        "wg set nonex listen-port 1",
        "wg set lo bogus",
        "wg set lo bogus 1",
        "wg set lo LISTEN-PORT 1",
        "wg set lo listen-port",
        "wg set lo listen-port 0",
        "wg set lo listen-port 65535",
        "wg set lo listen-port 070",
        "wg set lo listen-port ' 12'",
        "wg set lo listen-port '12 '",
        "wg set lo listen-port ''",
        "wg set lo listen-port -1",
        "wg set lo listen-port 0x10",
        "wg set lo listen-port off",
        "wg set lo listen-port 5 listen-port 6",
        "wg set lo fwmark",
        "wg set lo fwmark 1",
        "wg set lo fwmark 0x10",
        "wg set lo fwmark 0X10",
        "wg set lo fwmark 010",
        "wg set lo fwmark off",
        "wg set lo fwmark OFF",
        "wg set lo fwmark 4294967295",
        "wg set lo fwmark 4294967296",
        "wg set lo fwmark -1",
        "wg set lo fwmark +5",
        "wg set lo fwmark ''",
        "wg set lo fwmark 0x",
        "wg set lo fwmark 12a",
        "wg set lo private-key",
        "wg set lo private-key key",
        "wg set lo private-key /dev/null",
        "wg set lo private-key nonex",
        "wg set lo private-key ''",
        "wg set lo private-key /",
        "wg set lo private-key key fwmark 3 listen-port 1",
        "wg set lo remove",
        "wg set lo endpoint 1.2.3.4:5",
        "wg set lo preshared-key key",
    ])
}

#[test]
fn key_files() -> Result<()> {
    let bench = bench()?;
    for text in [
        "",
        PRIVATE,
        &format!("{PRIVATE} \\n\\t\\n"),
        &format!("{PRIVATE}\\nx"),
        &format!("{PRIVATE} x y"),
        &format!(" {PRIVATE}"),
        "  \\n",
        &PRIVATE[..20],
    ] {
        bench.compare(&[
            format!("printf '{text}' > k; wg set lo private-key k"),
            format!("printf '{text}' > k; wg set lo peer {PUBLIC} preshared-key k"),
            // An empty pipe does not stand for no key, an empty file does.
            format!("printf '{text}' | wg set lo private-key /dev/stdin"),
        ])?;
    }
    // The original prints what may be most of a key; ours does not.
    let wrong = PRIVATE.replace('+', "_");
    let ours = bench.ours(&format!("echo {wrong} > k; wg set lo private-key k"))?;
    assert_eq!(ours.code, Some(1));
    assert_eq!(ours.stderr, "Key is not the correct length or format: `(hidden)'\n");
    assert_eq!(ours.sets, "");
    Ok(())
}

#[test]
fn settings_of_a_peer() -> Result<()> {
    let cases = [
        "",
        "remove",
        "remove endpoint 1.2.3.4:5",
        "endpoint 1.2.3.4:5 remove",
        "preshared-key",
        "preshared-key key",
        "preshared-key /dev/null",
        "preshared-key nonex",
        "endpoint",
        "endpoint 1.2.3.4:5",
        "endpoint 1.2.3.4",
        "endpoint 1.2.3.4:",
        "endpoint 1.2.3.4:0",
        "endpoint :5",
        "endpoint ''",
        "endpoint '[::1]:5'",
        "endpoint '[::1]'",
        "endpoint '[::1'",
        "endpoint '[::1]5'",
        "endpoint '[::1]:'",
        "endpoint '[]:5'",
        "endpoint '[fe80::1%lo]:5'",
        "endpoint '[fe80::1%1]:5'",
        "endpoint '[fe80::1%nonex]:5'",
        "endpoint localhost:5",
        "endpoint 'a b:5'",
        "endpoint 1.2.3.4:bogus",
        "persistent-keepalive",
        "persistent-keepalive 0",
        "persistent-keepalive off",
        "persistent-keepalive OFF",
        "persistent-keepalive 25",
        "persistent-keepalive 65535",
        "persistent-keepalive 65536",
        "persistent-keepalive 0x10",
        "persistent-keepalive -1",
        "persistent-keepalive ''",
        "persistent-keepalive 12a",
        "allowed-ips",
        "allowed-ips ''",
        "allowed-ips ' '",
        "allowed-ips 10.0.0.0/8",
        "allowed-ips 10.0.0.1",
        "allowed-ips fd00::1",
        "allowed-ips fd00::1/64",
        "allowed-ips ::1.2.3.4/128",
        "allowed-ips '10.0.0.0/8, fd00::1/64'",
        "allowed-ips 10.0.0.0/8,,fd00::1/64",
        "allowed-ips ,10.0.0.0/8",
        "allowed-ips 10.0.0.0/8,",
        "allowed-ips 10.0.0.0/33",
        "allowed-ips fd00::/129",
        "allowed-ips 10.0.0.0/",
        "allowed-ips 10.0.0.0/-1",
        "allowed-ips 10.0.0.0/08",
        "allowed-ips 10.0.0.0/8/8",
        "allowed-ips 10.0.0/8",
        "allowed-ips bogus",
        "allowed-ips 10.1.2.3/8,bogus",
        "allowed-ips +10.0.0.0/8",
        "allowed-ips -10.0.0.0/8",
        "allowed-ips +10.0.0.0/8,10.1.0.0/16",
        "allowed-ips 10.1.0.0/16,-10.0.0.0/8",
        "allowed-ips -10.1.2.3/8",
        "allowed-ips +",
        "allowed-ips -",
        "allowed-ips ++10.0.0.0/8",
        "allowed-ips '+ 10.0.0.0/8'",
        "allowed-ips 10.0.0.0/8 allowed-ips 11.0.0.0/8",
        "allowed-ips +10.0.0.0/8 allowed-ips 11.0.0.0/8",
        "allowed-ips 11.0.0.0/8 allowed-ips +10.0.0.0/8",
        "allowed-ips 10.0.0.0/8 allowed-ips ''",
        "endpoint 1.2.3.4:5 peer TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0= remove",
        "bogus",
        "listen-port 5",
        "fwmark 5",
        "private-key key",
        "preshared-key key endpoint 1.2.3.4:5 persistent-keepalive 9 allowed-ips 1.2.3.4/32",
    ];
    let lines = cases
        .map(|case| format!("WG_ENDPOINT_RESOLUTION_RETRIES=0 wg set lo peer {PUBLIC} {case}"));
    bench()?.compare(&lines)
}

#[test]
fn public_keys() -> Result<()> {
    let bench = bench()?;
    bench.compare(&["wg set lo peer", "wg set lo peer bad", "wg set lo peer ''"])?;
    bench.compare(&[
        format!("wg set lo peer {PUBLIC} peer {PUBLIC}"),
        format!("wg set lo Peer {PUBLIC}"),
        format!("wg set lo peer {PUBLIC}x"),
        "wg set lo private-key key peer $(wg pubkey < key)".to_owned(),
    ])
}

#[test]
fn a_name_is_looked_up_again_as_often_as_told() -> Result<()> {
    let bench = bench()?;
    for retries in ["0", "''", "1", "' 1'", "-1", "bogus", "1x", "INFINITY", "1.5"] {
        bench.compare(&[
            format!(
                "WG_ENDPOINT_RESOLUTION_RETRIES={retries} \
                 wg set lo peer {PUBLIC} endpoint 1.2.3.4:bogus"
            ),
            format!(
                "WG_ENDPOINT_RESOLUTION_RETRIES={retries} \
                 wg set lo peer {PUBLIC} endpoint 1.2.3.4:5"
            ),
        ])?;
    }
    Ok(())
}

#[test]
fn the_daemons_verdict_is_told() -> Result<()> {
    let bench = bench()?;
    for answer in ["", "errno=0\n", "errno=-22\n\n", "errno=-98\n\n", "errno=x\n\n", "bogus\n\n"] {
        bench.daemon.answer_set(answer);
        bench.compare(&["wg set lo listen-port 1", "wg setconf lo /dev/null"])?;
    }
    // The original takes a positive number for an unknown error.
    bench.daemon.answer_set("errno=22\n\n");
    let stderr = bench.ours("wg set lo listen-port 1")?.stderr;
    assert_eq!(stderr, "Unable to modify interface: Invalid argument\n");
    Ok(())
}

/// What the original lets pass and ours does not.
#[test]
fn ports_that_do_not_fit_are_refused() -> Result<()> {
    let bench = bench()?;
    for (line, stderr) in [
        ("wg set lo listen-port 65536", "Servname not supported for ai_socktype: `65536'\n"),
        ("wg set lo listen-port 70000", "Servname not supported for ai_socktype: `70000'\n"),
        (
            &format!("wg set lo peer {PUBLIC} endpoint 1.2.3.4:70000"),
            "Servname not supported for ai_socktype: `1.2.3.4:70000'\n",
        ),
    ] {
        let ours = bench.ours(line)?;
        assert_eq!((ours.code, ours.stderr.as_str()), (Some(1), stderr));
        assert_eq!(ours.sets, "");
    }
    Ok(())
}
