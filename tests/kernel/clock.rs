//! The wall clock is set back and forward while a tunnel runs. The module remembers the latest
//! timestamp of each peer and refuses a handshake whose timestamp does not rise.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use culvert_tests::{Daemon, OUTER_V4, Pair};
use testbed::{Host, eventually, vm};

const MINUTES: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(60);
const DAY: i64 = 24 * 3600;
const DISCARD: u16 = 9;

/// Sets the guest's clock right again for the tests to come.
struct Steps(i64);

#[test]
fn handshakes_go_on_when_the_clock_is_set() -> Result<()> {
    vm::test_within(MINUTES, || {
        let pair = Pair::start(Daemon::Ours, Daemon::Kernel, OUTER_V4)?;
        let mut steps = Steps(0);
        shake_hands(&pair)?;
        for seconds in [-DAY, 2 * DAY, -2 * DAY] {
            have_the_last_word(&pair)?;
            steps.step(seconds)?;
            shake_hands(&pair)?;
        }
        Ok(())
    })
}

/// Ours sends a packet that nobody answers. After a reply of its own the module would wait for more,
/// and in the end begin the handshake itself.
fn have_the_last_word(pair: &Pair) -> Result<()> {
    let [from, to] = [pair.initiator_addresses()[0], pair.responder_addresses()[0]];
    let sink = pair.responder.in_network(|| UdpSocket::bind((to, DISCARD)))?;
    sink.set_read_timeout(Some(PATIENCE))?;
    let source = pair.initiator.in_network(|| UdpSocket::bind((from, 0)))?;
    source.send_to(b"x", (to, DISCARD))?;
    let mut buffer = [0; 2];
    ensure!(sink.recv(&mut buffer)? == 1, "something else came");
    Ok(())
}

/// Ours forgets its session, so that only a new handshake brings a reply.
fn shake_hands(pair: &Pair) -> Result<()> {
    let host: &Host = &pair.initiator;
    host.run("ip link set wg0 down")?.success()?;
    host.set_up("wg0")?;
    let [address, _] = pair.responder_addresses();
    eventually("a reply", PATIENCE, || (host.ping(address).ok()?.received() > 0).then_some(()))
}

impl Steps {
    fn step(&mut self, seconds: i64) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().cast_signed();
        let output = Command::new("date").arg("-s").arg(format!("@{}", now + seconds)).output()?;
        ensure!(output.status.success(), "{output:?}");
        self.0 += seconds;
        Ok(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let _ = self.step(-self.0);
    }
}
