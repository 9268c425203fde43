//! The two clocks of the engine.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use wg_noise::Instant;

/// The time since boot, suspended time included: a session must expire while the machine sleeps.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had this clock since 2.6");
    Instant::from_nanos(Duration::from(time).as_nanos() as u64)
}

/// The wall clock, since the Unix epoch.
pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
