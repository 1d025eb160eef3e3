//! A cluster of nodes in one thread, with a clock and a network of its own, for tests.
//!
//! Disks are perfect and take one step; messages take one step and can be cut off. What a driver does
//! with effects is done here by the shortest means.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::{
    Bootstrap, Config, Effect, Failure, MembershipPolicy, Node, Persist, Recovered, Role, Seeds,
    SnapshotPolicy, Ticket,
};
use crate::raft::{self, ReadyNumber};
use crate::types::{ClusterId, Command, Entry, HardState, NodeId, Revision, SnapshotMeta};
use crate::{gossip, types::EntryKind};

const STEP_MS: u64 = 5;
/// The dead are removed after this time, where enough voters stay.
pub(super) const DEAD_AFTER_MS: u64 = 40_000;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written(Revision),
    Served,
    Failed(Failure),
}

/// What a node's disk holds.
#[derive(Clone, Debug, Default)]
struct Disk {
    cluster: Option<ClusterId>,
    hard_state: HardState,
    log: Vec<Entry>,
}

/// Something on its way to a node.
enum Parcel {
    Message { from: NodeId, body: Bytes },
    Packet { from: SocketAddr, bytes: Bytes },
    PushPull { from: NodeId, to: SocketAddr, bytes: Bytes },
    PushPullReply { from: SocketAddr, reply: Option<Bytes> },
    Persisted(ReadyNumber),
    Entered(ClusterId),
    LinkUp(NodeId),
    LinkDown(NodeId),
}

/// One server.
pub(super) struct Server {
    pub(super) node: Node,
    name: String,
    disk: Disk,
    inbox: VecDeque<Parcel>,
    /// Peers it has a link to.
    links: BTreeSet<NodeId>,
    /// Keys and values, by apply.
    pub(super) map: BTreeMap<Bytes, Bytes>,
    pub(super) outcomes: BTreeMap<Ticket, Outcome>,
    pub(super) has_left: bool,
}

/// A cluster.
pub(super) struct Cluster {
    now_ms: u64,
    next_ticket: u64,
    pub(super) servers: BTreeMap<NodeId, Server>,
    /// Who is cut off from everybody.
    cut_off: BTreeSet<NodeId>,
}

impl Cluster {
    /// `size` empty servers, the first of which may bootstrap, named n1, n2 and so on.
    pub(super) fn new(size: u64) -> Cluster {
        let servers = BTreeMap::new();
        let mut cluster =
            Cluster { now_ms: 1_000, next_ticket: 0, servers, cut_off: BTreeSet::new() };
        for id in 1..=size {
            cluster.start(
                id,
                &format!("n{id}"),
                if id == 1 { Bootstrap::Alone } else { Bootstrap::Never },
            );
        }
        cluster
    }

    /// The same, once all are voters and serve.
    pub(super) fn settled(size: u64) -> Cluster {
        let mut cluster = Cluster::new(size);
        cluster.run_until("all are voters", |cluster| {
            cluster.servers.values().all(|server| server.node.is_serving())
                && cluster.voters().len() as u64 == size
        });
        cluster
    }

    /// `size` empty servers that expect each other.
    pub(super) fn of_founders(size: u64) -> Cluster {
        let mut cluster = Cluster::new(0);
        for id in 1..=size {
            cluster.start(id, &format!("n{id}"), Bootstrap::Together(size as usize));
        }
        cluster
    }

    /// Starts an empty server; all others are its seeds.
    pub(super) fn start(&mut self, id: u64, name: &str, bootstrap: Bootstrap) {
        self.boot(NodeId(id), name.to_owned(), Disk::default(), bootstrap);
    }

    /// Stops a server at once and starts it again with what its disk holds.
    pub(super) fn restart(&mut self, id: u64) {
        let server = self.stop(id);
        self.boot(NodeId(id), server.name, server.disk, Bootstrap::Never);
    }

    /// Stops a server at once; its links break.
    pub(super) fn stop(&mut self, id: u64) -> Server {
        let id = NodeId(id);
        let server = self.servers.remove(&id).expect("the server runs");
        for other in self.servers.values_mut().filter(|other| other.links.contains(&id)) {
            other.inbox.push_back(Parcel::LinkDown(id));
        }
        server
    }

    /// Cuts a server off from all others, or lets it back.
    pub(super) fn cut_off(&mut self, id: u64, is_cut: bool) {
        let id = NodeId(id);
        if is_cut {
            self.cut_off.insert(id)
        } else {
            self.cut_off.remove(&id)
        };
    }

    /// Asks a server for a write.
    pub(super) fn set(&mut self, id: u64, key: &'static str, value: &'static str) -> Ticket {
        let ticket = self.ticket();
        let command = Command::Set { key: Bytes::from(key), value: Bytes::from(value) };
        let now_ms = self.now_ms;
        self.server(id).node.write(ticket, &command, now_ms);
        ticket
    }

