//! Input that cannot be used, with our daemon behind the commands: exit code 1, a short answer that
//! names the place and the value, and nothing changed. The programs' own tests have more.

use anyhow::{Result, ensure};
use culvert_tests::{Daemon, Keys, wait_for_sockets};
use testbed::{Host, Output};

/// A file with one mistake.
struct Mistake {
    what: &'static str,
    text: Vec<u8>,
    /// The line it is on, counted from 1.
    line: usize,
    /// What the complaint has to quote, whatever its case.
    quoted: &'static str,
}

const KEY: &str = "aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10=";

fn mistakes() -> Vec<Mistake> {
    let peer = |setting: &[u8]| {
        let start = format!("[Interface]\nListenPort = 4711\n\n[Peer]\nPublicKey = {KEY}\n");
        [start.as_bytes(), setting, b"\nAllowedIPs = 10.9.0.0/16\n"].concat()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let mistake = |what, text, line, quoted| Mistake { what, text, line, quoted };
    vec![
        mistake(
            "a key that is too short",
            text("[Interface]\nListenPort = 4711\n[Peer]\nPublicKey = aPxGwq8z=\n"),
            4,
            "aPxGwq8z=",
        ),
        mistake(
            "a key of another alphabet",
            peer(b"PublicKey = aPxGwq8zERHQ3Q1cOZFdJ-cvJX5Ka4mLN38AyYKYF10="),
            6,
            "aPxGwq8zERHQ3Q1cOZFdJ-cvJX5Ka4mLN38AyYKYF10=",
        ),
        mistake("a prefix length of 33", peer(b"AllowedIPs = 10.0.0.0/33"), 6, "10.0.0.0/33"),
        mistake("a prefix length of 129", peer(b"AllowedIPs = fd00::/129"), 6, "fd00::/129"),
        mistake("an endpoint's port", peer(b"Endpoint = 192.0.2.1:70000"), 6, "70000"),
        mistake("a port", text("[Interface]\nListenPort = 70000\n"), 2, "70000"),
        mistake("an unknown setting", peer(b"AllowedIP = 10.0.0.0/8"), 6, "AllowedIP"),
        mistake("no section", text("ListenPort = 4711\n[Interface]\n"), 1, "ListenPort"),
        mistake(
            "a peer without a key",
            text("[Interface]\nListenPort = 4711\n[Peer]\nAllowedIPs = 10.0.0.0/8\n"),
            3,
            "peer",
        ),
        mistake("invalid UTF-8", peer(b"Endpoint = \xff\xfe.example:1"), 6, ".example"),
        mistake(
            "an endless line",
            [&b"[Interface]\n"[..], &vec![b'A'; 100_000_000]].concat(),
            2,
            "AAAA",
        ),
    ]
}

#[test]
fn wg_takes_no_part_of_a_wrong_file() -> Result<()> {
    let host = Host::new("wg")?;
    Daemon::Ours.start(&host, "wg0")?;
    let config = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51821\n[Peer]\nPublicKey = {}\n",
        Keys::generate(&host)?.private,
        Keys::generate(&host)?.public
    );
    host.run_with_input("wg setconf wg0 /dev/stdin", config)?.success()?;
    let dump = || Ok::<_, anyhow::Error>(host.run("wg show wg0 dump")?.success()?.stdout);
    let before = dump()?;
    for mistake in mistakes() {
        host.write_file("/etc/wireguard/bad.conf", &mistake.text, 0o600)?;
        let output = host.run("wg setconf wg0 /etc/wireguard/bad.conf")?;
        let place = format!("/etc/wireguard/bad.conf:{}", mistake.line);
        complains(&output, mistake.what, &[&place, mistake.quoted])?;
        ensure!(dump()? == before, "{}: the device has changed", mistake.what);
    }
    let unusable = |line: &str, quoted: &str| complains(&host.run(line)?, line, &[quoted]);
    unusable("wg setconf wg0 /etc/wireguard/none.conf", "No such file or directory")?;
    unusable("wg set wg0 listen-port 70000", "70000")?;
    unusable("wg set wg0 peer aPxGwq8z=", "aPxGwq8z=")?;
    unusable(&format!("wg set wg0 peer {KEY} allowed-ips 10.0.0.0/33"), "10.0.0.0/33")?;
    unusable(&format!("wg set wg0 peer {KEY} endpoint 192.0.2.1:70000"), "70000")?;
    unusable("wg set sixteen-bytes-xx listen-port 1", "sixteen-bytes-xx")?;
    unusable("wg show wg7", "Unable to access interface")?;
    ensure!(dump()? == before, "the device has changed");
    Ok(())
}

#[test]
fn wg_quick_says_what_stands_in_the_way() -> Result<()> {
    let host = Host::new("wg-quick")?;
    let key = Keys::generate(&host)?.private;
    let config = format!("[Interface]\nPrivateKey = {key}\nListenPort = 51820\n");
    let long = "/etc/wireguard/sixteen-bytes-xx.conf";
    host.write_file(long, &config, 0o600)?;
    unchanged(&host, &format!("wg-quick up {long}"), "a long name", &["valid interface name"])?;
    host.write_file("/etc/wireguard/wg0.conf", &config, 0o600)?;
    host.run("wg-quick up wg0")?.success()?;
    wait_for_sockets(&host, 51820, Daemon::Ours.socket_families())?;
    host.wait_for_ipv6("wg0")?;
    unchanged(&host, "wg-quick up wg0", "up already", &["wg0", "already exists"])?;
    host.run("wg-quick down wg0")?.success()?;
    without_tun(&host)?;
    unchanged(&host, "wg-quick up wg0", "no TUN device", &["/dev/net/tun"])
}

/// Takes the TUN device away, as in a container that was given none.
fn without_tun(host: &Host) -> Result<()> {
    host.run("mount -t tmpfs none /dev/net")?.success()?;
    Ok(())
}

fn unchanged(host: &Host, line: &str, what: &str, quoted: &[&str]) -> Result<()> {
    let before = host.snapshot()?;
    complains(&host.run(line)?, what, quoted)?;
    let difference = before.difference(&host.snapshot()?);
    ensure!(difference.is_empty(), "`{line}` with {what} leaves\n{difference}");
    Ok(())
}

/// Exit code 1, nothing on standard output, and on standard error few words that hold `quoted`.
fn complains(output: &Output, what: &str, quoted: &[&str]) -> Result<()> {
    ensure!(output.status.code() == Some(1), "{what}: {output}");
    ensure!(output.stdout.is_empty(), "{what}: {output}");
    let words = output.stderr.to_lowercase();
    ensure!(!words.contains("panicked"), "{what}: {output}");
    ensure!(words.len() < 4000, "{what}: {} bytes of complaint", words.len());
    for quoted in quoted {
        ensure!(words.contains(&quoted.to_lowercase()), "{what}: {quoted:?} is not in {output}");
    }
    Ok(())
}
