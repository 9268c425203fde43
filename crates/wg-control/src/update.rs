//! From a configuration file to a change.

use std::iter;
use std::net::SocketAddr;

use wg_config::{Config, Endpoint, KEY_LEN, Peer, PresharedKey, PrivateKey};

use crate::{DeviceUpdate, PeerUpdate};

impl DeviceUpdate {
    /// Adds what a file says to an interface: what it does not say stays (`wg addconf`).
    ///
    /// # Errors
    /// The first error of `resolve`, which turns an endpoint into an address.
    pub fn adding<E>(
        mut config: Config,
        mut resolve: impl FnMut(&Endpoint) -> Result<SocketAddr, E>,
    ) -> Result<Self, E> {
        let keys = take_preshared_keys(&mut config.peers);
        let keys = keys.iter().map(Option::as_ref).chain(iter::repeat(None));
        // The updates take the place of the peers in memory.
        let peers = config.peers.into_iter().zip(keys);
        let peers = peers.map(|(peer, key)| peer_update(peer, key.cloned(), &mut resolve));
        let peers = peers.collect::<Result<_, _>>()?;
        Ok(Self {
            private_key: config.interface.private_key,
            listen_port: config.interface.listen_port,
            fwmark: config.interface.fwmark,
            replace_peers: false,
            peers,
        })
    }

    /// Makes an interface what a file says: what it does not say is cleared (`wg setconf`).
    ///
    /// # Errors
    /// The first error of `resolve`, which turns an endpoint into an address.
    pub fn replacing<E>(
        config: Config,
        resolve: impl FnMut(&Endpoint) -> Result<SocketAddr, E>,
    ) -> Result<Self, E> {
        let mut update = Self::adding(config, resolve)?;
        update.private_key.get_or_insert_with(|| PrivateKey::from([0; KEY_LEN]));
        update.listen_port.get_or_insert(0);
        update.fwmark.get_or_insert(0);
        update.replace_peers = true;
        Ok(update)
    }
}

/// The peers' preshared keys, or an empty list if no peer has one. Zeros are left in their place:
/// what is moved stays in memory as well, and updates in the place of peers, being smaller, do not
/// cover all of it.
fn take_preshared_keys(peers: &mut [Peer]) -> Vec<Option<PresharedKey>> {
    if peers.iter().all(|peer| peer.preshared_key.is_none()) {
        return Vec::new();
    }
    let take = |peer: &mut Peer| {
        let place = peer.preshared_key.as_mut()?;
        let key = place.clone();
        *place = PresharedKey::from([0; KEY_LEN]);
        Some(key)
    };
    peers.iter_mut().map(take).collect()
}

fn peer_update<E>(
    peer: Peer,
    preshared_key: Option<PresharedKey>,
    resolve: &mut impl FnMut(&Endpoint) -> Result<SocketAddr, E>,
) -> Result<PeerUpdate, E> {
    Ok(PeerUpdate {
        preshared_key,
        endpoint: peer.endpoint.as_ref().map(resolve).transpose()?,
        persistent_keepalive: peer.persistent_keepalive,
        replace_allowed_ips: peer.replace_allowed_ips,
        allowed_ips: peer.allowed_ips,
        ..PeerUpdate::new(peer.public_key)
    })
}

#[cfg(test)]
mod tests {
    use wg_config::{AllowedIp, AllowedIpChange, Interface};

    use super::*;
    use crate::uapi;

    fn config() -> Config {
        let peer = wg_config::Peer {
            name: None,
            public_key: [2; KEY_LEN].into(),
            preshared_key: None,
            endpoint: Some(Endpoint::new("host", "5")),
            persistent_keepalive: Some(7),
            replace_allowed_ips: true,
            allowed_ips: vec![AllowedIpChange::from(
                AllowedIp::new("10.0.0.0".parse().unwrap(), 8).unwrap(),
            )],
        };
        let interface = Interface { fwmark: Some(6), ..Interface::default() };
        Config { interface, peers: vec![peer] }
    }

    fn text(update: &DeviceUpdate) -> String {
        let mut text = Vec::new();
        uapi::write_set(&mut text, update).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn found(_: &Endpoint) -> Result<SocketAddr, ()> {
        Ok("192.0.2.1:5".parse().unwrap())
    }

    /// As the original sends it for `wg addconf`.
    #[test]
    fn adding_leaves_alone_what_the_file_does_not_say() {
        let update = DeviceUpdate::adding(config(), found).unwrap();
        let expected = format!(
            "set=1\nfwmark=6\npublic_key={}\nendpoint=192.0.2.1:5\n\
             persistent_keepalive_interval=7\nreplace_allowed_ips=true\n\
             allowed_ip=10.0.0.0/8\n\n",
            "02".repeat(KEY_LEN)
        );
        assert_eq!(text(&update), expected);
    }

    /// As the original sends it for `wg setconf`.
    #[test]
    fn replacing_clears_what_the_file_does_not_say() {
        let update = DeviceUpdate::replacing(Config::default(), found).unwrap();
        let expected = format!(
            "set=1\nprivate_key={}\nlisten_port=0\nfwmark=0\nreplace_peers=true\n\n",
            "00".repeat(KEY_LEN)
        );
        assert_eq!(text(&update), expected);
        let update = DeviceUpdate::replacing(config(), found).unwrap();
        assert_eq!((update.fwmark, update.replace_peers), (Some(6), true));
    }

    /// Another list would be thousands of pages that the kernel has to clear.
    #[test]
    fn the_changes_take_the_place_of_the_peers() {
        let config = Config { peers: vec![config().peers.remove(0); 16], ..Config::default() };
        let place = config.peers.as_ptr().cast::<PeerUpdate>();
        assert_eq!(DeviceUpdate::adding(config, found).unwrap().peers.as_ptr(), place);
    }

    #[test]
    fn preshared_keys_are_wiped_where_they_were() {
        let mut peers = vec![config().peers.remove(0); 3];
        assert!(take_preshared_keys(&mut peers).is_empty());
        peers[1].preshared_key = Some([7; KEY_LEN].into());
        let expected = [None, peers[1].preshared_key.clone(), None];
        let update =
            DeviceUpdate::adding(Config { peers: peers.clone(), ..Config::default() }, found);
        let given = update.unwrap().peers.into_iter().map(|peer| peer.preshared_key);
        assert_eq!(given.collect::<Vec<_>>(), expected);

        assert_eq!(take_preshared_keys(&mut peers), expected);
        let left = peers.iter().filter_map(|peer| peer.preshared_key.as_ref());
        assert_eq!(left.collect::<Vec<_>>(), [&PresharedKey::from([0; KEY_LEN])]);
    }

    #[test]
    fn an_endpoint_that_does_not_resolve_ends_it() {
        assert_eq!(DeviceUpdate::adding(config(), |_| Err("no")), Err("no"));
    }
}
