//! Three sites whose networks are joined by their gateways.

use anyhow::Result;
use culvert_tests::ip;
use testbed::Host;

use crate::checks::Checks;
use crate::example;
use crate::internet::{Internet, Router, SITE};

const RECIPE: &str = "lan-bridging";
const SITES: [&str; 3] = ["site-a", "site-b", "site-c"];

#[test]
fn every_host_of_three_sites_reaches_every_other_under_its_own_address() -> Result<()> {
    let internet = Internet::new()?;
    let mut gateways = Vec::new();
    let mut computers = Vec::new();
    for (name, number) in SITES.into_iter().zip(1..) {
        let gateway = Router::of(example::host(RECIPE, name)?, &internet, number)?;
        gateway.open_tunnel_port()?;
        let computer = Host::new(&format!("computer-{number}"))?;
        gateway.attach(&computer)?;
        // The site's private IPv6 network; all beyond it is behind the gateway already.
        gateway.host.add_address("lan", &format!("fd00:203:{number}::1/64"))?;
        computer.add_address("eth0", &format!("fd00:203:{number}::2/64"))?;
        gateways.push(gateway);
        computers.push(computer);
    }
    let hosts: Vec<_> = gateways.iter().map(|gateway| &gateway.host).collect();
    let names = SITES.into_iter().zip(gateways.iter().map(|gateway| gateway.public[0]));
    example::name(&hosts, &names.collect::<Vec<_>>())?;
    example::up(&hosts)?;

    let mut checks = Checks::new("LAN bridging of three sites");
    let of_computer =
        |site: usize| [ip(&format!("192.168.{site}.2")), ip(&format!("fd00:203:{site}::2"))];
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        let (computer, gateway) = (&computers[from - 1], hosts[from - 1]);
        checks.reaches(computer, &of_computer(to))?;
        checks.reaches(computer, &[ip(&format!("192.168.{to}.1"))])?;
        checks.reaches(gateway, &of_computer(to))?;
        checks
            .reaches(gateway, &[ip(&format!("10.203.0.{to}")), ip(&format!("fd00:203::{to}"))])?;
        for (target, source) in of_computer(to).into_iter().zip(of_computer(from)) {
            checks.seen_as(computer, &computers[to - 1], target, source)?;
        }
    }
    // The rest of the world is reached directly, and does not reach the sites.
    for (computer, gateway) in computers.iter().zip(&gateways) {
        checks.seen_as(computer, &internet.host, ip(SITE[0]), gateway.public[0])?;
    }
    checks.reaches(&internet.host, &[ip(SITE[0])])?;
    checks.denied(&internet.host, &[of_computer(1), of_computer(2), of_computer(3)].concat())?;
    // One site cannot pose as another towards the third.
    let honest = of_computer(2);
    let posing = [ip("192.168.3.77"), ip("fd00:203:3::77")];
    for ((own, foreign), target) in honest.into_iter().zip(posing).zip(of_computer(1)) {
        checks.cannot_pose((&computers[1], own, foreign), (&computers[0], target))?;
    }
    // A site whose tunnel is down is cut off, and the others go on.
    example::down(&[hosts[2]])?;
    checks.denied(&computers[0], &of_computer(3))?;
    checks.denied(&computers[2], &of_computer(1))?;
    checks.reaches(&computers[0], &of_computer(2))?;
    example::down(&hosts[..2])?;
    checks.finish()
}
