//! `cargo xtask bench …`: how fast the programs are.

mod flood;
mod quick;
mod tunnel;
mod wg;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// A TCP stream through a tunnel whose port is flooded with handshake messages.
    Flood(flood::Options),
    /// `wg-quick up` of thousands of peers with a route each, and `strip`, beside the original.
    Quick,
    /// `wg` with 100,000 peers, and how fast it starts, beside the original.
    Wg,
    /// The userspace daemons against each other, through a tunnel on this machine.
    Tunnel(tunnel::Options),
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Flood(options) => flood::run(options),
        Bench::Quick => quick::run(),
        Bench::Wg => wg::run(),
        Bench::Tunnel(options) => tunnel::run(options),
    }
}
