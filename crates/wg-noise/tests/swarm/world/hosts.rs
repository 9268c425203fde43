//! What hosts do, as an engine would.

use std::time::Duration;

use wg_noise::{
    IncomingInitiation, MacState, Message, REJECT_AFTER_TIME, REKEY_TIMEOUT, TRANSPORT_HEADER_LEN,
    TRANSPORT_OVERHEAD, Tai64n, Wanted, padded_len,
};

use super::{Action, Host, HostId, Link, MTU, World, address, text};

impl World {
    pub(super) fn ring(&mut self, host: HostId, remote: HostId) {
        let awake = self.hosts[host].asleep_until;
        if awake > self.now {
            self.push(awake, Action::Timer { host, remote });
            return;
        }
        let now = self.now;
        let link = self.link_mut(host, remote);
        // One that was entered for an earlier deadline has come before.
        if link.scheduled.is_none_or(|at| at > now) {
            return;
        }
        link.scheduled = None;
        let wanted = link.peer.poll(now);
        self.obey(host, remote, wanted);
        let next = self.peer(host, remote).deadline();
        assert!(next.is_none_or(|at| at > now), "a timer that stays due");
    }

    fn schedule(&mut self, host: HostId, remote: HostId) {
        let link = self.link_mut(host, remote);
        let deadline = link.peer.deadline();
        if let Some(at) = deadline
            && link.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            link.scheduled = Some(at);
            self.push(at, Action::Timer { host, remote });
        }
    }

    /// Does what a peer asked for, as an engine would.
    pub(super) fn obey(&mut self, host: HostId, remote: HostId, wanted: Wanted) {
        if wanted.initiation {
            self.initiate(host, remote);
        }
        let staged = if wanted.staged { self.peer(host, remote).take_staged() } else { Vec::new() };
        if staged.is_empty() && wanted.keepalive {
            self.send_batch(host, remote, &[Box::default()]);
        }
        if !staged.is_empty() {
            self.send_batch(host, remote, &staged);
        }
        self.schedule(host, remote);
    }

    pub(super) fn send_batch(&mut self, host: HostId, remote: HostId, packets: &[Box<[u8]>]) {
        let lost: u64 = if self.chance(self.weather.outage) { 1 << self.below(15) } else { 0 };
        let taken = lost + packets.len() as u64;
        let (now, peer) = (self.now, self.peer(host, remote));
        let Some(reservation) = peer.reserve(taken, now) else {
            packets
                .iter()
                .filter(|packet| !packet.is_empty())
                .for_each(|packet| peer.stage(packet));
            self.initiate(host, remote);
            self.schedule(host, remote);
            return;
        };
        let keypair = &reservation.keypair;
        self.with_session(host, keypair.local_index(), |session| {
            assert_eq!(session.remote, remote, "sealed with another peer's key");
            let age = now.since(session.born.expect("a key of an open handshake was used"));
            assert!(age < REJECT_AFTER_TIME, "sealed under a key of {age:?}");
            assert!(session.confirmed, "sealed before the other side was known to have the key");
            assert_eq!(reservation.first, session.next_counter, "a counter is used once, in order");
            session.next_counter += taken;
        });
        for (counter, packet) in (reservation.first + lost..).zip(packets) {
            let mut message = vec![0; padded_len(packet.len(), MTU) + TRANSPORT_OVERHEAD];
            message[TRANSPORT_HEADER_LEN..][..packet.len()].copy_from_slice(packet);
            keypair.seal(counter, &mut message);
            self.transmit(host, remote, &message);
        }
        let data = packets.iter().any(|packet| !packet.is_empty());
        let wanted = self.peer(host, remote).sent(keypair, data, now);
        self.obey(host, remote, wanted);
    }

    fn initiate(&mut self, host: HostId, remote: HostId) {
        if !self.peer(host, remote).may_initiate(self.now) {
            return;
        }
        let index = self.new_index(host, remote);
        let wall = Tai64n::from_unix(self.unix());
        let Host { local, links, .. } = &self.hosts[host];
        let message = links[&remote].peer.initiate(local, index, self.now, wall, &mut self.rng);
        let message = message.expect("it may initiate, and all keys are good");
        let now = self.now;
        let link = self.link_mut(host, remote);
        let before = link.last_initiation.replace(now);
        let gap = before.map_or(Duration::MAX, |before| now.since(before));
        assert!(gap >= REKEY_TIMEOUT, "initiations {gap:?} apart");
        self.transmit(host, remote, &message);
        self.schedule(host, remote);
    }

    pub(super) fn receive(
        &mut self,
        host: HostId,
        from: HostId,
        mut datagram: Vec<u8>,
        intact: bool,
    ) {
        match Message::parse(&datagram) {
            Some(Message::Initiation(_) | Message::Response(_)) => {
                let state = self.hosts[host].checker.check(&datagram, address(from), self.now);
                let under_load = self.hosts[host].under_load;
                match state {
                    MacState::Invalid => assert!(!intact, "mac1 of an intact message"),
                    MacState::Mac1 if under_load => {
                        let checker = &self.hosts[host].checker;
                        let source = address(from);
                        let reply = checker.reply(&datagram, source, self.now, &mut self.rng);
                        self.transmit(host, from, &reply);
                    }
                    MacState::Mac1 | MacState::Mac2 => {
                        self.receive_handshake(host, &datagram, intact);
                    }
                }
            }
            Some(Message::CookieReply(message)) => {
                let receiver = u32::from_le_bytes([message[4], message[5], message[6], message[7]]);
                if let Some(remote) = self.owner(host, receiver) {
                    let _ = self.peer(host, remote).consume_cookie_reply(message, self.now);
                }
            }
            Some(Message::Transport { receiver, counter }) => {
                self.receive_transport(host, receiver, counter, &mut datagram, intact);
            }
            None => assert!(!intact, "an intact message was not understood"),
        }
    }

    fn receive_handshake(&mut self, host: HostId, datagram: &[u8], intact: bool) {
        match Message::parse(datagram) {
            Some(Message::Initiation(message)) => {
                let Host { local, links, .. } = &self.hosts[host];
                let Ok(opened) = IncomingInitiation::open(local, message) else { return };
                let is_sender = |link: &Link| link.peer.public_key() == opened.public_key();
                let remote = *links.iter().find(|(_, link)| is_sender(link)).expect("a peer").0;
                let index = self.new_index(host, remote);
                let value = index.value();
                let Host { local, links, .. } = &self.hosts[host];
                let peer = &links[&remote].peer;
                let response =
                    peer.consume_initiation(local, opened, index, self.now, &mut self.rng);
                if let Ok(response) = response {
                    assert!(intact, "a forged initiation was answered");
                    let ephemeral = *message[8..].first_chunk().expect("32 bytes");
                    let answered = &mut self.link_mut(host, remote).answered;
                    assert!(answered.insert(ephemeral), "an initiation was answered twice");
                    let now = self.now;
                    self.with_session(host, value, |session| session.born = Some(now));
                    self.transmit(host, remote, &response);
                }
                self.schedule(host, remote);
            }
            Some(Message::Response(message)) => {
                let receiver =
                    u32::from_le_bytes([message[8], message[9], message[10], message[11]]);
                let Some(remote) = self.owner(host, receiver) else { return };
                let (now, unix) = (self.now, self.unix());
                let Host { local, links, .. } = &self.hosts[host];
                let peer = &links[&remote].peer;
                if let Ok(wanted) = peer.consume_response(local, message, now, unix) {
                    assert!(intact, "a forged response ended a handshake");
                    self.with_session(host, receiver, |session| {
                        session.born = Some(now);
                        session.confirmed = true;
                    });
                    self.obey(host, remote, wanted);
                }
            }
            _ => unreachable!("only handshake messages come here"),
        }
    }

    fn receive_transport(
        &mut self,
        host: HostId,
        receiver: u32,
        counter: u64,
        datagram: &mut [u8],
        intact: bool,
    ) {
        let Some(remote) = self.owner(host, receiver) else { return };
        let (now, unix) = (self.now, self.unix());
        let Some(keypair) = self.peer(host, remote).keypair(receiver, now) else { return };
        let Ok(plaintext) = keypair.open(counter, datagram) else {
            assert!(!intact, "an intact message was refused");
            return;
        };
        assert!(intact, "a forged message was opened");
        let born = self.with_session(host, receiver, |session| {
            session.confirmed = true;
            session.born
        });
        let age = now.since(born.expect("a key of an open handshake was used"));
        assert!(age < REJECT_AFTER_TIME, "opened under a key of {age:?}");
        let mut fresh = [true];
        keypair.accept(&[counter], &mut fresh);
        if fresh == [false] {
            return;
        }
        let data = !plaintext.is_empty();
        if let Some((number, rest)) = plaintext.split_first_chunk() {
            let number = usize::try_from(u64::from_le_bytes(*number)).unwrap();
            let packet = &mut self.packets[number];
            assert_eq!((packet.from, packet.to), (remote, host), "packet {number}: wrong name");
            assert!(!packet.delivered, "packet {number} came twice");
            packet.delivered = true;
            let expected = text(number);
            assert_eq!(rest[..expected.len() - 8], expected[8..], "packet {number} was changed");
        }
        let wanted = self.peer(host, remote).received(&keypair, data, now, unix);
        self.obey(host, remote, wanted);
    }
}