    /// Asks a server for a linearizable read.
    pub(super) fn read(&mut self, id: u64) -> Ticket {
        let ticket = self.ticket();
        let now_ms = self.now_ms;
        self.server(id).node.read(ticket, now_ms);
        ticket
    }

    pub(super) fn server(&mut self, id: u64) -> &mut Server {
        self.servers.get_mut(&NodeId(id)).expect("the server runs")
    }

    /// Asks a server to leave.
    pub(super) fn leave(&mut self, id: u64) {
        let now_ms = self.now_ms;
        self.server(id).node.leave(now_ms).expect("it may leave");
    }

    /// The leader that a majority would name: the one with the highest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |server: &&Server| server.node.status().role == Role::Leader;
        let leaders = self.servers.values().filter(leads);
        leaders.max_by_key(|server| server.node.status().term).map(|server| server.node.id.0)
    }

    /// The voters, as the leader sees them.
    pub(super) fn voters(&self) -> Vec<u64> {
        let Some(leader) = self.leader() else { return Vec::new() };
        let servers = self.servers[&NodeId(leader)].node.servers();
        servers.iter().filter(|server| server.is_voter).map(|server| server.id.0).collect()
    }

    /// Runs until `ticket` has an outcome.
    pub(super) fn outcome(&mut self, id: u64, ticket: Ticket) -> Outcome {
        self.run_until("the request is answered", |cluster| {
            cluster.servers[&NodeId(id)].outcomes.contains_key(&ticket)
        });
        self.server(id).outcomes[&ticket]
    }

    /// Runs until `holds`, for at most a simulated minute.
    pub(super) fn run_until(&mut self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let deadline_ms = self.now_ms + 60_000;
        while !holds(self) {
            assert!(self.now_ms < deadline_ms, "not within a minute: {what}");
            self.step();
        }
    }

    pub(super) fn run_for(&mut self, duration_ms: u64) {
        let end_ms = self.now_ms + duration_ms;
        while self.now_ms < end_ms {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        let ids: Vec<NodeId> = self.servers.keys().copied().collect();
        for id in ids {
            let parcels = std::mem::take(&mut self.servers.get_mut(&id).expect("it runs").inbox);
            for parcel in parcels {
                self.deliver(id, parcel);
            }
            let now_ms = self.now_ms;
            let server = self.servers.get_mut(&id).expect("it runs");
            server.node.tick(now_ms);
            server.node.advance(now_ms);
            while let Some(effect) = self.servers.get_mut(&id).expect("it runs").node.poll() {
                self.carry_out(id, effect);
            }
        }
    }

    fn deliver(&mut self, id: NodeId, parcel: Parcel) {
        let now_ms = self.now_ms;
        let node = &mut self.servers.get_mut(&id).expect("it runs").node;
        match parcel {
            Parcel::Message { from, body } => node.message(from, body, now_ms),
            Parcel::Packet { from, bytes } => node.packet(from, &bytes, now_ms),
            Parcel::PushPull { from, to, bytes } => {
                let reply = node.push_pull_request(addr(from), &bytes, now_ms);
                self.post(from, Parcel::PushPullReply { from: to, reply });
            }
            Parcel::PushPullReply { from, reply } => node.push_pull_reply(from, reply, now_ms),
            Parcel::Persisted(number) => node.persisted(number, now_ms),
            Parcel::Entered(cluster) => node.cluster_entered(cluster, now_ms),
            Parcel::LinkUp(peer) => node.link_up(peer),
            Parcel::LinkDown(peer) => node.link_down(peer),
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                let mut body = BytesMut::new();
                message.encode(&mut body);
                self.send(id, to, Parcel::Message { from: id, body: body.freeze() });
            }
            Effect::SendPacket { to, bytes } => {
                self.send(id, node_at(to), Parcel::Packet { from: addr(id), bytes });
            }
            Effect::PushPull { to, bytes } => {
                let reached = self.send(id, node_at(to), Parcel::PushPull { from: id, to, bytes });
                if !reached {
                    self.post(id, Parcel::PushPullReply { from: to, reply: None });
                }
            }
            Effect::SetPeer { id: peer, .. } => {
                self.own(id).links.insert(peer);
                self.post(id, Parcel::LinkUp(peer));
            }
            Effect::RemovePeer { id: peer } => {
                self.own(id).links.remove(&peer);
            }
            Effect::ResolveSeeds { .. } => {
                let others = self.servers.keys().filter(|other| **other != id);
                let addrs = others.map(|other| addr(*other)).collect();
                let now_ms = self.now_ms;
                self.own(id).node.seeds(Seeds { addrs, unresolved: 0 }, now_ms);
            }
            Effect::ReadSnapshot { .. } | Effect::TakeSnapshot(_) | Effect::TruncateLog { .. } => {
                unreachable!("no test writes enough for a snapshot")
            }
            other => self.own(id).carry_out(other),
        }
    }

    /// Puts a parcel on the way, if both ends are there and neither is cut off.
    fn send(&mut self, from: NodeId, to: NodeId, parcel: Parcel) -> bool {
        let reaches = self.servers.contains_key(&to)
            && !self.cut_off.contains(&from)
            && !self.cut_off.contains(&to);
        if reaches {
            self.post(to, parcel);
        }
        reaches
    }

    fn post(&mut self, to: NodeId, parcel: Parcel) {
        if let Some(server) = self.servers.get_mut(&to) {
            server.inbox.push_back(parcel);
        }
    }

    fn own(&mut self, id: NodeId) -> &mut Server {
        self.servers.get_mut(&id).expect("it runs")
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn boot(&mut self, id: NodeId, name: String, disk: Disk, bootstrap: Bootstrap) {
        let raft = raft::Config::lan(id, id.0);
        let identity = gossip::Identity {
            id,
            name: name.clone(),
            cluster: disk.cluster,
            addr: addr(id),
            peer_addr: addr(id).to_string(),
            rpc_addr: format!("{name}:8400"),
            incarnation: self.now_ms,
        };
        let gossip = gossip::Config::lan(identity, id.0);
        let fresh_cluster = ClusterId(1000 + id.0);
        let snapshots = SnapshotPolicy::default();
        let membership = MembershipPolicy { dead_after_ms: DEAD_AFTER_MS, min_voters: 3 };
        let config = Config { raft, gossip, bootstrap, fresh_cluster, snapshots, membership };
        let recovered = raft::Recovered {
            hard_state: disk.hard_state,
            snapshot: SnapshotMeta::default(),
            entries: disk.log.clone(),
        };
        let node = Node::new(config, Recovered { raft: recovered }, self.now_ms);
        let server = Server {
            node,
            name,
            disk,
            inbox: VecDeque::new(),
            links: BTreeSet::new(),
            map: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            has_left: false,
        };
        self.servers.insert(id, server);
        for other in self.servers.values_mut().filter(|other| other.links.contains(&id)) {
            other.inbox.push_back(Parcel::LinkUp(id));
        }
    }
}

