//! A state of the whole model: servers, network, and what must be remembered to judge it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::server::{Envelope, Server};
use crate::raft::quorum;
use crate::types::{Index, NodeId, Term};

/// Servers, network and history. Two states with equal fingerprints of all parts are the same one.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Each with its fingerprint.
    pub(super) servers: BTreeMap<NodeId, (u64, Arc<Server>)>,
    /// Every message that was ever sent, by its hash. None is taken out: any may come at any time,
    /// again, or never. That is a network that delays, reorders, repeats and loses at will.
    pub(super) network: Arc<BTreeMap<u64, Arc<Envelope>>>,
    pub(super) history: Arc<History>,
    pub(super) spent: Spent,
    /// The server that an assertion of its own stopped.
    pub(super) stopped: Option<NodeId>,
}

/// What the states before this one have in common with it, as far as a property needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// Who led.
    pub(super) leaders: BTreeSet<(Term, NodeId)>,
    /// The index and term of each entry that any server took for committed, and that server's term.
    pub(super) committed: BTreeMap<(Index, Term), Term>,
    /// Those that were not on the disks of a majority then.
    pub(super) undurable: BTreeSet<(Index, Term)>,
}

/// How much of what is bounded has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spent {
    pub(super) campaigns: u8,
    pub(super) commands: u8,
    pub(super) changes: u8,
    pub(super) crashes: u8,
    pub(super) lost_contacts: u8,
    pub(super) heartbeats: u8,
}

impl State {
    /// Nothing has happened to these servers yet.
    pub(super) fn new(servers: impl IntoIterator<Item = Server>) -> State {
        let servers = servers.into_iter();
        State {
            servers: servers
                .map(|server| (server.id(), (server.fingerprint(), Arc::new(server))))
                .collect(),
            network: Arc::default(),
            history: Arc::default(),
            spent: Spent::default(),
            stopped: None,
        }
    }

    /// Lets one server act. A server that panics stops the model there, as a fault to be shown.
    pub(super) fn act(&mut self, id: NodeId, act: impl FnOnce(&mut Server) -> Vec<Envelope>) {
        let (_, server) = &self.servers[&id];
        let mut server = Server::clone(server);
        let Ok(sent) = catch_unwind(AssertUnwindSafe(|| act(&mut server))) else {
            self.stopped = Some(id);
            return;
        };
        self.servers.insert(id, (server.fingerprint(), Arc::new(server)));
        for envelope in sent {
            self.send(envelope);
        }
        self.lose_what_came_too_late(id);
        self.remember(id);
    }

    pub(super) fn server(&self, id: NodeId) -> &Server {
        &self.servers[&id].1
    }

    pub(super) fn each_server(&self) -> impl Iterator<Item = &Server> {
        self.servers.values().map(|(_, server)| &**server)
    }

    fn send(&mut self, envelope: Envelope) {
        let mut hasher = DefaultHasher::new();
        envelope.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.network.contains_key(&hash) && !self.is_too_late(&envelope) {
            Arc::make_mut(&mut self.network).insert(hash, Arc::new(envelope));
        }
    }

    /// Messages to a server whose disk has left their term are taken out of the network.
    fn lose_what_came_too_late(&mut self, to: NodeId) {
        let late: Vec<u64> = self
            .network
            .iter()
            .filter(|(_, envelope)| envelope.to == to && self.is_too_late(envelope))
            .map(|(&hash, _)| hash)
            .collect();
        for hash in late {
            Arc::make_mut(&mut self.network).remove(&hash);
        }
    }

    fn is_too_late(&self, envelope: &Envelope) -> bool {
        envelope.message.term() < self.server(envelope.to).disk.hard_state.term
    }

    fn remember(&mut self, id: NodeId) {
        let (_, server) = &self.servers[&id];
        let leads = (server.term(), id);
        if server.is_leader() && !self.history.leaders.contains(&leads) {
            Arc::make_mut(&mut self.history).leaders.insert(leads);
        }
        let commit = server.raft.log.commit();
        for entry in server.log().iter().take_while(|entry| entry.index() <= commit) {
            let position = (entry.index(), entry.term());
            if self.history.committed.contains_key(&position) {
                continue;
            }
            Arc::make_mut(&mut self.history).committed.insert(position, server.term());
            let is_on_disk = |voter: NodeId| {
                self.servers.get(&voter).is_some_and(|(_, server)| server.disk.holds(entry))
            };
            if quorum::agreed(server.raft.log.configuration(), is_on_disk) != Some(true) {
                Arc::make_mut(&mut self.history).undurable.insert(position);
            }
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (fingerprint, _) in self.servers.values() {
            fingerprint.hash(hasher);
        }
        for hash in self.network.keys() {
            hash.hash(hasher);
        }
        (&self.history, self.spent, self.stopped).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        let fingerprints = |state: &State| -> Vec<u64> {
            state.servers.values().map(|(fingerprint, _)| *fingerprint).collect()
        };
        fingerprints(self) == fingerprints(other)
            && (Arc::ptr_eq(&self.network, &other.network)
                || self.network.keys().eq(other.network.keys()))
            && (&self.history, self.spent, self.stopped)
                == (&other.history, other.spent, other.stopped)
    }
}
