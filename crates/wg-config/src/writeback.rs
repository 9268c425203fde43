//! Write-back: a file's own lines changed so that it says what an interface is like now.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use zeroize::Zeroizing;

use crate::diagnostic::{ConfigErrors, Line, Source};
use crate::document::{self, reread};
use crate::lexer::Lexer;
use crate::setting::{Section, SettingKey};
use crate::value::parse_address;
use crate::{AllowedIp, Config, Dialect, Peer, PublicKey, read};

/// The text of a file after it was made to say `now`; comments, order, spelling, and all lines that
/// say so already stay as they are.
///
/// Of `now` count the private key, port, mark, addresses, MTU (where the file has one) and the peers
/// with all that they have. The rest of `[Interface]` stays as the file has it. A peer's section
/// goes with the comment right above it; a new one comes last.
///
/// # Errors
/// When the file is not valid; `name` and `service_port` are those of [`read`].
pub fn rewrite(
    name: &str,
    text: &[u8],
    now: &Config,
    service_port: fn(&str) -> Option<u16>,
) -> Result<Zeroizing<Vec<u8>>, ConfigErrors> {
    let before = read(name, text, Dialect::WgQuick, service_port)?.config;
    let parts = sections(&Source::new(name, text));
    let mut edits = Edits { text, edits: Vec::new(), appended: Zeroizing::default() };
    edits.interface(&parts, &before, now);
    edits.peers(&parts, &before, now);
    Ok(edits.apply())
}

/// A section of the file, with its settings in order.
struct Part {
    section: Section,
    line: Line,
    settings: Vec<Setting>,
}

/// A setting of the file.
struct Setting {
    key: SettingKey,
    value: Zeroizing<String>,
    line: Line,
    /// The bytes of the value as written.
    span: Range<usize>,
}

/// The sections of a file that could be read.
fn sections(source: &Source<'_>) -> Vec<Part> {
    let tokens = Lexer::new(source, Dialect::WgQuick).filter_map(Result::ok).collect();
    let mut sections: Vec<Part> = Vec::new();
    for part in reread(tokens).unwrap_or_default() {
        match part {
            document::Part::Name(_) => {}
            document::Part::Header { section, line } => {
                sections.push(Part { section, line, settings: Vec::new() });
            }
            document::Part::Setting { key, line, value, span } => {
                if let Some(section) = sections.last_mut() {
                    section.settings.push(Setting { key, value, line, span });
                }
            }
        }
    }
    sections
}

/// Changes to a text, each to bytes that no other touches.
struct Edits<'a> {
    text: &'a [u8],
    edits: Vec<(Range<usize>, Zeroizing<String>)>,
    /// What comes behind the last line.
    appended: Zeroizing<String>,
}

