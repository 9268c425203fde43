//! A client whose whole traffic goes through its server.

use anyhow::{Result, ensure};
use culvert_tests::ip;
use testbed::NameServer;

use crate::checks::Checks;
use crate::example;
use crate::internet::{Internet, Router, SITE};

const RECIPE: &str = "full-internet-browsing";

#[test]
fn nothing_of_the_client_takes_another_way() -> Result<()> {
    let internet = Internet::new()?;
    let (client, server) = (example::host(RECIPE, "client")?, example::host(RECIPE, "server")?);
    let router = Router::new(&internet, "router", 1)?;
    let lan = router.attach(&client)?;
    let public = internet.attach(&server)?;
    example::name(&[&client], &[("server", public[0])])?;
    example::up(&[&server, &client])?;
    // What the router passes on besides the tunnel, counted.
    router.rules(&format!(
        "table inet besides {{
            chain forward {{
                type filter hook forward priority -10;
                iifname \"lan\" oifname \"eth0\" ip daddr != {} counter
                iifname \"lan\" oifname \"eth0\" meta nfproto ipv6 counter
            }}
        }}",
        public[0]
    ))?;

    let mut checks = Checks::new("full internet browsing");
    let site = SITE.map(ip);
    let to_server = [ip("10.202.0.1"), ip("fd00:202::1")];
    checks.reaches(&client, &to_server)?;
    checks.reaches(&client, &site)?;
    for (target, source) in site.iter().zip(public) {
        checks.seen_as(&client, &internet.host, *target, source)?;
    }
    checks.reaches(&client, &router.network(1))?;
    checks.reaches(&server, &[ip("10.202.0.2"), ip("fd00:202::2")])?;

    // Look-ups go to the server, also of names without a dot.
    let names = NameServer::start(&server, to_server[0], SITE[0].parse()?)?;
    for (asked, looked_up) in
        [("shop", "shop.home.example"), ("www.site.example", "www.site.example")]
    {
        let found = client.run(&format!("getent ahostsv4 {asked}"))?.success()?.stdout;
        ensure!(found.starts_with(SITE[0]), "{asked}: {found}");
        let question = names.question(looked_up)?;
        ensure!(question == ip("10.202.0.2"), "{asked} was asked for by {question}");
    }

    // Without the server there is no way out, rather than another one.
    example::down(&[&server])?;
    checks.denied(&client, &site)?;
    ensure!(passed(&router)? == [0, 0], "the router passed packets besides the tunnel");
    example::down(&[&client])?;
    for (target, source) in site.iter().zip([router.public[0], lan[1]]) {
        checks.seen_as(&client, &internet.host, *target, source)?;
    }
    ensure!(!passed(&router)?.contains(&0), "the router's counters count");
    checks.finish()
}

/// The counters of the packets that the router passed on besides the tunnel, by family.
fn passed(router: &Router) -> Result<Vec<u64>> {
    let listed = router.host.run("nft list table inet besides")?.success()?.stdout;
    let counts = listed.split("counter packets ").skip(1);
    Ok(counts.filter_map(|text| text.split(' ').next()?.parse().ok()).collect())
}
