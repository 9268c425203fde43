//! The private and preshared keys of a run are in no log, no message and no `Debug` output, in
//! whatever form.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::Keys;
use testbed::{Host, connect, eventually};
use wg_config::{Dialect, PresharedKey, PrivateKey};
use wg_control::{DeviceUpdate, uapi};

/// Characters of a key in any form that may be seen; what is left to guess is more than enough.
const SHORT: usize = 12;

/// A secret in the forms in which it could be printed.
struct Secret {
    base64: String,
    forms: Vec<String>,
}

impl Secret {
    fn new(base64: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list =
            |bytes: &[u8]| bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut forms: Vec<_> = [base64, &hex, &hex.to_uppercase()]
            .iter()
            .flat_map(|text| (0..=text.len() - SHORT).map(|at| text[at..at + SHORT].to_owned()))
            .collect();
        forms.extend(bytes.windows(4).map(list));
        Self { base64: base64.to_owned(), forms }
    }

    fn private(base64: &str) -> Result<Self> {
        Ok(Self::new(base64, PrivateKey::from_base64(base64.as_bytes())?.as_bytes()))
    }

    fn preshared(base64: &str) -> Result<Self> {
        Ok(Self::new(base64, PresharedKey::from_base64(base64.as_bytes())?.as_bytes()))
    }

