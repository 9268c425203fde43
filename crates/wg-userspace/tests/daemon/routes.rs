//! The route to a peer moves to another interface.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use testbed::{connect, eventually};
use wg_control::PeerUpdate;

use crate::pair::{Outside, Pair, WG, inner_v4, only, public_key};
use crate::{PATIENCE, uapi};

#[test]
fn the_source_address_follows_the_route() -> Result<()> {
    let pair = Pair::new(Outside::V4)?;
    connect(&pair.a, "eth1", &pair.b, "eth1")?;
    pair.a.add_address("eth1", "198.51.100.1/24")?;
    pair.b.add_address("eth1", "198.51.100.2/24")?;
    pair.b.add_address("lo", "203.0.113.2/32")?;
    pair.a.run("ip route add 203.0.113.2/32 via 192.0.2.2")?.success()?;
    let far = PeerUpdate {
        endpoint: Some(SocketAddr::new("203.0.113.2".parse()?, pair.endpoint(2).port())),
        ..PeerUpdate::new(public_key(2))
    };
    uapi::set(&pair.a, WG, &only(far))?;
    pair.ping()?;
    let seen = || -> Result<Option<IpAddr>> {
        Ok(uapi::peer(&pair.b, WG, &public_key(1))?.endpoint.map(|endpoint| endpoint.ip()))
    };
    ensure!(seen()? == Some("192.0.2.1".parse()?));
    // A change that does not concern the peer.
    pair.a.run("ip route add 203.0.113.9/32 via 198.51.100.2")?.success()?;
    pair.ping()?;
    ensure!(seen()? == Some("192.0.2.1".parse()?));
    pair.a.run("ip route replace 203.0.113.2/32 via 198.51.100.2")?.success()?;
    let moved = Some("198.51.100.1".parse()?);
    eventually("packets from the other address", PATIENCE, || {
        pair.a.ping(inner_v4(2)).ok()?;
        (seen().ok()? == moved).then_some(())
    })?;
    pair.ping()
}
