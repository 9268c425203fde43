//! The sections and settings that a configuration file may hold.

use crate::blanks::{trim, without_blanks};

/// Whose settings are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// What `wg setconf` reads: the settings of wg(8) alone.
    Wg,
    /// What `wg-quick up` reads: in `[Interface]` also the settings of wg-quick(8).
    WgQuick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Interface,
    Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingKey {
    PrivateKey,
    ListenPort,
    FwMark,
    Address,
    Dns,
    Mtu,
    Table,
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    SaveConfig,
    PublicKey,
    PresharedKey,
    AllowedIps,
    Endpoint,
    PersistentKeepalive,
}

/// Every setting with the section and the dialect it belongs to, and its spelling.
const KEYS: [(SettingKey, Section, Dialect, &str); 17] = [
    (SettingKey::PrivateKey, Section::Interface, Dialect::Wg, "PrivateKey"),
    (SettingKey::ListenPort, Section::Interface, Dialect::Wg, "ListenPort"),
    (SettingKey::FwMark, Section::Interface, Dialect::Wg, "FwMark"),
    (SettingKey::Address, Section::Interface, Dialect::WgQuick, "Address"),
    (SettingKey::Dns, Section::Interface, Dialect::WgQuick, "DNS"),
    (SettingKey::Mtu, Section::Interface, Dialect::WgQuick, "MTU"),
    (SettingKey::Table, Section::Interface, Dialect::WgQuick, "Table"),
    (SettingKey::PreUp, Section::Interface, Dialect::WgQuick, "PreUp"),
    (SettingKey::PostUp, Section::Interface, Dialect::WgQuick, "PostUp"),
    (SettingKey::PreDown, Section::Interface, Dialect::WgQuick, "PreDown"),
    (SettingKey::PostDown, Section::Interface, Dialect::WgQuick, "PostDown"),
    (SettingKey::SaveConfig, Section::Interface, Dialect::WgQuick, "SaveConfig"),
    (SettingKey::PublicKey, Section::Peer, Dialect::Wg, "PublicKey"),
    (SettingKey::PresharedKey, Section::Peer, Dialect::Wg, "PresharedKey"),
    (SettingKey::AllowedIps, Section::Peer, Dialect::Wg, "AllowedIPs"),
    (SettingKey::Endpoint, Section::Peer, Dialect::Wg, "Endpoint"),
    (SettingKey::PersistentKeepalive, Section::Peer, Dialect::Wg, "PersistentKeepalive"),
];

impl Section {
    pub(crate) const ALL: [Self; 2] = [Self::Interface, Self::Peer];

    /// Finds a section by its header, without regard to case or to white space, also inside it.
    pub(crate) fn find(header: &str) -> Option<Self> {
        let known = |text: &str| {
            Self::ALL.into_iter().find(|section| text.eq_ignore_ascii_case(section.header()))
        };
        known(trim(header)).or_else(|| known(&without_blanks(header)))
    }

    /// The header as it is usually written.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Interface => "[Interface]",
            Self::Peer => "[Peer]",
        }
    }
}

impl SettingKey {
    /// Finds a setting by its spelling, without regard to case.
    ///
    /// wg(8) also ignores white space inside a name, wg-quick(8) only around it.
    pub(crate) fn find(text: &str, section: Section, dialect: Dialect) -> Option<Self> {
        let known = |name: &str, dialect| {
            KEYS.iter().find(|key| {
                key.1 == section
                    && key.2.is_part_of(dialect)
                    // Most names are spelt as in the manual, which is seen sooner.
                    && (name == key.3 || name.eq_ignore_ascii_case(key.3))
            })
        };
        let outside = trim(text);
        let mut found = known(outside, dialect);
        if found.is_none() && outside.contains(char::is_whitespace) {
            found = known(&without_blanks(outside), Dialect::Wg);
        }
        found.map(|key| key.0)
    }

