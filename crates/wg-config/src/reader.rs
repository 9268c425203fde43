//! Text to the typed model.

use std::ops::Range;

use crate::diagnostic::{ConfigErrors, Diagnostic, Line, Message, Severity, Source};
use crate::document::{Mismatch, Part, Setting, sections};
use crate::lexer::lex;
use crate::quote::quote_start;
use crate::setting::{Section, SettingKey};
use crate::value::{self, DnsEntry, ValueError};
use crate::{AllowedIpChange, Config, Dialect, Endpoint, Peer, PresharedKey, PublicKey};

/// A configuration file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it says.
    pub config: Config,
    /// What is odd about it, in the file's order.
    pub warnings: Vec<Diagnostic>,
}

/// Errors after which a file is not read on. Whoever has so many looks at the first ones.
const MOST_ERRORS: usize = 100;

/// Warnings about one value, so that a line of megabytes does not give a million.
const MOST_WARNINGS: usize = 100;

/// Reads a configuration file; `name` is what the diagnostics call it.
///
/// A byte order mark and carriage returns before line ends are ignored. Settings may repeat:
/// `Address`, `DNS`, `AllowedIPs` and the hooks add up, of others the last counts. `[Interface]`
/// may occur more than once.
///
/// # Errors
/// With [`Dialect::Wg`] the one error at which the original stops. With [`Dialect::WgQuick`] all
/// of them up to a hundred, in the file's order.
pub fn read(name: &str, text: &[u8], dialect: Dialect) -> Result<Parsed, ConfigErrors> {
    let source = Source::new(name, text);
    let most = if dialect == Dialect::Wg { 1 } else { MOST_ERRORS };
    let mut lexed = lex(&source, dialect, most);
    let errors = std::mem::take(&mut lexed.errors);
    let mut reader = Reader {
        source,
        most,
        config: Config::default(),
        errors: Vec::new(),
        incomplete_peers: Vec::new(),
        warnings: Vec::new(),
    };
    match sections(lexed) {
        Ok(parts) => parts.into_iter().for_each(|part| reader.section(part)),
        Err(mismatch) => reader.mismatch(&mismatch),
    }
    reader.errors.extend(errors);
    reader.finish(dialect)
}

struct Reader<'a> {
    source: Source<'a>,
    most: usize,
    config: Config,
    errors: Vec<Diagnostic>,
    /// Apart from the others, since the original looks for them last.
    incomplete_peers: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// A `[Peer]` section as far as it is read.
struct PartialPeer {
    public_key: Option<PublicKey>,
    preshared_key: Option<PresharedKey>,
    endpoint: Option<Endpoint>,
    persistent_keepalive: Option<u16>,
    replace_allowed_ips: bool,
    allowed_ips: Vec<AllowedIpChange>,
}

