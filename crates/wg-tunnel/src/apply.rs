//! Changing the configuration: everything that can fail first, then the change as a whole.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use nix::errno::Errno;
use wg_noise::{CookieChecker, Instant, LocalStatic, PresharedKey, PublicKey, Wanted};

use crate::allowed_ips::AllowedIp;
use crate::allowed_ips_snapshots::{Draft, Replaced};
use crate::clock;
use crate::configuration::{Configuration, ConfiguredPeer, OwnedIps};
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Identity, Owner};
use crate::keyed_hash::KeyedHash;
use crate::peer::Peer;
use crate::sockets::Sockets;
use crate::update::{ApplyError, PeerUpdate, Secret, Update};

/// Kernel: `MAX_PEERS_PER_DEVICE`.
const MAX_PEERS: usize = 1 << 20;

/// What an update has taken out of use: nothing works with it any more, and it has no session.
///
/// Dropping it takes time in proportion to what it holds, for which nobody has to wait.
#[derive(Default)]
pub struct Removed {
    peers: Vec<(Arc<Peer>, OwnedIps)>,
    _allowed_ips: Option<Replaced<Owner>>,
}

impl Engine {
    /// Applies an update as a whole, in the kernel's order: port and mark, removal of all peers,
    /// private key, peers.
    pub(crate) fn apply(&self, update: Update) -> Result<Removed, ApplyError> {
        let mut configuration = self.configuration_mut();
        check_peer_count(&configuration, &update)?;
        let sockets = self.prepare_sockets(&configuration, &update)?;
        // The port was taken when the link came up.
        let was_unbound = sockets.is_some() && self.sockets.load().is_none();
        // From here on nothing fails.
        self.commit_sockets(&mut configuration, &update, sockets);
        let mut change = Change {
            engine: self,
            configuration: &mut configuration,
            allowed_ips: None,
            removed: Removed::default(),
            wanted: Vec::new(),
            now: clock::now(),
        };
        if update.replace_peers {
            change.remove_all(update.peers.len());
        }
        if let Some(key) = update.private_key {
            change.set_private_key(key);
        }
        for peer in update.peers {
            change.update_peer(peer);
        }
        let Change { allowed_ips, mut removed, wanted, now, .. } = change;
        removed._allowed_ips = allowed_ips.map(|draft| self.allowed_ips.publish(draft));
        removed.peers.iter().for_each(|(peer, _)| peer.remove());
        let link_up = configuration.link_up;
        let waiting = if was_unbound { configuration.waiting_peers() } else { Vec::new() };
        drop(configuration);
        self.resume(&waiting);
        if link_up {
            wanted.iter().for_each(|(peer, wanted)| self.fulfil(peer, *wanted, now));
        }
        Ok(removed)
    }

    /// Does what an update's port and mark need and can fail; leaves the old sockets in use.
    fn prepare_sockets(
        &self,
        configuration: &Configuration,
        update: &Update,
    ) -> Result<Option<Sockets>, ApplyError> {
        let port = update.listen_port.unwrap_or(configuration.listen_port);
        let fwmark = update.fwmark.unwrap_or(configuration.fwmark);
        let same_port = port == configuration.listen_port;
        if !configuration.link_up {
            // Bound when the link comes up, when there is no one to tell of an error: try now.
            if !same_port || fwmark != configuration.fwmark {
                self.bind_sockets(port, fwmark)?;
            }
            return Ok(None);
        }
        match self.sockets.load().as_deref() {
            Some(sockets) if same_port => {
                if fwmark != configuration.fwmark
                    && let Err(errno) = sockets.set_fwmark(fwmark)
                {
                    // One of the two may have taken it.
                    let _ = sockets.set_fwmark(configuration.fwmark);
                    return Err(ApplyError::Mark(errno));
                }
                Ok(None)
            }
            None if update.listen_port.is_none() => Ok(None),
            _ => self.bind_sockets(port, fwmark).map(Some),
        }
    }

    fn commit_sockets(
        &self,
        configuration: &mut Configuration,
        update: &Update,
        sockets: Option<Sockets>,
    ) {
        let before = (configuration.listen_port, configuration.fwmark);
        configuration.fwmark = update.fwmark.unwrap_or(configuration.fwmark);
        configuration.listen_port = update.listen_port.unwrap_or(configuration.listen_port);
        if let Some(sockets) = sockets {
            self.bind(configuration, sockets);
        }
        if before != (configuration.listen_port, configuration.fwmark) {
            configuration.peers.values().for_each(|configured| configured.peer.clear_source());
        }
    }

