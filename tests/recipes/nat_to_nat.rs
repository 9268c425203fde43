//! Two hosts behind routers, without a server between them.

use std::net::IpAddr;

use anyhow::Result;
use culvert_tests::ip;
use testbed::Host;

use crate::checks::Checks;
use crate::example;
use crate::internet::{Internet, Router};

const RECIPE: &str = "nat-to-nat";

/// Two hosts, each behind a router.
struct Sides {
    hosts: [Host; 2],
    routers: [Router; 2],
    /// The hosts' addresses in their routers' networks.
    lans: [[IpAddr; 2]; 2],
    _internet: Internet,
}

impl Sides {
    fn new() -> Result<Self> {
        let internet = Internet::new()?;
        let hosts = [example::host(RECIPE, "home")?, example::host(RECIPE, "office")?];
        let routers =
            [Router::new(&internet, "router-1", 1)?, Router::new(&internet, "router-2", 2)?];
        let [home, office] = &hosts;
        let lans = [routers[0].attach(home)?, routers[1].attach(office)?];
        let names = [("home", routers[0].public[0]), ("office", routers[1].public[0])];
        example::name(&[home, office], &names)?;
        Ok(Self { hosts, routers, lans, _internet: internet })
    }
}

fn inner(last: u8) -> [IpAddr; 2] {
    [ip(&format!("10.207.0.{last}")), ip(&format!("fd00:207::{last}"))]
}

#[test]
fn two_hosts_behind_routers_that_keep_ports_meet() -> Result<()> {
    let sides = Sides::new()?;
    let [home, office] = &sides.hosts;
    let mut checks = Checks::new("NAT to NAT");
    example::up(&[home])?;
    // While one side is silent, its router lets nothing in.
    checks.denied(home, &inner(2))?;
    example::up(&[office])?;
    checks.reaches(home, &inner(2))?;
    checks.reaches(office, &inner(1))?;
    for (target, source) in inner(2).into_iter().zip(inner(1)) {
        checks.seen_as(home, office, target, source)?;
    }
    for (router, lan) in sides.routers.iter().zip(&sides.lans) {
        checks.reaches(&router.host, lan)?;
    }
    checks.denied(home, &sides.lans[1])?;
    checks.denied(office, &sides.lans[0])?;
    checks.cannot_pose((home, inner(1)[0], ip("10.207.0.9")), (office, inner(2)[0]))?;
    example::down(&[home, office])?;
    checks.denied(office, &inner(1))?;
    checks.finish()
}

#[test]
fn two_hosts_behind_routers_that_change_ports_do_not_meet() -> Result<()> {
    let sides = Sides::new()?;
    for router in &sides.routers {
        router.choose_ports_by_chance()?;
    }
    let [home, office] = &sides.hosts;
    let mut checks = Checks::new("NAT to NAT, ports changed");
    example::up(&[home, office])?;
    // Both tunnels are up: it is the routers that keep them apart.
    checks.reaches(home, &inner(1))?;
    checks.reaches(office, &inner(2))?;
    checks.denied(home, &inner(2))?;
    checks.denied(office, &inner(1))?;
    checks.finish()
}
