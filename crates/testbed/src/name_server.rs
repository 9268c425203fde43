//! A name server that answers every question with one address.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Host;

/// A running name server.
#[derive(Debug)]
pub struct NameServer {
    questions: Receiver<(String, IpAddr)>,
}

impl NameServer {
    /// Serves port 53 of `address` on `host`; every name has the IPv4 address `answer`.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(host: &Host, address: IpAddr, answer: Ipv4Addr) -> Result<Self> {
        let socket = host
            .in_network(|| UdpSocket::bind((address, 53)))
            .with_context(|| format!("{} cannot serve names on {address}", host.name()))?;
        let (sender, questions) = channel();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                let Some((name, reply)) = reply(&packet[..length], answer) else { continue };
                if sender.send((name, client.ip())).is_err() {
                    return;
                }
                let _ = socket.send_to(&reply, client);
            }
        });
        Ok(Self { questions })
    }

    /// Who asked for `name`; questions before that one are forgotten.
    ///
    /// # Errors
    /// When nobody asks within seconds.
    pub fn question(&self, name: &str) -> Result<IpAddr> {
        loop {
            let question = self.questions.recv_timeout(Duration::from_secs(10));
            let (asked, client) = question.with_context(|| format!("nobody asked for {name}"))?;
            if asked == name {
                return Ok(client);
            }
        }
    }
}

/// The name asked for, and the reply (RFC 1035): the address for questions of type A, nothing for
/// others.
fn reply(query: &[u8], answer: Ipv4Addr) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    let mut labels = Vec::new();
    let mut place = HEADER;
    loop {
        let length = usize::from(*query.get(place)?);
        place += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(place..place + length)?).into_owned());
        place += length;
    }
    let kind = query.get(place..place + 2)?;
    let answers = u8::from(kind == [0, 1]);
    let mut reply = query[..2].to_vec();
    // A response without error, recursion available; one question, no other sections.
    reply.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(query.get(HEADER..place + 4)?);
    if answers == 1 {
        // The question's name, type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(answer.octets());
    }
    Some((labels.join("."), reply))
}