impl Edits<'_> {
    fn interface(&mut self, parts: &[Part], before: &Config, now: &Config) {
        let own: Vec<&Part> =
            parts.iter().filter(|part| part.section == Section::Interface).collect();
        let (old, new) = (&before.interface, &now.interface);
        if own.is_empty() {
            self.appended.push_str("[Interface]\n");
        }
        if old.addresses != new.addresses {
            self.addresses(&own, &new.addresses);
        }
        if old.mtu.is_some() && old.mtu != new.mtu {
            self.set(&own, SettingKey::Mtu, new.mtu.map(|mtu| mtu.to_string()));
        }
        let (old_port, port) = (old.listen_port.unwrap_or(0), new.listen_port.unwrap_or(0));
        if old_port != port {
            self.set(&own, SettingKey::ListenPort, (port != 0).then(|| port.to_string()));
        }
        let (old_mark, mark) = (old.fwmark.unwrap_or(0), new.fwmark.unwrap_or(0));
        if old_mark != mark {
            self.set(&own, SettingKey::FwMark, (mark != 0).then(|| format!("{mark:#x}")));
        }
        if old.private_key != new.private_key {
            let key = new.private_key.as_ref().map(|key| key.to_base64().to_string());
            self.set(&own, SettingKey::PrivateKey, key);
        }
    }

    /// Keeps what stays on its line, and gives each new address a line of its own.
    fn addresses(&mut self, own: &[&Part], now: &[AllowedIp]) {
        let mut missing: Vec<AllowedIp> = now.to_vec();
        let settings = of_key(own, SettingKey::Address);
        for setting in &settings {
            let old = parse_address(&setting.value).unwrap_or_default();
            let mut kept = Vec::new();
            for address in &old {
                if let Some(place) = missing.iter().position(|other| other == address) {
                    missing.remove(place);
                    kept.push(address.to_string());
                }
            }
            if kept.is_empty() {
                self.delete(&setting.line);
            } else if kept.len() < old.len() {
                self.edits.push((setting.span.clone(), kept.join(", ").into()));
            }
        }
        let lines: String =
            missing.iter().map(|address| format!("Address = {address}\n")).collect();
        let after = settings.last().map(|setting| &setting.line);
        self.insert(after.or(own.first().map(|part| &part.line)), &lines);
    }

    fn peers(&mut self, parts: &[Part], before: &Config, now: &Config) {
        let wanted: HashMap<PublicKey, &Peer> =
            now.peers.iter().map(|peer| (peer.public_key, peer)).collect();
        let headers = parts.iter().enumerate().filter(|(_, part)| part.section == Section::Peer);
        let mut sections: HashMap<PublicKey, Vec<&Part>> = HashMap::new();
        for ((place, part), peer) in headers.zip(&before.peers) {
            if wanted.contains_key(&peer.public_key) {
                sections.entry(peer.public_key).or_default().push(part);
            } else {
                self.delete_section(parts, place);
            }
        }
        let merged = merged(&before.peers);
        for peer in &now.peers {
            match (sections.get(&peer.public_key), merged.get(&peer.public_key)) {
                (Some(own), Some(old)) => self.peer(own, old, peer),
                _ => self.append_peer(peer),
            }
        }
    }

    fn peer(&mut self, own: &[&Part], old: &Peer, new: &Peer) {
        let zero = |peer: &Peer| peer.preshared_key.as_ref().is_none_or(|key| key.is_zero());
        if old.preshared_key != new.preshared_key && !(zero(old) && zero(new)) {
            self.set(own, SettingKey::PresharedKey, preshared_key(new));
        }
        if allowed_set(old) != allowed_set(new) {
            self.set(own, SettingKey::AllowedIps, allowed_ips(new));
        }
        if new.endpoint.is_some() && old.endpoint != new.endpoint {
            self.set(own, SettingKey::Endpoint, new.endpoint.as_ref().map(ToString::to_string));
        }
        let seconds = |peer: &Peer| peer.persistent_keepalive.unwrap_or(0);
        if seconds(old) != seconds(new) {
            self.set(own, SettingKey::PersistentKeepalive, keepalive(new));
        }
    }

    fn append_peer(&mut self, peer: &Peer) {
        self.appended.push_str(&format!("\n[Peer]\nPublicKey = {}\n", peer.public_key));
        for (key, value) in [
            (SettingKey::PresharedKey, preshared_key(peer)),
            (SettingKey::AllowedIps, allowed_ips(peer)),
            (SettingKey::Endpoint, peer.endpoint.as_ref().map(ToString::to_string)),
            (SettingKey::PersistentKeepalive, keepalive(peer)),
        ] {
            if let Some(value) = value.map(Zeroizing::new) {
                self.appended.push_str(&format!("{} = {}\n", key.name(), *value));
            }
        }
    }

    /// Gives a setting of these sections one value, or none.
    fn set(&mut self, own: &[&Part], key: SettingKey, value: Option<String>) {
        let mut settings = of_key(own, key);
        let value = value.map(Zeroizing::new);
        let last = if value.is_some() { settings.pop() } else { None };
        for setting in settings {
            self.delete(&setting.line);
        }
        match (value, last) {
            (Some(value), Some(setting)) => self.edits.push((setting.span.clone(), value)),
            (Some(value), None) => {
                let line = Zeroizing::new(format!("{} = {}\n", key.name(), *value));
                let part = own.last();
                let end = part.and_then(|part| part.settings.last().map(|setting| &setting.line));
                self.insert(end.or(part.map(|part| &part.line)), &line);
            }
            (None, _) => {}
        }
    }

    /// Inserts lines after this one; at the very end where there is none.
    fn insert(&mut self, after: Option<&Line>, lines: &str) {
        if lines.is_empty() {
            return;
        }
        let Some(line) = after else {
            self.appended.push_str(lines);
            return;
        };
        let end = self.whole(line).end;
        let newline = if self.text[..end].ends_with(b"\n") { "" } else { "\n" };
        self.edits.push((end..end, format!("{newline}{lines}").into()));
    }

    fn delete(&mut self, line: &Line) {
        self.edits.push((self.whole(line), Zeroizing::default()));
    }

    /// Deletes a section from the comment right above it to the one right above the next.
    fn delete_section(&mut self, parts: &[Part], place: usize) {
        let start = self.start_of_section(&parts[place]);
        let end = parts.get(place + 1).map_or(self.text.len(), |next| self.start_of_section(next));
        self.edits.push((start..end, Zeroizing::default()));
    }

    fn start_of_section(&self, part: &Part) -> usize {
        let mut start = part.line.bytes.start;
        loop {
            let above = self.text[..start].strip_suffix(b"\n").unwrap_or_default();
            let line = above.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if !above[line..].trim_ascii_start().starts_with(b"#") {
                return start;
            }
            start = line;
        }
    }

    /// The bytes of a line with its end.
    fn whole(&self, line: &Line) -> Range<usize> {
        let rest = &self.text[line.bytes.end..];
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        line.bytes.start..line.bytes.end + end
    }

    fn apply(mut self) -> Zeroizing<Vec<u8>> {
        // An insertion at the end of a line that goes comes behind it.
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        // One allocation, so that no copy of a key is left behind.
        let length = self.text.len() + added + self.appended.len() + 1;
        let mut result = Zeroizing::new(Vec::with_capacity(length));
        let mut done = 0;
        for (range, new) in &self.edits {
            result.extend_from_slice(&self.text[done.min(range.start)..range.start]);
            result.extend_from_slice(new.as_bytes());
            done = range.end;
        }
        result.extend_from_slice(&self.text[done..]);
        if !self.appended.is_empty() && !result.is_empty() && !result.ends_with(b"\n") {
            result.push(b'\n');
        }
        result.extend_from_slice(self.appended.as_bytes());
        result
    }
}