    pub(crate) fn bind_sockets(&self, port: u16, fwmark: u32) -> Result<Sockets, ApplyError> {
        Sockets::bind(port, fwmark, self.offloads, self.lanes).map_err(|errno| match errno {
            Errno::EPERM => ApplyError::Mark(errno),
            _ => ApplyError::Bind { port, errno },
        })
    }

    /// Uses new sockets in place of the old.
    pub(crate) fn bind(&self, configuration: &mut Configuration, sockets: Sockets) {
        log::debug!("UDP port {} is bound", sockets.port());
        configuration.listen_port = sockets.port();
        let sockets = Arc::new(sockets);
        self.sockets.store(Some(sockets.clone()));
        self.receivers.turn_to(Some(sockets));
    }

    /// Lets go of the sockets; the port is remembered.
    pub(crate) fn unbind(&self, _locked: &mut Configuration) {
        self.sockets.store(None);
        self.receivers.turn_to(None);
    }
}

impl Removed {
    /// How many peers are no more.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }
}

fn check_peer_count(configuration: &Configuration, update: &Update) -> Result<(), ApplyError> {
    let present = if update.replace_peers { 0 } else { configuration.peers.len() };
    if present + update.peers.len() <= MAX_PEERS {
        return Ok(());
    }
    let named: HashSet<_> = update.peers.iter().map(|peer| peer.public_key).collect();
    let known = configuration.peers.keys().filter(|key| named.contains(key)).count();
    let known = if update.replace_peers { 0 } else { known };
    if present + named.len() - known <= MAX_PEERS { Ok(()) } else { Err(ApplyError::TooManyPeers) }
}

/// An update in progress. The allowed IPs are published once at the end.
struct Change<'a> {
    engine: &'a Engine,
    configuration: &'a mut Configuration,
    allowed_ips: Option<Draft<Owner>>,
    removed: Removed,
    wanted: Vec<(Arc<Peer>, Wanted)>,
    now: Instant,
}

