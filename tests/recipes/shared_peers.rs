//! One file of peers for all hosts.

use std::fs;

use anyhow::{Result, ensure};
use culvert_tests::ip;

use crate::checks::Checks;
use crate::example;
use crate::internet::Internet;

const RECIPE: &str = "shared-peers";
const HOSTS: [&str; 3] = ["east", "west", "south"];
const PEERS: &str = "/etc/wireguard/peers.conf";

#[test]
fn one_file_joins_all_hosts_and_admits_more() -> Result<()> {
    let internet = Internet::new()?;
    let peers = fs::read_to_string(example::path(&format!("{RECIPE}/peers.conf")))?;
    let (mut hosts, mut public) = (Vec::new(), Vec::new());
    for name in HOSTS {
        let host = example::host(RECIPE, name)?;
        host.write_file(PEERS, &peers, 0o600)?;
        public.push(internet.attach(&host)?[0]);
        hosts.push(host);
    }
    let hosts: Vec<_> = hosts.iter().collect();
    let names: Vec<_> = HOSTS.into_iter().zip(public).collect();
    example::name(&hosts, &names)?;
    example::up(&hosts)?;

    let mut checks = Checks::new("shared peers");
    let inner = |host: usize| {
        [ip(&format!("10.206.0.{}", host + 1)), ip(&format!("fd00:206::{}", host + 1))]
    };
    for (from, host) in hosts.iter().enumerate() {
        let known = host.run("wg show wg0 peers")?.success()?.stdout;
        ensure!(known.lines().count() == HOSTS.len() - 1, "{known} are not all but itself");
        for to in (0..hosts.len()).filter(|to| *to != from) {
            checks.reaches(host, &inner(to))?;
        }
    }

    // A fourth host, the same file and its own key: let in by whoever has read the new file.
    let north = testbed::Host::new("north")?;
    internet.attach(&north)?;
    example::name(&[&north], &names)?;
    let key = north.run("wg genkey")?.success()?.stdout;
    let public_key = north.run_with_input("wg pubkey", &key)?.success()?.stdout;
    let own = fs::read_to_string(example::path(&format!("{RECIPE}/east/wg0.conf")))?;
    let lines = own.lines().map(|line| match line.split_once(" = ") {
        Some(("Address", _)) => "Address = 10.206.0.4/24, fd00:206::4/64".to_owned(),
        Some(("PrivateKey", _)) => format!("PrivateKey = {key}"),
        _ => line.to_owned(),
    });
    north.write_file("/etc/wireguard/wg0.conf", lines.collect::<Vec<_>>().join("\n"), 0o600)?;
    let entry = format!(
        "\n[Peer]\n# Name = north\nPublicKey = {public_key}AllowedIPs = 10.206.0.4/32, fd00:206::4/128\n"
    );
    let all = peers + &entry;
    north.write_file(PEERS, &all, 0o600)?;
    example::up(&[&north])?;
    checks.denied(&north, &inner(0))?;
    hosts[0].write_file(PEERS, &all, 0o600)?;
    hosts[0].run(&format!("wg addconf wg0 {PEERS}"))?.success()?;
    checks.reaches(&north, &inner(0))?;
    checks.reaches(hosts[0], &inner(3))?;
    checks.denied(&north, &inner(1))?;
    checks.reaches(hosts[1], &inner(0))?;
    checks.cannot_pose((&north, inner(3)[0], inner(1)[0]), (hosts[0], inner(0)[0]))?;
    example::down(&hosts)?;
    example::down(&[&north])?;
    checks.finish()
}
