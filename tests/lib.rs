//! Whole-program tests: each `[[test]]` of this package runs the built programs in namespaces.
//!
//! This library holds what several of them share: daemons of all makes, keys, two hosts with a cable
//! between them, and what such a pair is tried with.

mod compliance;
mod daemon;
pub mod interop_matrix;
mod pair;
mod shown;

pub use compliance::wg_complies;
pub use daemon::{Daemon, Keys, original_wg};
pub use pair::{OUTER_V4, OUTER_V6, Pair, ip, wait_for_sockets};
pub use shown::{
    changes_lead_to_the_same_device, configured, everything_is_shown_alike, rich_config,
    shown_alike,
};
