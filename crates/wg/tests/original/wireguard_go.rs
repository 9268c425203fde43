//! Both programs on the current wireguard-go.

use anyhow::Result;
use testbed::originals;

use crate::bench::{Bench, PRIVATE, PUBLIC};

const OTHER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const THIRD: &str = "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=";

fn bench() -> Result<Bench> {
    let bench = Bench::new()?;
    let go = originals::wireguard_go()?;
    bench.host.run(&format!("{} wg0", go.display()))?.success()?;
    bench.host.write_file("/run/key", PRIVATE, 0o600)?;
    Ok(bench)
}

#[test]
fn what_ours_sets_both_show() -> Result<()> {
    let bench = bench()?;
    let set = format!(
        "wg set wg0 listen-port 5555 fwmark 0xca6c private-key key \
         peer {PUBLIC} preshared-key key endpoint [2001:db8::1]:5 persistent-keepalive 25 \
         allowed-ips 10.0.0.0/8,fd00::/64 peer {OTHER} allowed-ips 0.0.0.0/0,::/0"
    );
    assert_eq!(bench.ours(&set)?.code, Some(0));
    let shown = bench.ours("wg show wg0")?.stdout;
    assert!(shown.contains("listening port: 5555") && shown.contains(OTHER), "{shown}");
    // wireguard-go has its peers in no order.
    bench.compare(&[
        "wg show wg0 | sort",
        "wg show all | sort",
        "wg show wg0 dump | sort",
        "wg show all dump | sort",
        "wg showconf wg0 | sort",
    ])
}

/// One host is changed by the original, another by ours; both must be the same after each step.
#[test]
fn a_sequence_of_changes_ends_in_the_same_state() -> Result<()> {
    let (original, ours) = (bench()?, bench()?);
    let files = [
        (
            "first.conf",
            format!(
                "[Interface]\nPrivateKey={PRIVATE}\nListenPort=5555\nFwMark=7\n\
                 [Peer]\nPublicKey={PUBLIC}\nPresharedKey={PRIVATE}\nAllowedIPs=10.0.0.0/8\n\
                 PersistentKeepalive=5\nEndpoint=192.0.2.1:5\n\
                 [Peer]\nPublicKey={OTHER}\nAllowedIPs=11.0.0.0/8,12.0.0.0/8\n"
            ),
        ),
        (
            "second.conf",
            format!(
                "[Interface]\nPrivateKey={PRIVATE}\nListenPort=5556\n\
                 [Peer]\nPublicKey={PUBLIC}\nAllowedIPs=10.0.0.0/8,12.0.0.0/8\n\
                 [Peer]\nPublicKey={THIRD}\nAllowedIPs=11.0.0.0/8\nEndpoint=192.0.2.3:5\n"
            ),
        ),
        ("third.conf", format!("[Peer]\nPublicKey={OTHER}\nAllowedIPs=13.0.0.0/8\n")),
        ("none.conf", "[Interface]\nListenPort=5557\n".to_owned()),
    ];
    for (path, text) in files {
        original.host.write_file(&format!("/run/{path}"), &text, 0o600)?;
        ours.host.write_file(&format!("/run/{path}"), text, 0o600)?;
    }
    for change in [
        "setconf wg0 first.conf",
        "syncconf wg0 second.conf",
        "syncconf wg0 second.conf",
        "addconf wg0 third.conf",
        &format!("set wg0 peer {THIRD} allowed-ips +14.0.0.0/8,-11.0.0.0/8"),
        &format!("set wg0 peer {PUBLIC} remove"),
        &format!("set wg0 fwmark 9 peer {OTHER} endpoint [fe80::1%lo]:7"),
        "syncconf wg0 first.conf",
        "setconf wg0 second.conf",
        "syncconf wg0 none.conf",
    ] {
        let line = format!("wg {change}");
        assert_eq!(ours.ours(&line)?, original.original(&line)?, "{change}");
        assert_eq!(state(&ours)?, state(&original)?, "after {change}");
    }
    Ok(())
}

/// What the original says of `wg0`, sorted.
fn state(bench: &Bench) -> Result<Vec<String>> {
    let text = bench.original("wg show wg0 dump")?.stdout;
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}
