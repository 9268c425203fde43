//! `up --resolve=background`: endpoints whose names do not resolve yet.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use wg_config::{Config, Endpoint, PublicKey};
use wg_control::{DeviceUpdate, PeerUpdate, Retries};

use crate::config_file::ConfigFile;
use crate::hook::Failed;
use crate::host::Host;
use crate::say;

/// What to do about an endpoint that does not resolve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Resolve {
    /// Try again for a while, and fail then, as the original does.
    #[default]
    Wait,
    /// Bring the rest up, and go on trying.
    Background,
}

/// The verb under which this program runs in the background.
pub(crate) const VERB: &str = "resolve-endpoints";

/// Puts addresses in the place of names; a peer whose endpoint does not resolve is told and has none
/// for now. Whether there are such peers.
pub(crate) fn resolve_what_can_be(config: &mut Config) -> bool {
    let mut all = true;
    for peer in &mut config.peers {
        let Some(endpoint) = &peer.endpoint else { continue };
        match wg_control::resolve(endpoint, Retries::Times(0), |_, _| false) {
            Ok(address) => peer.endpoint = Some(Endpoint::Address(address)),
            Err(error) => {
                say(format_args!(
                    "[!] Peer {}: {error}. Trying on in the background.",
                    peer.public_key
                ));
                peer.endpoint = None;
                all = false;
            }
        }
    }
    !all
}

/// Starts this program in the background, to give the peers their endpoints in time.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(host: &Host) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(VERB).arg(&host.config_file).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It outlives us, and then belongs to init.
    host.signals.spawn(&mut command).context("the search for endpoints cannot be started")?;
    Ok(())
}

/// Looks up names until every peer of the interface that should have an endpoint has one, or the
/// interface is gone.
///
/// # Errors
/// When the file cannot be read any more.
pub(crate) fn in_background(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let parsed = file.parse(&file.text()?).map_err(|_| Failed(1))?;
    let mut wait = FIRST_WAIT;
    loop {
        let Ok(device) = wg_control::get(&file.interface) else { return Ok(()) };
        let without: Vec<(PublicKey, &Endpoint)> = device
            .peers
            .iter()
            .filter(|peer| peer.endpoint.is_none())
            .filter_map(|peer| {
                let mut sections = parsed.config.peers.iter().rev();
                let section = sections.find(|section| section.public_key == peer.public_key)?;
                Some((peer.public_key, section.endpoint.as_ref()?))
            })
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let found: Vec<PeerUpdate> = without
            .into_iter()
            .filter_map(|(key, endpoint)| {
                let address =
                    wg_control::resolve(endpoint, Retries::Times(0), |_, _| false).ok()?;
                let endpoint = Some(address);
                Some(PeerUpdate { update_only: true, endpoint, ..PeerUpdate::new(key) })
            })
            .collect();
        if !found.is_empty() {
            let update = DeviceUpdate { peers: found, ..DeviceUpdate::default() };
            // An interface that goes meanwhile is seen above.
            let _ = wg_control::set(&file.interface, update);
        }
        sleep(wait);
        wait = LONGEST_WAIT.min(wait * 6 / 5);
    }
}

/// As long as the original waits.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
