//! Text to the typed model.

mod findings;

use findings::{Findings, Setting};
use zeroize::Zeroizing;

use crate::blanks::{may_have_blanks, push_without_blanks};
use crate::diagnostic::{ConfigErrors, Diagnostic, Line, Message, Severity, Source};
use crate::document::{Mismatch, Part, reread};
use crate::lexer::{Lexer, Token};
use crate::setting::{Section, SettingKey};
use crate::value::{self, DnsEntry};
use crate::{Config, Dialect, Interface, KEY_LEN, KEY_TEXT_LEN, Peer};

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

/// Reads a configuration file; `name` is what the diagnostics call it, and `service_port` finds the
/// UDP port of a service, by whose name `ListenPort` may go.
///
/// A byte order mark and carriage returns before line ends are ignored. Settings may repeat:
/// `Address`, `DNS`, `AllowedIPs` and the hooks add up, of others the last counts. `[Interface]`
/// may occur more than once.
///
/// # Errors
/// With [`Dialect::Wg`] the one error at which the original stops. With [`Dialect::WgQuick`] all
/// of them up to a hundred, in the file's order.
pub fn read(
    name: &str,
    text: &[u8],
    dialect: Dialect,
    service_port: fn(&str) -> Option<u16>,
) -> Result<Parsed, ConfigErrors> {
    let source = Source::new(name, text);
    let mut reader = Reader::new(&source, dialect, service_port);
    match dialect {
        Dialect::Wg => reader.read_directly(),
        Dialect::WgQuick => reader.read_through_rust_ini(),
    }
    reader.finish()
}

struct Reader<'a> {
    dialect: Dialect,
    service_port: fn(&str) -> Option<u16>,
    config: Config,
    peer: Option<PartialPeer>,
    /// Apart from the other errors, since the original looks for them last.
    incomplete_peers: Vec<Diagnostic>,
    findings: Findings<'a>,
}

/// A `[Peer]` section as far as it is read.
struct PartialPeer {
    /// The header.
    line: Line,
    has_public_key: bool,
    /// Errors that there were before it.
    errors_before: usize,
    peer: Peer,
}

/// Bytes of the shortest `[Peer]` section that counts.
const SHORTEST_PEER: usize = "[Peer]\nPublicKey=".len() + KEY_TEXT_LEN;

impl<'a> Reader<'a> {
    fn new(
        source: &'a Source<'a>,
        dialect: Dialect,
        service_port: fn(&str) -> Option<u16>,
    ) -> Self {
        let mut config = Config::default();
        // Room for all there can be: growing would leave copies of preshared keys behind.
        config.peers.reserve_exact(source.text.len() / SHORTEST_PEER + 1);
        let most = if dialect == Dialect::Wg { 1 } else { MOST_ERRORS };
        let findings = Findings { source, most, errors: Vec::new(), warnings: Vec::new() };
        let incomplete_peers = Vec::new();
        Self { dialect, service_port, config, peer: None, incomplete_peers, findings }
    }

    /// Up to the first error.
    fn read_directly(&mut self) {
        let mut without_blanks = Zeroizing::new(String::new());
        for token in Lexer::new(self.findings.source, self.dialect) {
            match token {
                Ok(Token::Header { section, line }) => self.header(section, line),
                Ok(Token::Name(name)) => self.name(name),
                Ok(Token::Setting { key, line, value, span }) => {
                    let value = if key.is_wg() && may_have_blanks(value) {
                        if without_blanks.capacity() < value.len() {
                            without_blanks = Zeroizing::new(String::with_capacity(value.len()));
                        }
                        without_blanks.clear();
                        push_without_blanks(&mut without_blanks, value);
                        &without_blanks
                    } else {
                        value
                    };
                    self.setting(&Setting { key, value, line, span });
                }
                Err(error) => self.findings.errors.push(*error),
            }
            if !self.findings.errors.is_empty() {
                break;
            }
        }
        self.finish_peer();
    }

    fn read_through_rust_ini(&mut self) {
        let mut errors = Vec::new();
        let mut tokens = Vec::new();
        for token in Lexer::new(self.findings.source, self.dialect) {
            match token {
                Ok(token) => tokens.push(token),
                Err(error) => errors.push(*error),
            }
            if errors.len() >= self.findings.most {
                break;
            }
        }
        match reread(tokens) {
            Ok(parts) => {
                for part in parts {
                    match part {
                        Part::Header { section, line } => self.header(section, line),
                        Part::Name(name) => self.name(name),
                        Part::Setting { key, line, value, span } => {
                            self.setting(&Setting { key, value: &value, line, span });
                        }
                    }
                }
                self.finish_peer();
            }
            Err(mismatch) => self.mismatch(&mismatch),
        }
        self.findings.errors.extend(errors);
    }

    fn header(&mut self, section: Section, line: Line) {
        self.finish_peer();
        if section == Section::Peer {
            let peer = Peer {
                name: None,
                public_key: [0; KEY_LEN].into(),
                preshared_key: None,
                endpoint: None,
                persistent_keepalive: None,
                replace_allowed_ips: true,
                allowed_ips: Vec::new(),
            };
            let errors_before = self.findings.errors.len();
            self.peer = Some(PartialPeer { line, has_public_key: false, errors_before, peer });
        }
    }