fn of_key<'a>(own: &[&'a Part], key: SettingKey) -> Vec<&'a Setting> {
    own.iter().flat_map(|part| &part.settings).filter(|setting| setting.key == key).collect()
}

/// What several sections of one peer say together.
fn merged(sections: &[Peer]) -> HashMap<PublicKey, Peer> {
    let mut peers: HashMap<PublicKey, Peer> = HashMap::new();
    for section in sections {
        let Some(peer) = peers.get_mut(&section.public_key) else {
            peers.insert(section.public_key, section.clone());
            continue;
        };
        if section.preshared_key.is_some() {
            peer.preshared_key.clone_from(&section.preshared_key);
        }
        if section.endpoint.is_some() {
            peer.endpoint.clone_from(&section.endpoint);
        }
        peer.persistent_keepalive = section.persistent_keepalive.or(peer.persistent_keepalive);
        if section.replace_allowed_ips {
            peer.allowed_ips.clear();
        }
        peer.allowed_ips.extend(section.allowed_ips.iter().cloned());
    }
    peers
}

fn allowed_set(peer: &Peer) -> HashSet<AllowedIp> {
    let mut set = HashSet::new();
    for change in &peer.allowed_ips {
        if change.remove {
            set.remove(&change.ip.masked());
        } else {
            set.insert(change.ip.masked());
        }
    }
    set
}

