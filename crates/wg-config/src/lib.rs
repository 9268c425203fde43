//! WireGuard keys, prefixes, endpoints and configuration files: text to typed model and back.
//!
//! Text only: nothing here opens a file or a socket, or resolves a name.

mod address_text;
mod allowed_ip;
mod blanks;
mod diagnostic;
mod document;
mod endpoint;
mod key;
mod lexer;
mod model;
mod quote;
mod reader;
mod setting;
mod strip;
pub mod value;
mod writeback;

pub use address_text::AddressText;
pub use allowed_ip::{AllowedIp, AllowedIpChange, CidrError};
pub use diagnostic::{ConfigErrors, Diagnostic, Severity};
pub use endpoint::Endpoint;
pub use key::{KEY_LEN, KEY_TEXT_LEN, KeyTextError, PresharedKey, PrivateKey, PublicKey};
pub use model::{Config, Interface, Peer, Table};
pub use reader::{Parsed, read};
pub use setting::Dialect;
pub use strip::{quick_settings, strip};
pub use writeback::rewrite;
