//! Test hosts, the original tools, and what tests measure between hosts.
//!
//! A [`Host`] is a machine of its own as far as the network is concerned: network, mount, process
//! and host name namespaces with private `/run`, `/etc/wireguard`, `/etc/hosts` and
//! `/etc/resolv.conf`. Everything in it ends when it is dropped, also when the test panics or is
//! killed, and nothing of it is ever named on the real machine, but for a control
//! group that a test makes for it, and has to remove.
//!
//! [`originals`] unpacks the current `wg`, `wg-quick` and `wireguard-go`, the oracles; [`daemons`]
//! builds boringtun and gotatun. [`memory`] tells what is left of a secret.

pub mod daemons;
pub mod debian;
pub mod documents;
mod host;
mod init;
mod join;
pub mod memory;
mod name_server;
mod netlink;
mod network;
pub mod originals;
pub mod packages;
mod ping;
pub mod privileges;
pub mod programs;
pub mod report;
mod run;
mod snapshot;
mod transfer;
pub mod vm;

pub use host::{Host, Process};
pub use name_server::NameServer;
pub use network::connect;
pub use ping::{Ping, PingReport};
pub use run::{Output, eventually, run};
pub use snapshot::Snapshot;
pub use transfer::{Amount, Transfer, tcp_transfer};