fn allowed_ips(peer: &Peer) -> Option<String> {
    let list: Vec<_> = peer.allowed_ips.iter().map(|change| change.ip.to_string()).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

fn preshared_key(peer: &Peer) -> Option<String> {
    peer.preshared_key.as_ref().map(|key| key.to_base64().to_string())
}

fn keepalive(peer: &Peer) -> Option<String> {
    peer.persistent_keepalive.filter(|seconds| *seconds > 0).map(|seconds| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllowedIpChange, Endpoint};

    const KEY: &str = "kLYkcympiJC9HjcRcMeF3AM8o/Va34NsiBhe4FOtj0s=";
    const FIRST: &str = "1cuY3+uYZ8QW4kGzgQL4pU/xMVqkmuJbHzXaQ9G5DWs=";
    const SECOND: &str = "DFFE1V5xI1dosQXKpKtvybPHJKoGdkOChb7gGb12NnY=";

    fn file() -> String {
        format!(
            "# the top\n[interface] # i\nPrivateKey={KEY} # own\nAddress = 10.0.0.1/24, fd00::1\n\
             Address = 10.9.0.1/16 # more\n  MTU =1400\nPostUp = echo %i # kept\n\n\
             # first\n[Peer]\nPublicKey = {FIRST}\nAllowedIPs = 10.0.0.2, 10.0.0.3 # two\n\
             AllowedIPs = 10.0.0.4\n\n# about nobody\n\n# second\n[Peer]\nPublicKey = {SECOND}\n\
             Endpoint = 192.0.2.2:2\n# the end"
        )
    }

    fn config(text: &str) -> Config {
        read("x", text.as_bytes(), Dialect::WgQuick, |_| None).unwrap().config
    }

    fn rewritten(text: &str, now: &Config) -> String {
        let text = rewrite("x", text.as_bytes(), now, |_| None).unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn what_is_so_already_is_not_touched() {
        assert_eq!(rewritten(&file(), &config(&file())), file());
    }

    #[test]
    fn values_change_where_they_are() {
        let mut now = config(&file());
        now.interface.mtu = Some(1410);
        now.interface.listen_port = Some(7);
        now.interface.addresses.remove(1);
        now.interface.addresses.push(AllowedIp::new("10.99.0.1".parse().unwrap(), 32).unwrap());
        now.peers[0].allowed_ips.pop();
        now.peers[1].endpoint = Some(Endpoint::new("fe80::1%e", "9"));
        now.peers[1].persistent_keepalive = Some(15);
        let expected = file()
            .replace("MTU =1400", "MTU =1410")
            .replace("10.0.0.1/24, fd00::1", "10.0.0.1/24")
            .replace("# more\n", "# more\nAddress = 10.99.0.1/32\n")
            .replace("# kept\n", "# kept\nListenPort = 7\n")
            .replace("AllowedIPs = 10.0.0.2, 10.0.0.3 # two\n", "")
            .replace("AllowedIPs = 10.0.0.4\n", "AllowedIPs = 10.0.0.2/32, 10.0.0.3/32\n")
            .replace("192.0.2.2:2\n", "[fe80::1%e]:9\nPersistentKeepalive = 15\n");
        assert_eq!(rewritten(&file(), &now), expected);
    }

    #[test]
    fn peers_come_and_go() {
        let mut now = config(&file());
        now.peers.remove(0);
        let without = rewritten(&file(), &now);
        let start = file().find("# first").unwrap();
        let end = file().find("# second").unwrap();
        assert_eq!(without, file()[..start].to_owned() + &file()[end..]);
        now.peers[0].allowed_ips =
            vec![AllowedIpChange::from(AllowedIp::new("10.7.0.0".parse().unwrap(), 16).unwrap())];
        now.peers[0].public_key = PublicKey::from_base64(FIRST.as_bytes()).unwrap();
        let text = rewritten(&file().replace(FIRST, KEY), &now);
        let appended = format!(
            "\n[Peer]\nPublicKey = {FIRST}\nAllowedIPs = 10.7.0.0/16\nEndpoint = 192.0.2.2:2\n"
        );
        assert!(text.ends_with(&appended), "{text}");
        assert_eq!(config(&text).peers.len(), 1);
    }

    #[test]
    fn sections_of_one_peer_are_taken_together() {
        let text = format!(
            "[Interface]\n[Peer]\nPublicKey={FIRST}\nEndpoint=192.0.2.1:1\n\
             [Peer]\nPublicKey={FIRST}\nEndpoint=192.0.2.1:2\n"
        );
        let mut now = config(&text);
        now.peers.remove(0);
        assert_eq!(rewritten(&text, &now), text);
        now.peers[0].endpoint = Some(Endpoint::new("192.0.2.1", "3"));
        let expected = format!(
            "[Interface]\n[Peer]\nPublicKey={FIRST}\n\
             [Peer]\nPublicKey={FIRST}\nEndpoint=192.0.2.1:3\n"
        );
        assert_eq!(rewritten(&text, &now), expected);
    }
}
