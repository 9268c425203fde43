//! Running cases: one shell for a whole section, since starting hosts and shells takes longer than
//! most cases.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use testbed::Host;

use super::case::Case;
use super::{Outcome, read};
use crate::daemon::{Daemon, Keys, original_wg};

/// Where the cases run.
const FOLDER: &str = "/run/cases";

/// Ports that the kernel gives out by itself differ from run to run.
const EPHEMERAL: std::ops::RangeInclusive<u32> = 32_768..=60_999;

const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PRESHARED: &str = "wFAXKyHWB5fRsK4rG+jGpUGSQFNb5DNCcYQ05NqJsHY=";
const PEERS: [&str; 4] = [
    "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=",
    "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
];

/// A host with the two interfaces, on which `wg` is one of the two programs.
pub(super) struct Bench {
    host: Host,
    program: PathBuf,
}

impl Bench {
    /// `program` is the folder of the `wg` that the cases call.
    pub(super) fn start(daemon: Daemon, program: &Path) -> Result<Self> {
        let host = Host::new("cases")?;
        daemon.start(&host, "wg0")?;
        daemon.start(&host, "wg1")?;
        std::fs::create_dir(host.path(FOLDER)).context("cannot make the folder of the cases")?;
        let file =
            |name: &str, text: &str| host.write_file(&format!("{FOLDER}/{name}"), text, 0o600);
        file("key", &format!("{PRIVATE}\n"))?;
        file("psk", &format!("{PRESHARED}\n"))?;
        file("empty", "")?;
        file("base.conf", &base())?;
        let own = Keys::public(&host, PRIVATE)?;
        let [a, b, c, d] = PEERS;
        let settings = format!(
            "A={a} B={b} C={c} D={d} OWN={own} K={PRIVATE} P={PRESHARED} ORIGINAL='{}'\n",
            original_wg()?
        );
        file("prelude", &(settings + include_str!("prelude.sh")))?;
        Ok(Self { host, program: program.to_owned() })
    }

    pub(super) fn run(&self, cases: &[Case<'_>]) -> Result<Vec<Outcome>> {
        let mut script = format!(". {FOLDER}/prelude\n");
        for case in cases {
            script += &format!("run {} {}\n", case.number, quoted(case.line));
        }
        let mut command = self.host.command("bash");
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.program.display()
        );
        command.env("PATH", path).env("FOLDER", FOLDER).arg("-s");
        let output = self.host.run_command(&mut command, script)?.success()?;
        ensure!(output.stderr.is_empty(), "{output}");
        cases.iter().map(|case| self.outcome(case.number)).collect()
    }

    fn outcome(&self, number: usize) -> Result<Outcome> {
        let file = |kind: &str| read(&self.host.path(&format!("{FOLDER}/{kind}.{number}")));
        Ok(Outcome {
            stdout: with_any_port(&file("stdout")?),
            stderr: file("stderr")?,
            code: file("code")?.trim().to_owned(),
            state: with_any_port(&in_order(&file("state")?)),
        })
    }
}

fn base() -> String {
    let [a, b, c, _] = PEERS;
    format!(
        "[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 5000\nFwMark = 0x1f\n\
         [Peer]\nPublicKey = {a}\nPresharedKey = {PRESHARED}\nEndpoint = 192.0.2.1:5001\n\
         PersistentKeepalive = 25\nAllowedIPs = 10.1.0.0/16, fd01::/64\n\
         [Peer]\nPublicKey = {b}\nEndpoint = [2001:db8::2]:5002\nAllowedIPs = 10.2.0.0/16\n\
         [Peer]\nPublicKey = {c}\n"
    )
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', r"'\''"))
}

/// A dump with the allowed IPs of each peer sorted: they are a set.
fn in_order(dump: &str) -> String {
    let sorted = |field: &str| {
        let mut entries: Vec<_> = field.split(',').collect();
        entries.sort_unstable();
        entries.join(",")
    };
    let lines = dump.lines().map(|line| line.split('\t').map(sorted).collect::<Vec<_>>());
    lines.map(|fields| fields.join("\t") + "\n").collect()
}

fn with_any_port(text: &str) -> String {
    let replaced = |word: &str| match word.trim_end().parse() {
        Ok(number) if EPHEMERAL.contains(&number) => word.replace(word.trim_end(), "(any)"),
        _ => word.to_owned(),
    };
    text.split_inclusive(char::is_whitespace).map(replaced).collect()
}
