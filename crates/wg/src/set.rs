//! `wg set`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::slice;

use anyhow::{Result, anyhow, bail};
use wg_config::{KEY_LEN, PresharedKey, PrivateKey, value};
use wg_control::{DeviceUpdate, PeerUpdate};

use crate::{endpoint, failure, key_file, usage};

pub(crate) fn run(program: &str, arguments: &[OsString]) -> Result<()> {
    let (Some(name), Some(settings @ [_, ..])) = (arguments.first(), arguments.get(1..)) else {
        bail!(usage::set(program));
    };
    let update = update(settings)?;
    wg_control::set(&name.to_string_lossy(), &update)
        .map_err(|error| failure::with_detail("Unable to modify interface", &error))
}

/// The change that the arguments after the interface describe; nothing of it is applied yet.
fn update(arguments: &[OsString]) -> Result<DeviceUpdate> {
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
                update.listen_port = Some(value::parse_port(&text(&word, &mut arguments)?)?);
            }
            ("fwmark", None) => {
                update.fwmark = Some(value::parse_fwmark(&text(&word, &mut arguments)?)?);
            }
            ("private-key", None) => {
                update.private_key = Some(private_key(next(&word, &mut arguments)?)?);
            }
            ("remove", Some(peer)) => peer.remove = true,
            (_, Some(peer)) => peer_setting(peer, &word, &mut arguments)?,
            (_, None) => return Err(invalid(&word)),
        }
    }
    Ok(update)
}

fn peer_setting(
    peer: &mut PeerUpdate,
    word: &str,
    arguments: &mut slice::Iter<'_, OsString>,
) -> Result<()> {
    match word {
        "endpoint" => {
            let endpoint = value::parse_endpoint(&text(word, arguments)?)?;
            peer.endpoint = Some(endpoint::resolve(&endpoint)?);
        }
        "allowed-ips" => {
            let text = text(word, arguments)?;
            // An error's sentence comes last, as with the original.
            let mut warn = |warning: value::ValueError| {
                let _ = writeln!(io::stderr(), "{}", warning.original());
            };
            let (replace, changes) = value::parse_allowed_ips_with(&text, &mut warn)?;
            // Said twice, the last one decides whether all of them replace.
            peer.replace_allowed_ips = replace;
            peer.allowed_ips.extend(changes);
        }
        "persistent-keepalive" => {
            let seconds = value::parse_persistent_keepalive(&text(word, arguments)?)?;
            peer.persistent_keepalive = Some(seconds);
        }
        "preshared-key" => peer.preshared_key = Some(preshared_key(next(word, arguments)?)?),
        _ => return Err(invalid(word)),
    }
    Ok(())
}

/// An empty file stands for no key, which zeros stand for on the wire.
fn private_key(path: &OsStr) -> Result<PrivateKey> {
    match key_file::read(path)? {
        Some(text) => Ok(value::parse_private_key(&text)?),
        None => Ok([0; KEY_LEN].into()),
    }
}

fn preshared_key(path: &OsStr) -> Result<PresharedKey> {
    match key_file::read(path)? {
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
