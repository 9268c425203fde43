//! WireGuard keys, prefixes, endpoints and configuration files: text to typed model and back.
//!
//! Text only: nothing here opens a file or a socket, or resolves a name.

mod allowed_ip;
mod endpoint;
mod key;
mod model;

pub use allowed_ip::{AllowedIp, AllowedIpChange, CidrError};
pub use endpoint::Endpoint;
pub use key::{KEY_LEN, KEY_TEXT_LEN, KeyTextError, PresharedKey, PrivateKey, PublicKey};
pub use model::{Config, Interface, Peer, Table};
