//! `wg` against the table of cases, on our daemon. On the kernel's module they run among the tests
//! on that.

use anyhow::Result;
use culvert_tests::{Daemon, wg_complies};

#[test]
fn wg_does_what_the_original_does() -> Result<()> {
    wg_complies(Daemon::Ours, "")
}