impl Change<'_> {
    /// Makes room for `count` peers in place of all.
    ///
    /// The former table goes at once: beside the new one, and the request, it would be much. Small
    /// pieces of memory stay until all go together, for new ones would move in between.
    fn remove_all(&mut self, count: usize) {
        self.allowed_ips = Some(self.engine.allowed_ips.change_all());
        let former = std::mem::take(&mut self.configuration.peers);
        self.removed.peers.extend(former.into_values().map(ConfiguredPeer::into_parts));
        self.configuration.peers = HashMap::with_capacity_and_hasher(count, KeyedHash::default());
    }

    fn set_private_key(&mut self, key: Secret) {
        let key = (!key.is_zero()).then_some(key);
        if key == self.configuration.private_key {
            return;
        }
        let identity = key.as_ref().map(|key| {
            let local = LocalStatic::new(key.as_bytes());
            let cookies = CookieChecker::new(local.public_key());
            Arc::new(Identity { local, cookies })
        });
        if let Some(identity) = &identity {
            self.remove_peer(identity.local.public_key());
        }
        self.engine.identity.store(identity);
        self.configuration.private_key = key;
        for configured in self.configuration.peers.values() {
            let peer = &configured.peer;
            peer.noise.reset();
            if peer.noise.persistent_keepalive() > 0 {
                let wanted = Wanted { keepalive: true, ..Wanted::default() };
                self.wanted.push((peer.clone(), wanted));
            }
        }
    }

    fn update_peer(&mut self, update: PeerUpdate) {
        let key = update.public_key;
        if update.remove {
            self.remove_peer(&key);
            return;
        }
        let Configuration { peers, positions, staging, .. } = &mut *self.configuration;
        let mut is_new = false;
        let configured = match peers.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if update.update_only => return,
            Entry::Vacant(entry) => {
                let identity = self.engine.identity.load();
                if identity.as_ref().is_some_and(|own| *own.local.public_key() == key) {
                    return;
                }
                is_new = true;
                let endpoint = update.endpoint.map(Endpoint::from);
                let configured = ConfiguredPeer {
                    peer: Arc::new(Peer::new(key, staging.clone(), endpoint)),
                    position: positions.next(),
                    preshared_key: None,
                    allowed_ips: OwnedIps::default(),
                };
                log::debug!("{} added", configured.peer);
                entry.insert(configured)
            }
        };
        let mut former_owners = Vec::new();
        if update.replace_allowed_ips || !update.allowed_ips.is_empty() {
            let draft = self.allowed_ips.get_or_insert_with(|| self.engine.allowed_ips.change());
            if update.replace_allowed_ips {
                let ips = OwnedIps::with_capacity(update.allowed_ips.len());
                let former = std::mem::replace(&mut configured.allowed_ips, ips);
                former.iter().for_each(|ip| draft.remove(&ip));
            }
            for change in &update.allowed_ips {
                if change.remove {
                    take_ip(configured, &change.ip, draft);
                } else {
                    former_owners.extend(give_ip(configured, change.ip, positions.next(), draft));
                }
            }
        }
        let peer = &configured.peer;
        if let Some(preshared_key) = update.preshared_key {
            let preshared_key = (!preshared_key.is_zero()).then_some(preshared_key);
            let for_handshakes =
                preshared_key.as_ref().map(|key| PresharedKey::from(*key.as_bytes()));
            peer.noise.set_preshared_key(for_handshakes);
            configured.preshared_key = preshared_key.map(Box::new);
        }
        // Nobody has had anything to send to a new peer.
        let mut wanted = Wanted { staged: !is_new, ..Wanted::default() };
        if let Some(seconds) = update.persistent_keepalive {
            let more = peer.noise.set_persistent_keepalive(seconds, self.now);
            wanted.keepalive |= more.keepalive;
            wanted.initiation |= more.initiation;
        }
        if let Some(address) = update.endpoint {
            // A keepalive that had nowhere to go until now.
            wanted.keepalive |= peer.endpoint().is_none() && peer.noise.persistent_keepalive() > 0;
            peer.set_endpoint(Endpoint::from(address));
        }
        if wanted != Wanted::default() {
            self.wanted.push((peer.clone(), wanted));
        }
        for former in former_owners {
            if let Some(configured) = peers.get_mut(former.peer.noise.public_key()) {
                configured.allowed_ips.remove(former.position);
            }
        }
    }

    fn remove_peer(&mut self, key: &PublicKey) {
        let Some(configured) = self.configuration.peers.get_mut(key) else { return };
        for ip in std::mem::take(&mut configured.allowed_ips).iter() {
            self.allowed_ips().remove(&ip);
        }
        let peers = &mut self.configuration.peers;
        if let Some(configured) = peers.remove(key) {
            log::debug!("{} removed", configured.peer);
            self.removed.peers.push(configured.into_parts());
        }
        // Of a table that was large once, only what is needed is kept.
        if peers.len() < peers.capacity() / 8 {
            peers.shrink_to(peers.len() * 2);
        }
    }

    fn allowed_ips(&mut self) -> &mut Draft<Owner> {
        self.allowed_ips.get_or_insert_with(|| self.engine.allowed_ips.change())
    }
}

/// Takes an allowed IP from a peer that has it.
fn take_ip(configured: &mut ConfiguredPeer, ip: &AllowedIp, draft: &mut Draft<Owner>) {
    let owner = draft.get(ip).filter(|owner| Arc::ptr_eq(&owner.peer, &configured.peer));
    if let Some(position) = owner.map(|owner| owner.position) {
        draft.remove(ip);
        configured.allowed_ips.remove(position);
    }
}

/// Gives an allowed IP to a peer, and returns whom it was taken from.
fn give_ip(
    configured: &mut ConfiguredPeer,
    ip: AllowedIp,
    position: u64,
    draft: &mut Draft<Owner>,
) -> Option<Owner> {
    let former = draft.insert(ip, Owner { peer: configured.peer.clone(), position });
    if let Some(same) = former.as_ref().filter(|owner| Arc::ptr_eq(&owner.peer, &configured.peer)) {
        // It keeps its place.
        draft.insert(ip, same.clone());
        return None;
    }
    configured.allowed_ips.push(position, ip);
    former
}