impl Server {
    /// Effects that concern this server alone.
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(persist) => self.persist(persist),
            Effect::Apply { entry, .. } => self.apply(&entry),
            Effect::Serve(tickets) => {
                self.outcomes.extend(tickets.into_iter().map(|ticket| (ticket, Outcome::Served)));
            }
            Effect::Written(written) => {
                let outcome = |(ticket, revision)| (ticket, Outcome::Written(revision));
                self.outcomes.extend(written.into_iter().map(outcome));
            }
            Effect::Failed(tickets, failure) => {
                let outcome = |ticket| (ticket, Outcome::Failed(failure));
                self.outcomes.extend(tickets.into_iter().map(outcome));
            }
            Effect::CreateCluster { cluster, entry, hard_state } => {
                self.disk = Disk { cluster: Some(cluster), hard_state, log: vec![entry] };
                self.inbox.push_back(Parcel::Entered(cluster));
            }
            Effect::JoinCluster { cluster } => {
                self.disk.cluster = Some(cluster);
                self.inbox.push_back(Parcel::Entered(cluster));
            }
            Effect::Left => self.has_left = true,
            Effect::ClusterEntered { .. } | Effect::Event(_) => {}
            other => unreachable!("{other:?} concerns others"),
        }
    }

    fn persist(&mut self, persist: Persist) {
        self.disk.hard_state = persist.hard_state.unwrap_or(self.disk.hard_state);
        if let Some(first) = persist.entries.first() {
            self.disk.log.retain(|entry| entry.index() < first.index());
        }
        self.disk.log.extend(persist.entries);
        self.inbox.push_back(Parcel::Persisted(persist.number));
    }

    fn apply(&mut self, entry: &Entry) {
        if entry.kind() != EntryKind::Commands {
            return;
        }
        for command in entry.commands() {
            match command.expect("an own encoding") {
                Command::Set { key, value } => self.map.insert(key, value),
                Command::Delete { key } => self.map.remove(&key),
            };
        }
    }
}

/// The address of a server: its id is the port.
fn addr(id: NodeId) -> SocketAddr {
    ([127, 0, 0, 1], u16::try_from(id.0).expect("small ids in tests")).into()
}

fn node_at(addr: SocketAddr) -> NodeId {
    NodeId(u64::from(addr.port()))
}
