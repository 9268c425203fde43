//! The grammar of `wg set`: arguments to a change, nothing of which is applied yet.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::slice;

use anyhow::{Result, anyhow};
use wg_config::{Endpoint, KEY_LEN, PresharedKey, PrivateKey, value};
use wg_control::{DeviceUpdate, PeerUpdate};
use zeroize::Zeroizing;

/// What arguments only name.
pub(crate) trait Sources {
    /// The address of an endpoint.
    fn address(&mut self, endpoint: &Endpoint) -> Result<SocketAddr>;

    /// The UDP port of a service.
    fn service_port(&self, name: &str) -> Option<u16>;

    /// The text of the key in a file; `None` stands for no key.
    fn key(&mut self, path: &OsStr) -> Result<Option<Zeroizing<String>>>;

    /// Takes what is odd, but no error.
    fn warn(&mut self, sentence: &str);
}

/// The change that the arguments after the interface describe.
pub(crate) fn parse(arguments: &[OsString], sources: &mut impl Sources) -> Result<DeviceUpdate> {
    let mut update = DeviceUpdate::default();
    let mut arguments = arguments.iter();
    while let Some(word) = arguments.next() {
        let word = word.to_string_lossy();
        match (&*word, update.peers.last_mut()) {
            ("peer", _) => {
                let key = value::parse_public_key(&text(&word, &mut arguments)?)?;
                update.peers.push(PeerUpdate::new(key));
            }
            ("listen-port", None) => {
                update.listen_port =
                    Some(value::parse_port(&text(&word, &mut arguments)?, |name| {
                        sources.service_port(name)
                    })?);
            }
            ("fwmark", None) => {
                update.fwmark = Some(value::parse_fwmark(&text(&word, &mut arguments)?)?);
            }
            ("private-key", None) => {
                update.private_key = Some(private_key(next(&word, &mut arguments)?, sources)?);
            }
            ("remove", Some(peer)) => peer.remove = true,
            (_, Some(peer)) => peer_setting(peer, &word, &mut arguments, sources)?,
            (_, None) => return Err(invalid(&word)),
        }
    }
    Ok(update)
}

fn peer_setting(
    peer: &mut PeerUpdate,
    word: &str,
    arguments: &mut slice::Iter<'_, OsString>,
    sources: &mut impl Sources,
) -> Result<()> {
    match word {
        "endpoint" => {
            let endpoint = value::parse_endpoint(&text(word, arguments)?)?;
            peer.endpoint = Some(sources.address(&endpoint)?);
        }
        "allowed-ips" => {
            let text = text(word, arguments)?;
            // An error's sentence comes last, as with the original.
            let mut warn = |warning: value::ValueError| sources.warn(warning.original());
            let (replace, changes) = value::parse_allowed_ips(&text, &mut warn)?;
            // Said twice, the last one decides whether all of them replace.
            peer.replace_allowed_ips = replace;
            peer.allowed_ips.extend(changes);
        }
        "persistent-keepalive" => {
            let seconds = value::parse_persistent_keepalive(&text(word, arguments)?)?;
            peer.persistent_keepalive = Some(seconds);
        }
        "preshared-key" => {
            peer.preshared_key = Some(preshared_key(next(word, arguments)?, sources)?);
        }
        _ => return Err(invalid(word)),
    }
    Ok(())
}

/// An empty file stands for no key, which zeros stand for on the wire.
fn private_key(path: &OsStr, sources: &mut impl Sources) -> Result<PrivateKey> {
    match sources.key(path)? {
        Some(text) => Ok(value::parse_private_key(&text)?),
        None => Ok([0; KEY_LEN].into()),
    }
}

fn preshared_key(path: &OsStr, sources: &mut impl Sources) -> Result<PresharedKey> {
    match sources.key(path)? {
        Some(text) => Ok(value::parse_preshared_key(&text)?),
        None => Ok([0; KEY_LEN].into()),
    }
}

fn next<'a>(word: &str, arguments: &mut slice::Iter<'a, OsString>) -> Result<&'a OsStr> {
    arguments.next().map(OsString::as_os_str).ok_or_else(|| invalid(word))
}

fn text(word: &str, arguments: &mut slice::Iter<'_, OsString>) -> Result<String> {
    Ok(next(word, arguments)?.to_string_lossy().into_owned())
}

fn invalid(word: &str) -> anyhow::Error {
    anyhow!("Invalid argument: {word}")
}
