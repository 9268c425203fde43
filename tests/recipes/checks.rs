//! Who reaches whom, and who does not.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::report::{self, Entry};
use testbed::{Host, Ping};

/// What was found out about one recipe.
///
/// That a host does not reach an address says little when either is dead: each must be seen alive
/// in another check of the same recipe, which [`Checks::finish`] sees to.
#[must_use]
pub(crate) struct Checks {
    recipe: &'static str,
    reached: usize,
    denied: Vec<(String, IpAddr)>,
    /// Hosts that reached something.
    senders: BTreeSet<String>,
    /// Addresses that somebody reached.
    targets: BTreeSet<IpAddr>,
}

/// For a handshake that is lost and tried again after five seconds, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 15;
/// Many times what a reply takes here, and no loss when it takes longer: then what should be denied
/// is not found out this once.
const DENIAL: Ping =
    Ping { count: 2, payload: 56, patience: Duration::from_millis(250), pause: Duration::ZERO };

impl Checks {
    pub(crate) fn new(recipe: &'static str) -> Self {
        let (senders, targets) = (BTreeSet::new(), BTreeSet::new());
        Self { recipe, reached: 0, denied: Vec::new(), senders, targets }
    }

    /// `from` has replies from each of `targets`.
    pub(crate) fn reaches(&mut self, from: &Host, targets: &[IpAddr]) -> Result<()> {
        for target in targets {
            let ping = Ping { count: 1, patience: PATIENCE, ..Ping::default() };
            let mut answered = false;
            for _ in 0..ATTEMPTS {
                answered = from.ping_with(*target, ping)?.received() == 1;
                if answered {
                    break;
                }
            }
            ensure!(answered, "{}: {} does not reach {target}", self.recipe, from.name());
            self.found(from, *target);
        }
        Ok(())
    }

    /// `from` has a reply from none of `targets`.
    pub(crate) fn denied(&mut self, from: &Host, targets: &[IpAddr]) -> Result<()> {
        // Each waits in vain; all at once wait no longer than one.
        let reached = thread::scope(|scope| {
            let ping = |target: IpAddr| {
                // Where there is no way at all, sending fails at once.
                move || from.ping_with(target, DENIAL).is_ok_and(|report| report.received() > 0)
            };
            let pings: Vec<_> = targets.iter().map(|target| scope.spawn(ping(*target))).collect();
            pings.into_iter().map(|ping| ping.join().unwrap_or(true)).collect::<Vec<_>>()
        });
        for (target, reached) in targets.iter().zip(reached) {
            ensure!(!reached, "{}: {} reaches {target}", self.recipe, from.name());
            self.denied.push((from.name().to_owned(), *target));
        }
        Ok(())
    }

    /// `from` reaches `target`, an address of `to`, which sees it come from `source`.
    pub(crate) fn seen_as(
        &mut self,
        from: &Host,
        to: &Host,
        target: IpAddr,
        source: IpAddr,
    ) -> Result<()> {
        let listener = to.in_network(|| TcpListener::bind((target, 0)))?;
        let address = listener.local_addr()?;
        let limit = PATIENCE * 15;
        let stream = from.in_network(|| TcpStream::connect_timeout(&address, limit));
        let _stream =
            stream.with_context(|| format!("{}: {} to {target}", self.recipe, from.name()))?;
        let seen = listener.accept()?.1.ip();
        ensure!(seen == source, "{}: {} is seen as {seen}, not {source}", self.recipe, from.name());
        self.found(from, target);
        Ok(())
    }

    /// What `from` sends to `target`, an address of `to`, arrives when it comes from `own`, and not
    /// when it comes from `foreign`, which is another peer's.
    pub(crate) fn cannot_pose(
        &mut self,
        (from, own, foreign): (&Host, IpAddr, IpAddr),
        (to, target): (&Host, IpAddr),
    ) -> Result<()> {
        let address = format!("{foreign}/{}", if foreign.is_ipv4() { 32 } else { 128 });
        from.add_address("lo", &address)?;
        let receiver = to.in_network(|| UdpSocket::bind((target, 0)))?;
        receiver.set_read_timeout(Some(PATIENCE * 15))?;
        let place = receiver.local_addr()?;
        // One way, so the forged one would arrive first.
        for (source, text) in [(foreign, "forged"), (own, "honest")] {
            let socket = from.in_network(|| UdpSocket::bind((source, 0)))?;
            socket.send_to(text.as_bytes(), place)?;
        }
        let mut buffer = [0; 16];
        let (length, sender) = receiver
            .recv_from(&mut buffer)
            .with_context(|| format!("{}: {own} to {target}", self.recipe))?;
        ensure!(
            &buffer[..length] == b"honest" && sender.ip() == own,
            "{}: {} poses as {foreign} towards {target}",
            self.recipe,
            from.name()
        );
        from.run(&format!("ip address del {address} dev lo"))?.success()?;
        self.found(from, target);
        self.denied.push((from.name().to_owned(), target));
        Ok(())
    }

    /// Checks that whoever was denied anything is alive, and tells the counts.
    pub(crate) fn finish(self) -> Result<()> {
        for (sender, target) in &self.denied {
            ensure!(self.senders.contains(sender), "{}: {sender} reaches nothing", self.recipe);
            ensure!(self.targets.contains(target), "{}: nobody reaches {target}", self.recipe);
        }
        let name = self.recipe.to_owned();
        report::add(&Entry::Recipe { name, reached: self.reached, denied: self.denied.len() })
    }

    fn found(&mut self, from: &Host, target: IpAddr) {
        self.reached += 1;
        self.senders.insert(from.name().to_owned());
        self.targets.insert(target);
    }
}
