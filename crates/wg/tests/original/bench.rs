//! The same command line for the original and for ours.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use testbed::{Host, Output, originals, programs};

use crate::daemon::Daemon;

pub(crate) const PUBLIC: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
pub(crate) const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/// A host with both programs and a daemon for the interface `lo`.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) daemon: Daemon,
    original: PathBuf,
    ours: PathBuf,
}

/// What a command line did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
    pub(crate) sets: String,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let host = Host::new("bench")?;
        let daemon = Daemon::start(&host)?;
        Ok(Self { host, daemon, original: originals::folder()?, ours: programs::folder()? })
    }

    /// Runs a line of shell with the original as `wg`.
    pub(crate) fn original(&self, line: &str) -> Result<Outcome> {
        self.shell(&self.original, line)
    }

    /// Runs a line of shell with ours as `wg`.
    pub(crate) fn ours(&self, line: &str) -> Result<Outcome> {
        self.shell(&self.ours, line)
    }

    /// Compares both for each line: standard output, exit code and requests are the same, and
    /// standard error begins with the original's.
    pub(crate) fn compare<S: AsRef<str>>(&self, lines: &[S]) -> Result<()> {
        for line in lines {
            let line = line.as_ref();
            let (original, ours) = self.both(line)?;
            assert_eq!(ours.stdout, original.stdout, "standard output of: {line}");
            assert_eq!(ours.code, original.code, "exit code of: {line}\n{ours:#?}");
            assert_eq!(ours.sets, original.sets, "requests of: {line}");
            let known: Vec<_> = ours.stderr.lines().take(original.stderr.lines().count()).collect();
            let expected: Vec<_> = original.stderr.lines().collect();
            assert_eq!(known, expected, "standard error of: {line}\n{}", ours.stderr);
            let beyond = ours.stderr.len() > original.stderr.len();
            assert!(!beyond || ours.code != Some(0), "noise after: {line}\n{}", ours.stderr);
        }
        Ok(())
    }

    /// The original is asked before and after ours, until it says the same both times: ages move.
    fn both(&self, line: &str) -> Result<(Outcome, Outcome)> {
        let mut before = self.original(line)?;
        for _ in 0..20 {
            let ours = self.ours(line)?;
            let after = self.original(line)?;
            if before == after {
                return Ok((after, ours));
            }
            before = after;
        }
        bail!("the original never says the same twice of: {line}")
    }

    fn shell(&self, folder: &std::path::Path, line: &str) -> Result<Outcome> {
        let mut command = self.host.command("sh");
        let script = format!("cd /run\nPATH={}:$PATH\n{line}", folder.display());
        let Output { stdout, stderr, status, .. } =
            self.host.run_command(command.args(["-c", &script]), "")?;
        Ok(Outcome { stdout, stderr, code: status.code(), sets: self.daemon.take_sets() })
    }
}

/// An interface with all there is: every age, amount, interval and kind of address.
pub(crate) fn full_answer() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ages: [i64; 20] = [
        0, 1, 59, 60, 61, 63, 119, 120, 3599, 3600, 3661, 7322, 86_399, 86_400, 90_061, 31_535_999,
        31_536_000, 31_536_001, 63_252_122, -1000,
    ];
    let amounts = [
        1,
        1023,
        1024,
        1025,
        1_048_575,
        1_048_576,
        5_243_180,
        (1 << 30) - 1,
        1 << 30,
        3 << 29,
        (1 << 40) - 1,
        1 << 40,
        5 << 40,
        1 << 50,
        1 << 63,
        u64::MAX,
        123_456_789,
        10,
        0,
        0,
        0,
    ];
    let intervals = [0, 1, 25, 59, 60, 61, 3600, 3661, 65_535];
    let addresses = [
        "10.0.0.0/8",
        "fd00::/64",
        "0.0.0.0/0",
        "::/0",
        "::1/128",
        "::1.2.3.4/128",
        "::1:0/112",
        "::ffff:1.2.3.4/128",
        "1:0:2:0:0:3:0:0/128",
        "10.1.2.3/8",
    ];
    let mut text = String::from(
        "private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669\nlisten_port=51820\nfwmark=51820\n",
    );
    for (number, amount) in amounts.iter().enumerate() {
        text += &format!("public_key={:064x}\n", number + 1);
        text += &format!("preshared_key={:064x}\nprotocol_version=1\n", number % 3);
        match number % 5 {
            0 => text += &format!("endpoint=192.0.2.{number}:5{number}\n"),
            1 => text += &format!("endpoint=[2001:db8::{number}]:5{number}\n"),
            2 => text += "endpoint=[fe80::1%lo]:5\n",
            3 => text += "endpoint=[::1.2.3.4]:5\n",
            _ => {}
        }
        if let Some(age) = ages.get(number) {
            let moment = now.saturating_add_signed(-age);
            text += &format!("last_handshake_time_sec={moment}\nlast_handshake_time_nsec=5\n");
        }
        text += &format!("tx_bytes={amount}\nrx_bytes={}\n", amounts[amounts.len() - 1 - number]);
        let interval = intervals[number % intervals.len()];
        text += &format!("persistent_keepalive_interval={interval}\n");
        for address in addresses.iter().skip(number).take(number % 4) {
            text += &format!("allowed_ip={address}\n");
        }
    }
    text + "errno=0\n\n"
}
