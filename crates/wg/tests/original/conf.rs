//! `wg setconf`, `wg addconf` and `wg syncconf`.

use anyhow::Result;

use crate::bench::{Bench, PRIVATE, PUBLIC};

const COMMANDS: [&str; 3] = ["setconf", "addconf", "syncconf"];

#[test]
fn arguments_and_files() -> Result<()> {
    let bench = Bench::new()?;
    for command in COMMANDS {
        bench.compare(&[
            format!("wg {command}"),
            format!("wg {command} --help"),
            format!("wg {command} lo"),
            format!("wg {command} lo a b"),
            format!("wg {command} lo nonex"),
            format!("wg {command} lo /dev/null"),
            format!("wg {command} nonex /dev/null"),
            format!("printf '[Peer]\\nPublicKey={PUBLIC}\\n' | wg {command} nonex /dev/stdin"),
            format!("printf '[Interface]\\nFwMark=5\\n' | wg {command} lo /dev/stdin"),
        ])?;
    }
    Ok(())
}

#[test]
fn the_requests_are_the_same() -> Result<()> {
    let bench = Bench::new()?;
    let own = bench.original(&format!("echo {PRIVATE} | wg pubkey"))?.stdout;
    let own = own.trim();
    let other = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    for file in [
        "[Interface]".to_owned(),
        format!("[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 77\nFwMark = 0x5"),
        "[Interface]\nListenPort=0\nFwMark=off".to_owned(),
        format!("[Peer]\nPublicKey={PUBLIC}"),
        format!(
            "[Peer]\nPublicKey={PUBLIC}\nPresharedKey={PRIVATE}\nEndpoint=1.2.3.4:5\n\
             PersistentKeepalive=7\nAllowedIPs=10.0.0.0/8,fd00::/64\nAllowedIPs=::/0"
        ),
        format!("[Peer]\nPublicKey={PUBLIC}\nPersistentKeepalive=0\nAllowedIPs=10.1.2.3/8"),
        format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs=10.0.0.0/8\nAllowedIPs=+12.0.0.0/8"),
        format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs=-10.0.0.0/8"),
        format!("[Peer]\nPublicKey={PUBLIC}\n[Peer]\nPublicKey={PUBLIC}\nAllowedIPs=::/0"),
        format!("[Peer]\nPublicKey={PUBLIC}\nEndpoint=localhost:5\n[Peer]\nPublicKey={other}"),
        format!("[Interface]\nPrivateKey={PRIVATE}\n[Peer]\nPublicKey={own}\nAllowedIPs=::/0"),
        format!("# a comment\n\n[interface]\nfwmark=5 # six\n[PEER]\npublickey={PUBLIC}"),
    ] {
        bench.host.write_file("/run/file.conf", file, 0o600)?;
        bench.compare(&["wg setconf lo file.conf", "wg addconf lo file.conf"])?;
    }
    Ok(())
}

#[test]
fn files_with_an_error_change_nothing_and_are_refused_in_the_same_words() -> Result<()> {
    let bench = Bench::new()?;
    for file in [
        "[Interface]\nBogus=1".to_owned(),
        "[Bogus]".to_owned(),
        "ListenPort=5".to_owned(),
        "[Interface]\nListenPort=x".to_owned(),
        "[Interface]\nFwMark=x".to_owned(),
        "[Interface]\nListenPort=".to_owned(),
        "[Interface]\nPrivateKey=short".to_owned(),
        "[Peer]\nEndpoint=1.2.3.4:5".to_owned(),
        format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs="),
        format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs=10.1.2.3/8,bogus"),
        format!("[Peer]\nPublicKey={PUBLIC}\nAllowedIPs=10.0.0.0/33"),
        format!("[Peer]\nPublicKey={PUBLIC}\nEndpoint=1.2.3.4"),
        format!("[Peer]\nPublicKey={PUBLIC}\nEndpoint=a b:5"),
        format!("[Peer]\nPublicKey={PUBLIC}\nPersistentKeepalive=x"),
        format!("[Peer]\nPublicKey={PUBLIC}x"),
    ] {
        bench.host.write_file("/run/file.conf", &file, 0o600)?;
        for command in COMMANDS {
            let line = format!("WG_ENDPOINT_RESOLUTION_RETRIES=0 wg {command} lo file.conf");
            bench.compare(&[&line])?;
            assert_eq!(bench.ours(&line)?.sets, "", "{file}");
        }
    }
    Ok(())
}

#[test]
fn an_error_of_a_file_shows_the_place() -> Result<()> {
    let bench = Bench::new()?;
    bench.host.write_file("/run/file.conf", "[Interface]\nListenPort = 70000\n", 0o600)?;
    let stderr = bench.ours("wg setconf lo file.conf")?.stderr;
    assert!(stderr.contains("file.conf:2:14") && stderr.contains("^^^^^"), "{stderr}");
    let coloured = bench.ours("WG_COLOR_MODE=always wg setconf lo file.conf")?.stderr;
    assert!(coloured.contains("\x1b["), "{coloured}");
    Ok(())
}
