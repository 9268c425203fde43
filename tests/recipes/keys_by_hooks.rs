//! Keys that hooks bring, from files and from a command.

use std::fs;

use anyhow::{Context, Result, ensure};
use culvert_tests::ip;

use crate::checks::Checks;
use crate::example;
use crate::internet::Internet;

const RECIPE: &str = "keys-by-hooks";

#[test]
fn keys_come_from_files_and_commands_and_are_nowhere_else() -> Result<()> {
    let internet = Internet::new()?;
    let (client, server) = (example::host(RECIPE, "client")?, example::host(RECIPE, "server")?);
    let public = internet.attach(&server)?;
    internet.attach(&client)?;
    example::name(&[&client], &[("server", public[0])])?;
    example::up(&[&server])?;

    // Without its keys the client's tunnel does not come up, and leaves nothing.
    let before = client.snapshot()?;
    client.run("wg-quick up wg0")?.code(1)?;
    ensure!(!client.interfaces()?.contains(&"wg0".to_owned()), "the interface is gone again");
    ensure!(before.topic("ip addr") == client.snapshot()?.topic("ip addr"), "nothing is left");

    client.run("mkdir /run/keys")?.success()?;
    for name in ["wg0.key", "wg0.psk"] {
        let secret = fs::read(example::path(&format!("{RECIPE}/client/run/keys/{name}")))?;
        client.write_file(&format!("/run/keys/{name}"), secret, 0o600)?;
    }
    example::up(&[&client])?;

    let mut checks = Checks::new("keys by hooks");
    let (to_client, to_server) =
        ([ip("10.205.0.2"), ip("fd00:205::2")], [ip("10.205.0.1"), ip("fd00:205::1")]);
    checks.reaches(&client, &to_server)?;
    checks.reaches(&server, &to_client)?;
    // The preshared key is part of it: with another one there is no new session.
    let peer = server.run("wg show wg0 peers")?.success()?.stdout;
    let peer = peer.trim();
    let other = server.run("wg genpsk")?.success()?.stdout;
    server.write_file("/etc/wireguard/client.psk", other, 0o600)?;
    example::down(&[&client, &server])?;
    example::up(&[&server, &client])?;
    checks.denied(&client, &to_server)?;
    let key = fs::read(example::path(&format!("{RECIPE}/server/client.psk")))?;
    let set = format!("wg set wg0 peer {peer} preshared-key /dev/stdin");
    server.run_with_input(&set, key)?.success()?;
    checks.reaches(&client, &to_server)?;
    // The journals keep the commands, not what these have set.
    for host in [&client, &server] {
        let journal = host.run_with_input("sh -s", "cat /run/wg-quick/*")?.success()?.stdout;
        ensure!(journal.contains("wg0"), "{journal}");
        for what in ["private-key", "preshared-keys"] {
            let keys = host.run(&format!("wg show wg0 {what}"))?.success()?.stdout;
            let key = keys.split_whitespace().last().context("a key")?;
            ensure!(!journal.contains(key), "{what}: {journal}");
        }
    }
    example::down(&[&client, &server])?;
    checks.finish()
}
