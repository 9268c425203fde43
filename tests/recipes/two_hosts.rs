//! Server to server, and client to server.

use anyhow::Result;
use culvert_tests::ip;
use testbed::Host;

use crate::checks::Checks;
use crate::example;
use crate::internet::{Internet, Router, SITE};

#[test]
fn two_servers_reach_each_other_over_either_family() -> Result<()> {
    for (family, recipe) in ["server to server", "server to server over IPv6"].iter().enumerate() {
        let internet = Internet::new()?;
        let servers = [
            example::host("server-to-server", "server1")?,
            example::host("server-to-server", "server2")?,
        ];
        let [one, two] = &servers;
        let public = [internet.attach(one)?, internet.attach(two)?];
        let names = [("server1", public[0][family]), ("server2", public[1][family])];
        example::name(&[one, two], &names)?;
        example::up(&[one, two])?;

        let mut checks = Checks::new(recipe);
        let inner = |last: u8| [ip(&format!("10.200.0.{last}")), ip(&format!("fd00:200::{last}"))];
        checks.reaches(one, &inner(2))?;
        checks.reaches(two, &inner(1))?;
        let [v4, v6] = inner(2);
        checks.cannot_pose((two, v4, ip("10.200.0.9")), (one, inner(1)[0]))?;
        checks.cannot_pose((two, v6, ip("fd00:200::9")), (one, inner(1)[1]))?;
        // Whoever has the file but not the key gets no answer.
        let stranger = stranger(&internet, &names)?;
        checks.reaches(&stranger, &public[0])?;
        checks.denied(&stranger, &inner(1))?;
        example::down(&[one, two])?;
        checks.denied(one, &inner(2))?;
        checks.finish()?;
    }
    Ok(())
}

/// A host with the file of server2, and a key of its own.
fn stranger(internet: &Internet, names: &[(&str, std::net::IpAddr)]) -> Result<Host> {
    let stranger = Host::new("stranger")?;
    internet.attach(&stranger)?;
    example::name(&[&stranger], names)?;
    let file = std::fs::read_to_string(example::path("server-to-server/server2/wg0.conf"))?;
    let lines = file.lines().filter(|line| !line.starts_with("PrivateKey"));
    let key = stranger.run("wg genkey")?.success()?.stdout;
    let config = lines.collect::<Vec<_>>().join("\n");
    let config = config.replacen("[Interface]", &format!("[Interface]\nPrivateKey = {key}"), 1);
    stranger.write_file("/etc/wireguard/wg0.conf", config, 0o600)?;
    example::up(&[&stranger])?;
    Ok(stranger)
}

#[test]
fn a_client_behind_a_router_and_its_server_reach_each_other_at_any_time() -> Result<()> {
    let internet = Internet::new()?;
    let recipe = "client-to-server";
    let (client, server) = (example::host(recipe, "client")?, example::host(recipe, "server")?);
    let router = Router::new(&internet, "router", 1)?;
    let lan = router.attach(&client)?;
    let public = internet.attach(&server)?;
    example::name(&[&client], &[("server", public[0])])?;
    example::up(&[&server, &client])?;

    let mut checks = Checks::new("client to server");
    // The keepalive that the client sends first is what lets the server in.
    let (to_client, to_server) =
        ([ip("10.201.0.2"), ip("fd00:201::2")], [ip("10.201.0.1"), ip("fd00:201::1")]);
    checks.reaches(&server, &to_client)?;
    checks.reaches(&client, &to_server)?;
    // All else goes its own way.
    checks.seen_as(&client, &internet.host, ip(SITE[0]), router.public[0])?;
    checks.seen_as(&client, &internet.host, ip(SITE[1]), lan[1])?;
    checks.reaches(&client, &router.network(1))?;
    // The client's network is not the server's, with the tunnel or without.
    checks.reaches(&router.host, &lan)?;
    checks.denied(&server, &lan)?;
    checks.denied(&server, &router.network(1))?;
    checks.cannot_pose((&client, to_client[0], ip("10.201.0.3")), (&server, to_server[0]))?;
    example::down(&[&client])?;
    checks.denied(&server, &to_client)?;
    checks.denied(&client, &to_server)?;
    example::down(&[&server])?;
    checks.finish()
}
