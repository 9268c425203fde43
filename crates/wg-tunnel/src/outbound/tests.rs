//! Who stands in for a worker that sleeps, without any thread of a tunnel.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use testbed::{Host, eventually};
use wg_noise::LocalStatic;

use super::*;
use crate::allowed_ips::AllowedIp;
use crate::lanes::Lanes;
use crate::link::LinkWatch;
use crate::offloads::Offloads;
use crate::tun::Tun;
use crate::update::{AllowedIpChange, PeerUpdate, Secret, Update};

const PATIENCE: Duration = Duration::from_secs(20);
const OFFLOADS: Offloads = Offloads { tun: false, gso: false, gro: false };
const HERE: &str = "10.9.0.1";
const THERE: &str = "10.9.0.2";

/// Runs a test on a host of its own, with an interface, a peer, and no thread that forwards.
fn with_engine(test: impl FnOnce(&Arc<Engine>, &Peer) + Send) {
    let host = Host::new("lone").unwrap();
    host.in_network(|| {
        let tun = Tun::create("wg0", OFFLOADS, Lanes::ONE).unwrap();
        let link = LinkWatch::open(&tun).unwrap();
        let engine = Arc::new(Engine::new(tun, OFFLOADS, Lanes::ONE, link).unwrap());
        let ip = AllowedIp::new(THERE.parse().unwrap(), 32).unwrap();
        let public_key = *LocalStatic::new(&[2; 32]).public_key();
        let peer = PeerUpdate {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: Some("192.0.2.1:9".parse().unwrap()),
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: vec![AllowedIpChange { ip, remove: false }],
        };
        let private_key = Some(Secret::from([1; 32]));
        engine.apply(Update { private_key, peers: vec![peer], ..Update::default() }).unwrap();
        let configuration = engine.configuration();
        let peer = configuration.peers[&public_key].peer.clone();
        drop(configuration);
        host.add_address("wg0", &format!("{HERE}/24")).unwrap();
        host.set_up("wg0").unwrap();
        test(&engine, &peer);
    });
}

/// The host sends a packet into the tunnel.
fn send_packet() {
    UdpSocket::bind((HERE, 0)).unwrap().send_to(b"answer", (THERE, 9)).unwrap();
}

#[test]
fn who_stands_in_reads_only_while_the_worker_sleeps() {
    with_engine(|engine, peer| {
        let outbound = engine.outbound(0);
        send_packet();
        outbound.stand_in(engine);
        assert!(!peer.noise.has_staged(), "the worker is about to read it");
        *outbound.asleep.lock().unwrap() = Some(Batch::new(0));
        outbound.stand_in(engine);
        assert!(peer.noise.has_staged());
        assert!(outbound.asleep.lock().unwrap().is_some(), "the worker finds its batch again");
    });
}

#[test]
fn who_stands_in_waits_for_what_was_read_before() {
    with_engine(|engine, peer| {
        let outbound = engine.outbound(0);
        // Another worker still seals its batch.
        let before = outbound.turns.reader().turn();
        *outbound.asleep.lock().unwrap() = Some(Batch::new(0));
        send_packet();
        let (order, came) = mpsc::channel();
        thread::scope(|scope| {
            let stood_in = order.clone();
            scope.spawn(move || {
                outbound.stand_in(engine);
                stood_in.send("the packet").unwrap();
            });
            eventually("the packet to be read", PATIENCE, || peer.noise.has_staged().then_some(()))
                .unwrap();
            // Nobody else waits for who has the batch.
            outbound.stand_in(engine);
            order.send("what was read before").unwrap();
            drop(before);
        });
        assert_eq!(came.try_iter().collect::<Vec<_>>(), ["what was read before", "the packet"]);
    });
}

#[test]
fn nobody_stands_in_for_a_worker_that_has_ended() {
    with_engine(|engine, peer| {
        let outbound = engine.outbound(0);
        engine.begin_stop();
        assert!(outbound.sleep(engine, Batch::new(0)).is_none());
        send_packet();
        outbound.stand_in(engine);
        assert!(!peer.noise.has_staged());
    });
}

#[test]
fn a_batch_that_somebody_panicked_with_is_not_used_again() {
    with_engine(|engine, _| {
        let outbound = engine.outbound(0);
        *outbound.asleep.lock().unwrap() = Some(Batch::new(0));
        thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _batch = outbound.asleep.lock().unwrap();
                // Not the hook, which would print it.
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(panics.join().is_err());
        });
        send_packet();
        assert!(outbound.sleep(engine, Batch::new(0)).is_none());
    });
}
