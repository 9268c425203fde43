//! Whole-program tests: each `[[test]]` of this package runs the built programs in namespaces.
//!
//! This library holds what several of them share: daemons of either make, keys, and two hosts with
//! a cable between them.

mod compliance;
mod daemon;
mod pair;
mod shown;

pub use compliance::wg_complies;
pub use daemon::{Daemon, Keys, original_wg};
pub use pair::{OUTER_V4, OUTER_V6, Pair, ip, wait_for_sockets};
pub use shown::{
    changes_lead_to_the_same_device, configured, everything_is_shown_alike, rich_config,
    shown_alike,
};
