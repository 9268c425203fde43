//! Userspace daemons under test, and keys for them.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use testbed::{Host, daemons, eventually, originals};

/// Who made the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// `wg-userspace` of this workspace.
    Ours,
    /// The current `wireguard-go`.
    WireguardGo,
    /// Cloudflare's `boringtun-cli`.
    Boringtun,
    /// Mullvad's `gotatun`.
    Gotatun,
    /// None: the kernel's own module, which a guest of `testbed::vm` has.
    Kernel,
}

impl Daemon {
    /// Those that `wg` must show and change alike.
    pub const SHOWN_ALIKE: [Self; 2] = [Self::Ours, Self::WireguardGo];

    /// The command that starts it.
    ///
    /// # Errors
    /// When another's daemon cannot be fetched or built.
    pub fn program(self) -> Result<String> {
        Ok(match self {
            Self::Ours => "wg-userspace".to_owned(),
            Self::WireguardGo => originals::wireguard_go()?.display().to_string(),
            Self::Boringtun => alone(&daemons::boringtun()?),
            Self::Gotatun => alone(&daemons::gotatun()?),
            Self::Kernel => bail!("the kernel is no daemon"),
        })
    }

    /// The tables below `/proc/net` in which its sockets are: gotatun has one for both families.
    #[must_use]
    pub fn socket_families(self) -> &'static [&'static str] {
        if self == Self::Gotatun { &["udp6"] } else { &["udp", "udp6"] }
    }

    /// Starts it on `host` in the background, with the interface `name`, and waits for its socket.
    ///
    /// # Errors
    /// When it fails or makes no socket.
    pub fn start(self, host: &Host, name: &str) -> Result<()> {
        if self == Self::Kernel {
            return host.run(&format!("ip link add {name} type wireguard"))?.success().map(drop);
        }
        host.run(&format!("{} {name}", self.program()?))?.success()?;
        let socket = host.path(&format!("/run/wireguard/{name}.sock"));
        eventually("the daemon's socket", Duration::from_secs(10), || socket.exists().then_some(()))
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
            Self::Kernel => "kernel",
        })
    }
}

/// boringtun's command line, and that of what descends from it: nobody has called sudo whose rights
/// could be kept, and the log would go to the real machine's temporary folder.
fn alone(program: &Path) -> String {
    format!("{} --disable-drop-privileges --log /run/daemon.log", program.display())
}

/// The command that is the original `wg`.
///
/// # Errors
/// When it cannot be fetched.
pub fn original_wg() -> Result<String> {
    Ok(originals::wg()?.display().to_string())
}

/// A fresh key pair, made by the original `wg`.
#[derive(Debug, Clone)]
pub struct Keys {
    /// In base64.
    pub private: String,
    /// In base64.
    pub public: String,
}

impl Keys {
    /// Makes a pair.
    ///
    /// # Errors
    /// When the original `wg` cannot be fetched.
    pub fn generate(host: &Host) -> Result<Self> {
        let private = host.run(&format!("{} genkey", original_wg()?))?.success()?.stdout;
        let public = Self::public(host, &private)?;
        Ok(Self { private: private.trim().to_owned(), public })
    }

    /// The public key that belongs to a private one, both in base64.
    ///
    /// # Errors
    /// When the original `wg` cannot be fetched.
    pub fn public(host: &Host, private: &str) -> Result<String> {
        let wg = original_wg()?;
        let public = host.run_with_input(&format!("{wg} pubkey"), private)?.success()?.stdout;
        Ok(public.trim().to_owned())
    }

    /// Makes a preshared key, in base64.
    ///
    /// # Errors
    /// When the original `wg` cannot be fetched.
    pub fn preshared(host: &Host) -> Result<String> {
        let output = host.run(&format!("{} genpsk", original_wg()?))?.success()?;
        Ok(output.stdout.trim().to_owned())
    }
}
