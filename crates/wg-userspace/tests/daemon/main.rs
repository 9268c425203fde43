//! The daemon in network namespaces: from its start to its end, and what it forwards between.

mod clients;
mod failures;
mod faults;
mod flood;
mod inherited;
mod injected_errors;
mod interop;
mod lifetime;
mod pair;
mod privileges;
mod reconfiguration;
mod routes;
mod scale;
mod traffic;
mod uapi;

use std::time::Duration;

/// How long to wait for what must happen soon.
const PATIENCE: Duration = Duration::from_secs(20);