    /// The spelling of the manual.
    pub(crate) fn name(self) -> &'static str {
        self.row().3
    }

    /// The spellings of all settings of a section, for a message.
    pub(crate) fn names(section: Section, dialect: Dialect) -> String {
        let known = KEYS.into_iter().filter(|key| key.1 == section && key.2.is_part_of(dialect));
        known.map(|key| key.3).collect::<Vec<_>>().join(", ")
    }

    /// Whether wg(8) reads it, so that white space anywhere in its value does not count.
    pub(crate) fn is_wg(self) -> bool {
        self.row().2 == Dialect::Wg
    }

    /// Whether the value is a command, in which `#` is no comment.
    pub(crate) fn is_hook(self) -> bool {
        matches!(self, Self::PreUp | Self::PostUp | Self::PreDown | Self::PostDown)
    }

    /// Whether the value must not appear in messages.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::PresharedKey)
    }

    fn row(self) -> &'static (Self, Section, Dialect, &'static str) {
        // KEYS has a row for each variant in the order of their declaration.
        &KEYS[self as usize]
    }
}

impl Dialect {
    fn is_part_of(self, whole: Self) -> bool {
        self == Self::Wg || whole == Self::WgQuick
    }
}

/// A hint for a name that is no setting of this section in this dialect.
pub(crate) fn suggest_key(text: &str, section: Section, dialect: Dialect) -> Option<String> {
    let text = without_blanks(text);
    let elsewhere = KEYS.into_iter().find(|key| text.eq_ignore_ascii_case(key.3));
    if let Some((_, home, owner, name)) = elsewhere {
        return Some(if owner.is_part_of(dialect) && home == section {
            format!("write it as `{name}'")
        } else if owner.is_part_of(dialect) {
            format!("`{name}' belongs in {}", home.header())
        } else {
            format!("`{name}' is a setting of wg-quick(8), not of wg(8)")
        });
    }
    let known = KEYS.into_iter().filter(|key| key.1 == section && key.2.is_part_of(dialect));
    closest(&text, known.map(|key| key.3))
}

/// A hint for a header that names no section.
pub(crate) fn suggest_section(text: &str) -> Option<String> {
    closest(&without_blanks(text), Section::ALL.into_iter().map(Section::header))
}

fn closest(text: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
    // The longest name has 19 characters; this bounds the work on a line of megabytes.
    if text.len() > 40 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    known
        .map(|name| (strsim::damerau_levenshtein(&text, &name.to_ascii_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5)
        .map(|(_, name)| format!("did you mean `{name}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_own_row() {
        for (key, section, _, name) in KEYS {
            assert_eq!(key.name(), name);
            assert_eq!(SettingKey::find(name, section, Dialect::WgQuick), Some(key));
        }
    }

    #[test]
    fn white_space_inside_a_name_is_only_for_wg() {
        let find = |text| SettingKey::find(text, Section::Interface, Dialect::WgQuick);
        assert_eq!(find(" listen Port"), Some(SettingKey::ListenPort));
        assert_eq!(find("\taddress "), Some(SettingKey::Address));
        assert_eq!(find("Add ress"), None);
    }

    #[test]
    fn hints() {
        let hint = |text| suggest_key(text, Section::Interface, Dialect::WgQuick);
        assert_eq!(hint("Adress").as_deref(), Some("did you mean `Address'?"));
        assert_eq!(hint("ListnePort").as_deref(), Some("did you mean `ListenPort'?"));
        assert_eq!(hint("allowedips").as_deref(), Some("`AllowedIPs' belongs in [Peer]"));
        assert_eq!(hint("Colour"), None);
        assert_eq!(
            suggest_key("MTU", Section::Interface, Dialect::Wg).as_deref(),
            Some("`MTU' is a setting of wg-quick(8), not of wg(8)")
        );
        assert_eq!(suggest_section("[Peers]").as_deref(), Some("did you mean `[Peer]'?"));
    }
}
