//! The text of a journal: what is known of a tunnel, one line each, as it is done.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wg_config::PublicKey;

use crate::dns::Dns;
use crate::step::Step;
use crate::tunnel::{Hooks, Tunnel};

pub(super) const FIRST_LINE: &str = "wg-quick journal 1";

/// What a journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The file that the tunnel came from.
    pub config_file: PathBuf,
    /// The commands for the way down.
    pub hooks: Hooks,
    /// The endpoints as the file had them, by the peers' keys.
    pub endpoints: HashMap<PublicKey, String>,
    /// The name servers and the search domains.
    pub resolver: Option<(Vec<IpAddr>, Vec<String>)>,
    /// The index of the interface.
    pub link: Option<u32>,
    /// The steps that undo what was done, in the order in which it was done.
    pub undo: Vec<Step>,
    /// Whether all was done.
    pub complete: bool,
    /// Whether a `reload` has begun that did not come to its end.
    pub reloading: bool,
    /// The commands that a `down` has yet to run which has begun to remove the tunnel.
    pub owed: Vec<String>,
}

impl Record {
    /// Whether the tunnel is as a file asked for, rather than on the way there.
    pub(crate) fn is_whole(&self) -> bool {
        self.complete && !self.reloading
    }

    /// The name servers, and who got them.
    pub(crate) fn dns(&self) -> Option<Dns> {
        let (servers, search) = self.resolver.clone()?;
        self.undo.iter().find_map(|step| match step {
            Step::DeleteDns(manager) => Some(Dns {
                manager: manager.clone(),
                servers: servers.clone(),
                search: search.clone(),
            }),
            _ => None,
        })
    }
}

/// The first line, and what is known before anything is done.
pub(super) fn about(tunnel: &Tunnel) -> String {
    let mut text = format!("{FIRST_LINE}\nconfig {}\n", escape(&tunnel.config_file));
    for hook in &tunnel.hooks.pre_down {
        text.push_str(&format!("pre-down {hook}\n"));
    }
    for hook in &tunnel.hooks.post_down {
        text.push_str(&format!("post-down {hook}\n"));
    }
    if !tunnel.dns.is_empty() {
        let servers: Vec<_> = tunnel.dns.iter().map(IpAddr::to_string).collect();
        text.push_str(&format!("dns {} {}\n", servers.join(","), tunnel.dns_search.join(" ")));
    }
    for (peer, endpoint) in &tunnel.endpoints {
        text.push_str(&format!("endpoint {peer} {endpoint}\n"));
    }
    text
}

/// The steps of these that a journal holds.
pub(super) fn lines(undo: &[Step]) -> String {
    undo.iter().filter_map(Step::to_line).map(|line| format!("undo {line}\n")).collect()
}

/// What a text says; `None` where nothing whole is in it.
///
/// # Errors
/// When it is of another version, or damaged.
pub(super) fn parse(text: &str) -> anyhow::Result<Option<Record>> {
    // A last line without its end was being written when the machine or the process stopped.
    let Some((text, _)) = text.rsplit_once('\n') else { return Ok(None) };
    let mut lines = text.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        bail!("the journal is not of this version of wg-quick");
    }
    let mut record = Record::default();
    for line in lines {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "config" => record.config_file = unescape(value).with_context(|| unknown(line))?,
            "pre-down" => record.hooks.pre_down.push(value.to_owned()),
            "post-down" => record.hooks.post_down.push(value.to_owned()),
            "dns" => record.resolver = Some(resolver(value).with_context(|| unknown(line))?),
            "endpoint" => {
                let (peer, endpoint) = value.split_once(' ').with_context(|| unknown(line))?;
                let peer = PublicKey::from_base64(peer.as_bytes())?;
                record.endpoints.insert(peer, endpoint.to_owned());
            }
            "link" => record.link = Some(value.parse().with_context(|| unknown(line))?),
            "complete" => (record.complete, record.reloading) = (true, false),
            "reloading" => record.reloading = true,
            // A `down` that failed before did not come to them.
            "owed-from-here" => record.owed.clear(),
            "owed" => record.owed.push(value.to_owned()),
            "undo" => record.undo.push(
                Step::from_line(value)
                    .with_context(|| format!("the journal has an unknown step: `{value}'"))?,
            ),
            _ => bail!(unknown(line)),
        }
    }
    Ok(Some(record))
}

/// A path as one line of text, with `%` and two digits for each byte that is not printable ASCII.
pub(super) fn escape(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte == b'%' || !(byte == b' ' || byte.is_ascii_graphic()) {
            text.push_str(&format!("%{byte:02x}"));
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

fn unescape(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut path = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        path.push(u8::from_str_radix(digits, 16).ok()?);
        path.extend_from_slice(rest.as_bytes());
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}

fn unknown(line: &str) -> String {
    format!("the journal has an unknown line: `{line}'")
}

fn resolver(value: &str) -> Option<(Vec<IpAddr>, Vec<String>)> {
    let (servers, search) = value.split_once(' ')?;
    let servers = servers.split(',').map(|server| server.parse().ok()).collect::<Option<_>>()?;
    Some((servers, search.split_whitespace().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_journal_says_what_was_written() {
        let record = parse(
            "wg-quick journal 1\nconfig /etc/wireguard/wg0.conf\npre-down echo  a b \n\
             post-down \npost-down x # y\nundo delete-link\nlink 7\ncomplete\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(record.config_file, Path::new("/etc/wireguard/wg0.conf"));
        assert_eq!(record.hooks.pre_down, ["echo  a b "]);
        assert_eq!(record.hooks.post_down, ["", "x # y"]);
        assert_eq!((record.undo, record.link), (vec![Step::DeleteLink], Some(7)));
        assert!(record.complete);
    }

    #[test]
    fn a_path_is_one_line_whatever_is_in_it() {
        for path in [&b"/etc/wireguard/wg0.conf"[..], b"/a\nundo x\n/100%/\xff\xc3\xa4 b/wg0.conf"]
        {
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            let text = format!("{FIRST_LINE}\nconfig {}\n", escape(&path));
            assert_eq!(parse(&text).unwrap().unwrap().config_file, path);
        }
        for damaged in ["%", "%4", "%xx", "%4\u{e9}"] {
            assert_eq!(unescape(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_journal_that_broke_off_says_what_is_whole() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("wg-quick jour").unwrap(), None);
        let record = parse("wg-quick journal 1\nundo delete-link\ncompl").unwrap().unwrap();
        assert_eq!((record.undo.len(), record.complete), (1, false));
    }

    #[test]
    fn a_journal_of_another_version_is_not_guessed_at() {
        for text in
            ["wg-quick journal 2\n", "wg-quick journal 1\nundo x\n", "wg-quick journal 1\nx y\n"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
