//! A server in the middle, and laptops and phones behind routers around it.

use anyhow::Result;
use culvert_tests::ip;

use crate::checks::Checks;
use crate::example;
use crate::internet::{self, Internet, Router, SITE};

const RECIPE: &str = "full-star";
const POINTS: [&str; 3] = ["laptop1", "laptop2", "phone"];

#[test]
fn every_point_of_the_star_reaches_every_other_through_the_server() -> Result<()> {
    let net = Internet::new()?;
    let bounce = example::host(RECIPE, "bounce")?;
    let public = net.attach(&bounce)?;
    let mut points = Vec::new();
    let mut routers = Vec::new();
    let mut lans = Vec::new();
    for (name, number) in POINTS.into_iter().zip(1..) {
        let point = example::host(RECIPE, name)?;
        let router = Router::new(&net, &format!("router-{number}"), number)?;
        lans.push(router.attach(&point)?);
        example::name(&[&point], &[("bounce", public[0])])?;
        routers.push(router);
        points.push(point);
    }
    // Telephone networks translate like this.
    routers[2].choose_ports_by_chance()?;
    let mut hosts = vec![&bounce];
    hosts.extend(&points);
    example::up(&hosts)?;

    let mut checks = Checks::new("full star");
    let inner = |host: usize| {
        [ip(&format!("10.204.0.{}", host + 1)), ip(&format!("fd00:204::{}", host + 1))]
    };
    // The server first: only the keepalives of the points have opened the way for it.
    for from in 0..hosts.len() {
        for to in (0..hosts.len()).filter(|to| *to != from) {
            checks.reaches(hosts[from], &inner(to))?;
        }
    }
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        for (target, source) in inner(to).into_iter().zip(inner(from)) {
            checks.seen_as(hosts[from], hosts[to], target, source)?;
        }
    }
    for (point, router) in points.iter().zip(&routers) {
        checks.seen_as(point, &net.host, ip(SITE[0]), router.public[0])?;
    }
    // Nobody gets at what lies around a point, or at a point but through the server.
    for (router, lan) in routers.iter().zip(&lans) {
        checks.reaches(&router.host, lan)?;
        checks.reaches(&router.host, &router.network(1))?;
    }
    for (from, to) in [(1, 1), (2, 2), (3, 0)] {
        checks.denied(hosts[from], &lans[to])?;
        checks.denied(hosts[from], &routers[to].network(1))?;
        checks.denied(&bounce, &lans[to])?;
    }
    checks.cannot_pose((&points[2], inner(3)[0], inner(1)[0]), (&bounce, inner(0)[0]))?;
    checks.cannot_pose((&points[2], inner(3)[1], inner(1)[1]), (&points[1], inner(2)[1]))?;

    // The phone leaves for another network; the first packet from there tells the server.
    let cafe = Router::new(&net, "cafe", 4)?;
    internet::detach(&points[2])?;
    cafe.attach(&points[2])?;
    checks.reaches(&points[2], &inner(1))?;
    checks.reaches(&points[0], &inner(3))?;
    checks.seen_as(&points[2], &net.host, ip(SITE[0]), cafe.public[0])?;

    example::down(&[&bounce])?;
    checks.denied(&points[0], &inner(2))?;
    checks.denied(&points[1], &inner(3))?;
    example::down(&hosts[1..])?;
    checks.finish()
}
