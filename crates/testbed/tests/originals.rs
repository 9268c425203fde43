//! The originals are there and are the current ones.

use anyhow::Result;
use testbed::{Host, originals, packages};

#[test]
fn originals_start_inside_a_host() -> Result<()> {
    packages::ensure(&["iproute2", "bash"])?;
    let host = Host::new("oracle")?;
    let wg = host.run(&format!("{} --version", originals::wg()?.display()))?.success()?;
    assert!(wg.stdout.starts_with("wireguard-tools v1.0.2026"), "{wg}");
    let go = host.run(&format!("{} --version", originals::wireguard_go()?.display()))?.success()?;
    assert!(go.stdout.starts_with("wireguard-go "), "{go}");
    let quick = host.run(&format!("{} up nothing", originals::wg_quick()?.display()))?.code(1)?;
    assert!(quick.stderr.contains("`/etc/wireguard/nothing.conf' does not exist"), "{quick}");
    Ok(())
}
