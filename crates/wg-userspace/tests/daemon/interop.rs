//! Against wireguard-go, each as the initiator.

use anyhow::{Context, Result};
use testbed::{Amount, originals, tcp_transfer};

use crate::PATIENCE;
use crate::pair::{Outside, Pair, inner_v4, inner_v6};

#[test]
fn as_the_initiator_over_ipv4() -> Result<()> {
    works("wg-userspace", &wireguard_go()?, Outside::V4)
}

#[test]
fn as_the_initiator_over_ipv6() -> Result<()> {
    works("wg-userspace", &wireguard_go()?, Outside::V6)
}

#[test]
fn as_the_responder_over_ipv4() -> Result<()> {
    works(&wireguard_go()?, "wg-userspace", Outside::V4)
}

#[test]
fn as_the_responder_over_ipv6() -> Result<()> {
    works(&wireguard_go()?, "wg-userspace", Outside::V6)
}

fn works(a: &str, b: &str, outside: Outside) -> Result<()> {
    let pair = Pair::with_daemons(a, b, outside)?;
    pair.ping()?;
    let amount = Amount::Bytes(64 << 20);
    tcp_transfer(&pair.a, &pair.b, inner_v4(2), amount, PATIENCE)?;
    tcp_transfer(&pair.b, &pair.a, inner_v4(1), amount, PATIENCE)?;
    tcp_transfer(&pair.a, &pair.b, inner_v6(2), amount, PATIENCE)?;
    tcp_transfer(&pair.b, &pair.a, inner_v6(1), amount, PATIENCE)?;
    Ok(())
}

fn wireguard_go() -> Result<String> {
    let path = originals::wireguard_go()?;
    path.to_str().map(str::to_owned).context("a path that is text")
}
