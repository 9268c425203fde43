//! What a configuration file says, typed.

use std::net::IpAddr;

use crate::{AllowedIp, AllowedIpChange, Endpoint, PresharedKey, PrivateKey, PublicKey};

/// A whole configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// All `[Interface]` sections, merged.
    pub interface: Interface,
    /// The `[Peer]` sections in the file's order; a public key may occur more than once.
    pub peers: Vec<Peer>,
}

/// The `[Interface]` section. `None` means that the file does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// `PrivateKey`.
    pub private_key: Option<PrivateKey>,
    /// `ListenPort`; 0 asks for any free port.
    pub listen_port: Option<u16>,
    /// `FwMark`; `off` and 0 are the same.
    pub fwmark: Option<u32>,
    /// `Address`, in order; without a prefix length the whole address.
    pub addresses: Vec<AllowedIp>,
    /// The IP addresses among the `DNS` values.
    pub dns: Vec<IpAddr>,
    /// The other `DNS` values.
    pub dns_search: Vec<String>,
    /// `MTU` in bytes.
    pub mtu: Option<u32>,
    /// `Table`.
    pub table: Table,
    /// `PreUp` commands as written, comments included.
    pub pre_up: Vec<String>,
    /// `PostUp` commands as written, comments included.
    pub post_up: Vec<String>,
    /// `PreDown` commands as written, comments included.
    pub pre_down: Vec<String>,
    /// `PostDown` commands as written, comments included.
    pub post_down: Vec<String>,
    /// `SaveConfig`.
    pub save_config: bool,
}

/// Where `wg-quick` puts routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Table {
    /// The main table, with policy routing for default routes.
    #[default]
    Auto,
    /// No routes at all.
    Off,
    /// A table by number.
    Id(u32),
    /// A table by its name in `rt_tables`.
    Name(String),
}

/// A `[Peer]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The text of a `# Name = …` comment directly under the header.
    pub name: Option<String>,
    /// `PublicKey`.
    pub public_key: PublicKey,
    /// `PresharedKey`; a key of zeros clears it.
    pub preshared_key: Option<PresharedKey>,
    /// `Endpoint`, not resolved.
    pub endpoint: Option<Endpoint>,
    /// `PersistentKeepalive` in seconds; 0 and `off` are the same.
    pub persistent_keepalive: Option<u16>,
    /// Whether the allowed IPs replace the peer's (all are without `+` or `-`).
    pub replace_allowed_ips: bool,
    /// `AllowedIPs`, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}