    fn hex(&self) -> Result<String> {
        let key = PrivateKey::from_base64(self.base64.as_bytes())?;
        Ok(key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Everything secret in a run.
struct Secrets(Vec<Secret>);

impl Secrets {
    fn are_not_in(&self, what: &str, text: &str) -> Result<()> {
        for form in self.0.iter().flat_map(|secret| &secret.forms) {
            ensure!(!text.contains(form.as_str()), "{what} shows {form}:\n{text}");
        }
        Ok(())
    }

    fn are_not_in_debug(&self, what: &str, value: &impl Debug) -> Result<()> {
        self.are_not_in(what, &format!("{value:?}"))?;
        self.are_not_in(what, &format!("{value:#?}"))
    }
}

#[test]
fn keys_are_not_in_the_log_of_a_session() -> Result<()> {
    let hosts = [Host::new("one")?, Host::new("other")?];
    connect(&hosts[0], "eth0", &hosts[1], "eth0")?;
    let keys = [Keys::generate(&hosts[0])?, Keys::generate(&hosts[1])?];
    let preshared = Keys::preshared(&hosts[0])?;
    let secrets = Secrets(vec![
        Secret::private(&keys[0].private)?,
        Secret::private(&keys[1].private)?,
        Secret::preshared(&preshared)?,
    ]);
    for (me, host) in hosts.iter().enumerate() {
        let other = 1 - me;
        host.add_address("eth0", &format!("192.0.2.{}/24", me + 1))?;
        host.run_with_input("sh -s", "LOG_LEVEL=verbose wg-userspace wg0 > /run/log 2>&1")?
            .success()?;
        let config = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 5000\n[Peer]\nPublicKey = {}\n\
             PresharedKey = {preshared}\nAllowedIPs = 10.0.0.{}/32\nEndpoint = 192.0.2.{}:5000\n",
            keys[me].private,
            keys[other].public,
            other + 1,
            other + 1
        );
        let output = host.run_with_input("wg setconf wg0 /dev/stdin", &config)?.success()?;
        secrets.are_not_in("wg setconf", &output.to_string())?;
        host.add_address("wg0", &format!("10.0.0.{}/24", me + 1))?;
        host.set_up("wg0")?;
    }
    hosts[0].run("ping -c 2 -W 5 10.0.0.2")?.success()?;
    for host in &hosts {
        // Also what the daemon says of requests that it refuses.
        for request in [
            format!("set=1\nprivate_key={}0\n\n", secrets.0[0].hex()?),
            format!("set=1\nprivate_key={}\nprivate_keys={0}\n\n", secrets.0[0].hex()?),
            format!("set=1\n{}\n\n", secrets.0[0].hex()?),
            format!("set=1\nprivate_key = {}\n\n", secrets.0[0].hex()?),
            format!("private_key={}\n\n", secrets.0[0].hex()?),
        ] {
            let mut daemon = UnixStream::connect(host.path("/run/wireguard/wg0.sock"))?;
            daemon.set_read_timeout(Some(Duration::from_secs(60)))?;
            daemon.write_all(request.as_bytes())?;
            let mut answer = String::new();
            for line in BufReader::new(daemon).lines() {
                let line = line?;
                if line.is_empty() {
                    break;
                }
                answer += &line;
            }
            ensure!(answer.contains("errno=-"), "{answer}");
            secrets.are_not_in("the daemon's answer", &answer)?;
        }
        for line in ["wg show", "wg show all", "wg show wg0 endpoints"] {
            secrets.are_not_in(line, &host.run(line)?.success()?.stdout)?;
        }
        let log = eventually("the log of a session", Duration::from_secs(10), || {
            host.read_file("/run/log").ok().filter(|log| log.contains("UAPI"))
        })?;
        secrets.are_not_in("the log", &log)?;
    }
    Ok(())
}

#[test]
fn keys_are_not_in_what_is_said_of_mistakes() -> Result<()> {
    let host = Host::new("mistakes")?;
    let (private, preshared) = (Keys::generate(&host)?.private, Keys::preshared(&host)?);
    let secrets = Secrets(vec![Secret::private(&private)?, Secret::preshared(&preshared)?]);
    host.run("wg-userspace wg0")?.success()?;
    let public = Keys::public(&host, &private)?;
    for mistake in [
        "[Interface]\nPrivateKey KEY\n",
        "[Interface]\nPrivateKey: KEY\n",
        "[Interface]\nPrivate_Key = KEY\n",
        "[Interface]\nPrivatKey = KEY\n",
        "[Interface]\nKey = KEY\n",
        "[Interface]\nPrivateKey = \"KEY\"\n",
        "[Interface]\nPrivateKey = KEY KEY\n",
        "[Interface]\nPrivateKey = KEY=\n",
        "[Interface]\nPrivateKey = xKEY\n",
        "[Interface]\nPrivateKey = KEY # KEY\nBogus = 1 # KEY\n",
        "[Interface]\nPrivateKey = KEY, ListenPort = 5\n",
        "[Interface]\nKEY\n",
        "[KEY]\n",
        "PrivateKey = KEY\n",
        "[Peer]\nPrivateKey = KEY\n",
        "[Peer]\nPublicKey = PUBLIC\nPresharedKey = KEYx\n",
        "[Peer]\nPublicKey = PUBLIC\nPresharedkey KEY\n",
        "[Peer]\nPublicKey = PUBLIC\nPresharedKeys = KEY\n",
        "[Peer]\nPublicKey = PUBLIC\nPSK = KEY\n",
        "[Interface]\nPrivateKey = KEY\n[Peer]\nAllowedIPs = ::/0\n",
    ] {
        for key in [&private, &preshared] {
            let text = mistake.replace("KEY", key).replace("PUBLIC", &public);
            host.write_file("/etc/wireguard/wg9.conf", &text, 0o600)?;
            for line in ["wg setconf wg0 /etc/wireguard/wg9.conf", "wg-quick up wg9"] {
                let output = host.run(line)?;
                ensure!(!output.status.success(), "{mistake}: {output}");
                secrets.are_not_in(&format!("{line} of {mistake}"), &output.to_string())?;
            }
        }
    }
    for key in [&private, &preshared] {
        for text in [format!("{key}x"), format!("x{key}"), key.replace('=', "")] {
            host.write_file("/run/key", &text, 0o600)?;
            for line in [
                "wg set wg0 private-key /run/key".to_owned(),
                format!("wg set wg0 peer {public} preshared-key /run/key"),
            ] {
                let output = host.run(&line)?;
                ensure!(!output.status.success(), "{output}");
                secrets.are_not_in(&line, &output.stderr)?;
            }
            let output = host.run_with_input("wg pubkey", &text)?;
            ensure!(!output.status.success(), "{output}");
            secrets.are_not_in("wg pubkey", &output.stderr)?;
        }
        // The key itself where its file belongs.
        for line in [
            format!("wg set wg0 private-key {key}"),
            format!("wg set wg0 peer {public} preshared-key {key}"),
        ] {
            let output = host.run(&line)?;
            ensure!(!output.status.success(), "{output}");
            secrets.are_not_in("wg set", &output.stderr)?;
        }
    }
    Ok(())
}

#[test]
fn keys_are_not_in_debug_output() -> Result<()> {
    let host = Host::new("debug")?;
    let (private, preshared) = (Keys::generate(&host)?.private, Keys::preshared(&host)?);
    let secrets = Secrets(vec![Secret::private(&private)?, Secret::preshared(&preshared)?]);
    let public = Keys::public(&host, &private)?;
    let text = format!(
        "[Interface]\nPrivateKey = {private}\n[Peer]\nPublicKey = {public}\n\
         PresharedKey = {preshared}\n"
    );
    for dialect in [Dialect::Wg, Dialect::WgQuick] {
        let parsed = wg_config::read("x", text.as_bytes(), dialect, |_| None)?;
        secrets.are_not_in_debug("a configuration", &parsed)?;
        let update = DeviceUpdate::replacing(parsed.config, |endpoint| {
            endpoint.to_string().parse::<std::net::SocketAddr>()
        })?;
        secrets.are_not_in_debug("a change", &update)?;

        let mut request = Vec::new();
        uapi::write_set(&mut request, &update)?;
        let read = uapi::RequestReader::new(&request[..]).next()?;
        secrets.are_not_in_debug("a request", &read)?;

        // A request is an answer but for its first lines.
        let mut answer = String::from_utf8(request)?.replace("set=1\n", "");
        answer = answer.replace("replace_peers=true\n", "").trim_end().to_owned();
        let device = uapi::read_device(format!("{answer}\nerrno=0\n\n").as_bytes(), "wg0")?;
        ensure!(device.private_key.is_some() && device.peers[0].preshared_key.is_some());
        secrets.are_not_in_debug("an interface", &device)?;

        for wrong in [answer.replace("private_key=", "private_key=0"), format!("{answer}0")] {
            let error = uapi::read_device(wrong.as_bytes(), "wg0").expect_err("it is wrong");
            secrets.are_not_in_debug("an answer's error", &error)?;
            secrets.are_not_in("an answer's error", &error.to_string())?;
        }
        let wrong = text.replace(&preshared, &format!("{preshared}="));
        let errors = wg_config::read("x", wrong.as_bytes(), dialect, |_| None);
        secrets.are_not_in_debug("a file's errors", &errors.expect_err("it is wrong"))?;
    }
    Ok(())
}
