//! A host whose public address changes, and one that moves.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use culvert_tests::ip;
use testbed::Host;

use crate::checks::Checks;
use crate::example;
use crate::internet::{self, Internet, Router};

const RECIPE: &str = "dynamic-addresses";

#[test]
fn a_tunnel_follows_addresses_that_change() -> Result<()> {
    let net = Internet::new()?;
    let (home, away) = (example::host(RECIPE, "home")?, example::host(RECIPE, "away")?);
    let first = net.attach(&home)?;
    let router = Router::new(&net, "router", 1)?;
    router.attach(&away)?;
    let hosts_file = away.read_file("/etc/hosts")?;
    let rename = |address: IpAddr| {
        away.write_file("/etc/hosts", format!("{hosts_file}{address} home.example\n"), 0o644)
    };
    rename(first[0])?;
    example::up(&[&home, &away])?;

    let mut checks = Checks::new("dynamic addresses");
    let (to_home, to_away) =
        ([ip("10.208.0.1"), ip("fd00:208::1")], [ip("10.208.0.2"), ip("fd00:208::2")]);
    checks.reaches(&away, &to_home)?;
    checks.reaches(&home, &to_away)?;

    // The host on the road moves: nothing has to be done.
    let cafe = Router::new(&net, "cafe", 2)?;
    internet::detach(&away)?;
    cafe.attach(&away)?;
    checks.reaches(&away, &to_home)?;
    checks.reaches(&home, &to_away)?;

    // The host at home gets another address: it is found again by its name.
    internet::detach(&home)?;
    let second = net.attach(&home)?;
    ensure!(first != second, "another address");
    checks.denied(&away, &to_home)?;
    rename(second[0])?;
    checks.denied(&away, &to_home)?;
    let before = received(&away)?;
    look_up_again(&away)?;
    ensure!(before > 0 && received(&away)? >= before, "the peer is kept");
    checks.reaches(&away, &to_home)?;
    checks.reaches(&home, &to_away)?;
    example::down(&[&home, &away])?;
    checks.finish()
}

/// The bytes that have come from the peer since it was added.
fn received(host: &Host) -> Result<u64> {
    let transfer = host.run("wg show wg0 transfer")?.success()?.stdout;
    Ok(transfer.split_whitespace().nth(1).context("no peer")?.parse()?)
}

/// Runs the command of the recipe's service, as systemd would.
fn look_up_again(host: &Host) -> Result<()> {
    let unit = fs::read_to_string(example::path(&format!("{RECIPE}/away/wg-endpoints@.service")))?;
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/bin/bash -c '"));
    let command = command.and_then(|command| command.strip_suffix('\'')).context("a command")?;
    let mut bash = host.command("/bin/bash");
    host.run_command(bash.args(["-c", &command.replace("%i", "wg0")]), "")?.success()?;
    Ok(())
}
