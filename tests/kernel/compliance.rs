//! The table of what `wg` does, on the kernel's module. What does not touch an interface, the
//! command line and keys, is the same on any backend, and tried on our daemon.

use std::time::Duration;

use anyhow::Result;
use culvert_tests::{Daemon, wg_complies};
use testbed::vm;

/// For the largest sections on a busy machine: every program starts on an emulated processor.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn syncconf_on_the_module() -> Result<()> {
    vm::test_within(LIMIT, || wg_complies(Daemon::Kernel, "Syncconf"))
}

#[test]
fn addconf_on_the_module() -> Result<()> {
    vm::test_within(LIMIT, || wg_complies(Daemon::Kernel, "Addconf"))
}

#[test]
fn set_on_the_module() -> Result<()> {
    vm::test_within(LIMIT, || wg_complies(Daemon::Kernel, "Set: "))
}

#[test]
fn setconf_on_the_module() -> Result<()> {
    vm::test_within(LIMIT, || wg_complies(Daemon::Kernel, "Setconf"))
}

#[test]
fn show_on_the_module() -> Result<()> {
    vm::test_within(LIMIT, || wg_complies(Daemon::Kernel, "Show"))
}
