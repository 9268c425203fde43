//! `cargo xtask bench …`: how fast the programs are.

mod quick;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// `wg-quick up` of thousands of peers with a route each, and `strip`, beside the original.
    Quick,
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Quick => quick::run(),
    }
}