impl Reader<'_> {
    fn section(&mut self, part: Part) {
        match part.section {
            Section::Interface => {
                for setting in &part.settings {
                    self.interface_setting(setting);
                }
            }
            Section::Peer => self.peer(part),
        }
    }

    fn interface_setting(&mut self, setting: &Setting) {
        if self.errors.len() >= self.most {
            return;
        }
        let value = setting.value.as_str();
        // Taken out, so that the parsed value and the diagnostics do not borrow the same thing.
        let mut interface = std::mem::take(&mut self.config.interface);
        match setting.key {
            SettingKey::PrivateKey => {
                self.set(&mut interface.private_key, setting, value::parse_private_key(value));
            }
            SettingKey::ListenPort => {
                self.set(&mut interface.listen_port, setting, value::parse_port(value));
            }
            SettingKey::FwMark => {
                self.set(&mut interface.fwmark, setting, value::parse_fwmark(value));
            }
            SettingKey::Address => {
                let addresses = self.check(setting, value::parse_address(value));
                interface.addresses.extend(addresses.unwrap_or_default());
            }
            SettingKey::Dns => {
                let entries = self.check(setting, value::parse_dns(value));
                for entry in entries.unwrap_or_default() {
                    match entry {
                        DnsEntry::Server(address) => interface.dns.push(address),
                        DnsEntry::Search(domain) => interface.dns_search.push(domain),
                    }
                }
            }
            SettingKey::Mtu => {
                if let Some(mtu) = self.check(setting, value::parse_mtu(value)) {
                    interface.mtu = mtu;
                }
            }
            SettingKey::Table => {
                if let Some(table) = self.check(setting, value::parse_table(value)) {
                    interface.table = table;
                }
            }
            SettingKey::PreUp => interface.pre_up.push(value.to_owned()),
            SettingKey::PostUp => interface.post_up.push(value.to_owned()),
            SettingKey::PreDown => interface.pre_down.push(value.to_owned()),
            SettingKey::PostDown => interface.post_down.push(value.to_owned()),
            SettingKey::SaveConfig => {
                if let Some(save) = self.check(setting, value::parse_bool(value)) {
                    interface.save_config = save;
                }
            }
            // The lexer finds a key only in its own section.
            SettingKey::PublicKey
            | SettingKey::PresharedKey
            | SettingKey::AllowedIps
            | SettingKey::Endpoint
            | SettingKey::PersistentKeepalive => {}
        }
        self.config.interface = interface;
    }

    fn peer(&mut self, part: Part) {
        let errors_before = self.errors.len();
        let mut peer = PartialPeer {
            public_key: None,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: true,
            allowed_ips: Vec::new(),
        };
        for setting in &part.settings {
            self.peer_setting(&mut peer, setting);
        }
        let Some(public_key) = peer.public_key else {
            // Not after an error that may be the reason.
            if self.errors.len() == errors_before && self.incomplete_peers.len() < self.most {
                self.incomplete_peer(&part);
            }
            return;
        };
        self.config.peers.push(Peer {
            name: part.name,
            public_key,
            preshared_key: peer.preshared_key,
            endpoint: peer.endpoint,
            persistent_keepalive: peer.persistent_keepalive,
            replace_allowed_ips: peer.replace_allowed_ips,
            allowed_ips: peer.allowed_ips,
        });
    }

    fn peer_setting(&mut self, peer: &mut PartialPeer, setting: &Setting) {
        if self.errors.len() >= self.most {
            return;
        }
        let value = setting.value.as_str();
        match setting.key {
            SettingKey::PublicKey => {
                self.set(&mut peer.public_key, setting, value::parse_public_key(value));
            }
            SettingKey::PresharedKey => {
                self.set(&mut peer.preshared_key, setting, value::parse_preshared_key(value));
            }
            SettingKey::Endpoint => {
                self.set(&mut peer.endpoint, setting, value::parse_endpoint(value));
            }
            SettingKey::PersistentKeepalive => {
                let seconds = value::parse_persistent_keepalive(value);
                self.set(&mut peer.persistent_keepalive, setting, seconds);
            }
            SettingKey::AllowedIps => {
                let mut warnings = Vec::new();
                let parsed = value::parse_allowed_ips_with(value, &mut |warning| {
                    if warnings.len() < MOST_WARNINGS {
                        warnings.push(warning);
                    }
                });
                for warning in warnings {
                    self.warn(setting, &warning);
                }
                if let Some((replace, changes)) = self.check(setting, parsed) {
                    peer.replace_allowed_ips = replace;
                    peer.allowed_ips.extend(changes);
                }
            }
            // The lexer finds a key only in its own section.
            _ => {}
        }
    }

    fn set<T>(&mut self, to: &mut Option<T>, setting: &Setting, value: Result<T, ValueError>) {
        if let Some(value) = self.check(setting, value) {
            *to = Some(value);
        }
    }

    /// The value, or its error added to the others.
    fn check<T>(&mut self, setting: &Setting, value: Result<T, ValueError>) -> Option<T> {
        value
            .map_err(|error| {
                let mut title = format!("invalid value for `{}'", setting.key.name());
                if !setting.key.is_secret() {
                    let wrong = setting.value.get(error.span()).unwrap_or_default();
                    title += &format!(": `{}'", quote_start(wrong, 60));
                }
                let expected = format!("expected {}", error.expected());
                let error = self.diagnostic(Severity::Error, setting, &error, title, expected);
                self.errors.push(error);
            })
            .ok()
    }

    fn warn(&mut self, setting: &Setting, warning: &ValueError) {
        let title = "bits behind the prefix".to_owned();
        let expected = warning.expected().to_owned();
        let warning = self.diagnostic(Severity::Warning, setting, warning, title, expected);
        self.warnings.push(warning);
    }

    fn diagnostic(
        &self,
        severity: Severity,
        setting: &Setting,
        error: &ValueError,
        title: String,
        expected: String,
    ) -> Diagnostic {
        let span = self.place_in_file(setting, error.span());
        let secret = setting.key.is_secret().then_some(setting.span.start);
        let original = error.original().to_owned();
        let message = Message { title, expected, original, ..Message::default() };
        self.source.diagnostic(severity, &setting.line, span, secret, message)
    }

    /// Where a part of a setting's value is in the file.
    fn place_in_file(&self, setting: &Setting, part: Range<usize>) -> Range<usize> {
        let written = &self.source.text[setting.span.clone()];
        if !setting.key.is_wg() {
            return setting.span.start + part.start..setting.span.start + part.end;
        }
        // The value has lost its white space since.
        let written = std::str::from_utf8(written).unwrap_or_default();
        let mut kept = written.char_indices().filter(|(_, c)| !c.is_whitespace());
        let mut passed = 0;
        let mut place = |offset: usize, end: usize| loop {
            let Some((at, c)) = kept.next() else { break end };
            passed += c.len_utf8();
            if passed > offset {
                break at;
            }
        };
        let start = place(part.start, written.len());
        let last = if part.len() > 1 { place(part.end - 1, start) } else { start };
        let end = written[last..].chars().next().map_or(last, |c| last + c.len_utf8());
        setting.span.start + start..setting.span.start + end
    }

    fn incomplete_peer(&mut self, part: &Part) {
        let message = Message {
            title: "a peer without a public key".into(),
            expected: "expected `PublicKey = …' in this section".into(),
            help: None,
            original: "A peer is missing a public key".into(),
            is_incomplete_peer: true,
        };
        let error = self.source.diagnostic(
            Severity::Error,
            &part.line,
            part.line.bytes.clone(),
            None,
            message,
        );
        self.incomplete_peers.push(error);
    }

    fn mismatch(&mut self, mismatch: &Mismatch) {
        let message = Message {
            title: mismatch.to_string(),
            original: mismatch.to_string(),
            ..Message::default()
        };
        let line = Line { number: 1, bytes: 0..0 };
        self.errors.push(self.source.diagnostic(Severity::Error, &line, 0..0, None, message));
    }

    fn finish(mut self, dialect: Dialect) -> Result<Parsed, ConfigErrors> {
        if dialect == Dialect::WgQuick || self.errors.is_empty() {
            self.errors.append(&mut self.incomplete_peers);
        }
        self.errors.sort_by_key(|error| (error.line(), error.column()));
        self.errors.truncate(self.most);
        match ConfigErrors::new(self.errors, &self.warnings) {
            Some(errors) => Err(errors),
            None => Ok(Parsed { config: self.config, warnings: self.warnings }),
        }
    }
}

#[cfg(test)]
mod tests;
