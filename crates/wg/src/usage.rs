//! The usage texts. They are the original's to the byte: completions and scripts are made from
//! them.

use crate::columns::COLUMNS;

/// The version of the original that this one behaves like, where scripts look for it, and ours.
pub(crate) const VERSION: &str =
    concat!("wireguard-tools v1.0.20260223 - Culvert ", env!("CARGO_PKG_VERSION"));

/// What `wg help` prints.
pub(crate) fn commands(program: &str) -> String {
    format!(
        "\
Usage: {program} <cmd> [<args>]

Available subcommands:
  show: Shows the current configuration and device information
  showconf: Shows the current configuration of a given WireGuard interface, for use with `setconf'
  set: Change the current configuration, add peers, remove peers, or change peers
  setconf: Applies a configuration file to a WireGuard interface
  addconf: Appends a configuration file to a WireGuard interface
  syncconf: Synchronizes a configuration file to a WireGuard interface
  genkey: Generates a new private key and writes it to stdout
  genpsk: Generates a new preshared key and writes it to stdout
  pubkey: Reads a private key from stdin and writes a public key to stdout
You may pass `--help' to any of these subcommands to view usage.
"
    )
}

pub(crate) fn show(program: &str) -> String {
    let columns = COLUMNS.join(" | ");
    format!("Usage: {program} show {{ <interface> | all | interfaces }} [{columns}]")
}

pub(crate) fn set(program: &str) -> String {
    format!(
        "Usage: {program} set <interface> [listen-port <port>] [fwmark <mark>] \
         [private-key <file path>] [peer <base64 public key> [remove] \
         [preshared-key <file path>] [endpoint <ip>:<port>] \
         [persistent-keepalive <interval seconds>] \
         [allowed-ips [+|-]<ip1>/<cidr1>[,[+|-]<ip2>/<cidr2>]...] ]..."
    )
}

pub(crate) fn showconf(program: &str) -> String {
    format!("Usage: {program} showconf <interface>")
}

/// Of `setconf`, `addconf` and `syncconf`.
pub(crate) fn conf(program: &str, command: &str) -> String {
    format!("Usage: {program} {command} <interface> <configuration filename>")
}

/// Of `genkey`, `genpsk` and `pubkey`.
pub(crate) fn without_arguments(program: &str, command: &str) -> String {
    format!("Usage: {program} {command}")
}
