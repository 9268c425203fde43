//! The example set-ups whose files hold all keys parse, and the hosts of each know one another.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use wg_config::{Config, Dialect, read, strip};

const SETUPS: [(&str, &[&str]); 7] = [
    ("server-to-server", &["server1", "server2"]),
    ("client-to-server", &["client", "server"]),
    ("full-internet-browsing", &["client", "server"]),
    ("lan-bridging", &["site-a", "site-b", "site-c"]),
    ("full-star", &["bounce", "laptop1", "laptop2", "phone"]),
    ("nat-to-nat", &["home", "office"]),
    ("dynamic-addresses", &["away", "home"]),
];

#[test]
fn the_peers_of_every_example_are_the_other_hosts_of_its_set_up() {
    for (setup, expected) in SETUPS {
        let hosts = load(setup);
        assert_eq!(hosts.keys().map(String::as_str).collect::<Vec<_>>(), expected);
        for (host, config) in &hosts {
            assert!(!config.peers.is_empty(), "{setup}/{host}");
            for peer in &config.peers {
                let name = peer.name.as_deref().unwrap();
                let other = &hosts[name];
                assert_ne!(name, host);
                let key = other.interface.private_key.as_ref().unwrap().public_key();
                assert_eq!(peer.public_key, key, "{setup}/{host}: {name}");

                // The other end knows this host, with the same preshared key.
                let own = config.interface.private_key.as_ref().unwrap().public_key();
                let back = other.peers.iter().find(|peer| peer.public_key == own).unwrap();
                assert_eq!(back.preshared_key, peer.preshared_key);

                // One of the two can call: by the other's name, at the port it listens on.
                assert!(peer.endpoint.is_some() || back.endpoint.is_some());
                if let Some(endpoint) = &peer.endpoint {
                    let port = other.interface.listen_port.unwrap();
                    assert_eq!(endpoint.to_string(), format!("{name}.example:{port}"));
                }

                // What the other host calls itself is allowed to come from it.
                for address in &other.interface.addresses {
                    assert!(
                        peer.allowed_ips.iter().any(|change| {
                            let ip = change.ip;
                            let same = wg_config::AllowedIp::new(address.address(), ip.cidr());
                            ip.address().is_ipv4() == address.address().is_ipv4()
                                && same.is_ok_and(|same| same.masked() == ip)
                        }),
                        "{setup}/{host}: {name} has {address}"
                    );
                }
            }
        }
    }
}

fn load(setup: &str) -> BTreeMap<String, Config> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(setup);
    let hosts = std::fs::read_dir(&folder).unwrap();
    hosts
        .map(|host| {
            let host = host.unwrap();
            let file = host.path().join("wg0.conf");
            let text = std::fs::read(&file).unwrap();
            let parsed = read(&file.to_string_lossy(), &text, Dialect::WgQuick, |_| None).unwrap();
            assert_eq!(parsed.warnings, [], "{}", file.display());
            assert!(read("stripped", &strip(&text).unwrap(), Dialect::Wg, |_| None).is_ok());
            (host.file_name().into_string().unwrap(), parsed.config)
        })
        .collect()
}