    fn name(&mut self, name: String) {
        if let Some(partial) = &mut self.peer {
            partial.peer.name = Some(name);
        }
    }

    fn setting(&mut self, setting: &Setting<'_>) {
        if self.findings.errors.len() >= self.findings.most {
            return;
        }
        match &mut self.peer {
            Some(partial) => peer_setting(partial, setting, &mut self.findings),
            None => {
                let interface = &mut self.config.interface;
                interface_setting(interface, setting, self.service_port, &mut self.findings);
            }
        }
    }

    fn finish_peer(&mut self) {
        let Some(partial) = self.peer.take() else { return };
        if partial.has_public_key {
            self.config.peers.push(partial.peer);
        } else if self.findings.errors.len() == partial.errors_before
            // Not after an error that may be the reason.
            && self.incomplete_peers.len() < self.findings.most
        {
            self.incomplete_peer(&partial.line);
        }
    }

    fn incomplete_peer(&mut self, header: &Line) {
        let message = Message {
            title: "a peer without a public key".into(),
            expected: "expected `PublicKey = …' in this section".into(),
            help: None,
            original: "A peer is missing a public key".into(),
            is_incomplete_peer: true,
        };
        let error = self.findings.source.diagnostic(
            Severity::Error,
            header,
            header.bytes.clone(),
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
        let error = self.findings.source.diagnostic(Severity::Error, &line, 0..0, None, message);
        self.findings.errors.push(error);
    }

    fn finish(mut self) -> Result<Parsed, ConfigErrors> {
        let Findings { most, mut errors, warnings, .. } = self.findings;
        if self.dialect == Dialect::WgQuick || errors.is_empty() {
            errors.append(&mut self.incomplete_peers);
        }
        errors.sort_by_key(|error| (error.line(), error.column()));
        errors.truncate(most);
        match ConfigErrors::new(errors, &warnings) {
            Some(errors) => Err(errors),
            None => Ok(Parsed { config: self.config, warnings }),
        }
    }
}

fn interface_setting(
    interface: &mut Interface,
    setting: &Setting<'_>,
    service_port: fn(&str) -> Option<u16>,
    findings: &mut Findings<'_>,
) {
    let value = setting.value;
    match setting.key {
        SettingKey::PrivateKey => {
            findings.set(&mut interface.private_key, setting, value::parse_private_key(value));
        }
        SettingKey::ListenPort => {
            findings.set(
                &mut interface.listen_port,
                setting,
                value::parse_port(value, service_port),
            );
        }
        SettingKey::FwMark => {
            findings.set(&mut interface.fwmark, setting, value::parse_fwmark(value));
        }
        SettingKey::Address => {
            let addresses = findings.check(setting, value::parse_address(value));
            interface.addresses.extend(addresses.unwrap_or_default());
        }
        SettingKey::Dns => {
            let entries = findings.check(setting, value::parse_dns(value));
            for entry in entries.unwrap_or_default() {
                match entry {
                    DnsEntry::Server(address) => interface.dns.push(address),
                    DnsEntry::Search(domain) => interface.dns_search.push(domain),
                }
            }
        }
        SettingKey::Mtu => {
            if let Some(mtu) = findings.check(setting, value::parse_mtu(value)) {
                interface.mtu = mtu;
            }
        }
        SettingKey::Table => {
            if let Some(table) = findings.check(setting, value::parse_table(value)) {
                interface.table = table;
            }
        }
        SettingKey::PreUp => interface.pre_up.push(value.to_owned()),
        SettingKey::PostUp => interface.post_up.push(value.to_owned()),
        SettingKey::PreDown => interface.pre_down.push(value.to_owned()),
        SettingKey::PostDown => interface.post_down.push(value.to_owned()),
        SettingKey::SaveConfig => {
            if let Some(save) = findings.check(setting, value::parse_bool(value)) {
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
}

fn peer_setting(partial: &mut PartialPeer, setting: &Setting<'_>, findings: &mut Findings<'_>) {
    let value = setting.value;
    let peer = &mut partial.peer;
    match setting.key {
        SettingKey::PublicKey => {
            if let Some(key) = findings.check(setting, value::parse_public_key(value)) {
                peer.public_key = key;
                partial.has_public_key = true;
            }
        }
        SettingKey::PresharedKey => {
            findings.set(&mut peer.preshared_key, setting, value::parse_preshared_key(value));
        }
        SettingKey::Endpoint => {
            findings.set(&mut peer.endpoint, setting, value::parse_endpoint(value));
        }
        SettingKey::PersistentKeepalive => {
            let seconds = value::parse_persistent_keepalive(value);
            findings.set(&mut peer.persistent_keepalive, setting, seconds);
        }
        SettingKey::AllowedIps => {
            let mut warnings = Vec::new();
            let parsed = value::parse_allowed_ips(value, &mut |warning| {
                if warnings.len() < MOST_WARNINGS {
                    warnings.push(warning);
                }
            });
            if !warnings.is_empty() {
                findings.warn(setting, &warnings);
            }
            if let Some((replace, changes)) = findings.check(setting, parsed) {
                peer.replace_allowed_ips = replace;
                if peer.allowed_ips.is_empty() {
                    peer.allowed_ips = changes;
                } else {
                    peer.allowed_ips.extend(changes);
                }
            }
        }
        // The lexer finds a key only in its own section.
        _ => {}
    }
}

#[cfg(test)]
mod tests;
