//! One server's mind: consensus, gossip, waiting requests and membership policy as one machine.
//!
//! A node is fed with everything that happens, each call with the time: clients' requests, peers'
//! messages, datagrams, completions of the disk. After a burst of input the driver calls
//! [`Node::advance`] and then carries out the [`Effect`]s in order. A node never waits, knows no
//! clock and does no I/O; the same node runs in production and in a simulator.
//!
//! ```text
//!   write/read ──> writes, reads ──> raft ──> Persist, Send ...            (advance)
//!   message ─────> raft | forwarding                |
//!   persisted ───> raft ──> committed ──> Apply, Written, Serve            (deliver)
//!   packet ──────> gossip ──> joining | membership policy ──> raft
//! ```
//!
//! The order of effects carries meaning. [`Effect::Apply`] comes in the order of the log, and a read
//! that must see an entry comes as [`Effect::Serve`] after it; [`Effect::TakeSnapshot`] stands exactly
//! at its cut. A driver that keeps the order keeps the promises.

mod deliver;
mod effect;
mod freshness;
mod joining;
mod membership;
mod message;
mod policy;
mod reads;
mod requests;
mod snapshots;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

pub use effect::{Effect, Event, Failure, Persist, Ticket};
pub use joining::{Bootstrap, Seeds};
pub use membership::MembershipPolicy;
pub use message::{ForwardOutcome, PeerMessage, PeerMessageError};
pub use requests::{LeaveError, MAX_FORWARDED_BYTES};
pub use snapshots::SnapshotPolicy;
pub use status::{Role, ServerView, Status};

use crate::gossip::{self, Gossip};
use crate::raft::{self, Raft, Ready, ReadyNumber};
use crate::types::{
    ClusterId, Configuration, Entry, HardState, Index, NodeId, Revision, SnapshotMeta, Term,
};
use freshness::Freshness;
use joining::Joining;
use reads::Reads;
use snapshots::Snapshots;
use writes::Writes;

/// Timers that are not consensus' or gossip's own are looked at this often.
const HOUSEKEEPING_INTERVAL_MS: u64 = 25;

/// What a node is told when it is made.
#[derive(Debug)]
pub struct Config {
    /// Consensus.
    pub raft: raft::Config,
    /// Discovery; its id is the node's, its cluster the one the node belongs to already.
    pub gossip: gossip::Config,
    /// Whether to make a cluster if no seed knows one.
    pub bootstrap: Bootstrap,
    /// The identity of a cluster this node would make.
    pub fresh_cluster: ClusterId,
    /// When to take snapshots.
    pub snapshots: SnapshotPolicy,
    /// When to remove the dead.
    pub membership: MembershipPolicy,
}

/// What survived on disk.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Term, vote and log.
    pub raft: raft::Recovered,
}

/// What this node last saw of leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leadership {
    term: Term,
    leader: Option<NodeId>,
}

/// One server's mind. See the [module](self).
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    raft: Raft,
    raft_config: raft::Config,
    gossip: Gossip,
    /// `None` until this node entered a cluster; it never changes after that.
    cluster: Option<ClusterId>,
    fresh_cluster: ClusterId,
    /// The first entry of the cluster that this node is making, and its term.
    founding: Option<(Entry, HardState)>,
    /// The search for a cluster, while there is none.
    joining: Joining,
    /// When this member last asked its seeds for others, if it has.
    asked_at_ms: Option<u64>,

    writes: Writes,
    reads: Reads,
    freshness: Freshness,
    /// The last context of a ReadIndex round; each round has its own.
    last_context: u64,
    /// After a leader refused a forwarded batch, none is sent before this time.
    forward_after_ms: u64,

    /// The last entry whose `Apply` was emitted; never ahead of what is committed.
    delivered: Index,
    delivered_term: Term,
    /// Commands delivered so far: the revision of the last write.
    revision: Revision,
    /// The configuration as of `delivered`: what a snapshot cut there must carry.
    delivered_configuration: Configuration,
    snapshots: Snapshots,

    leadership: Leadership,
    /// Messages that may leave once a `Ready` is durable, in the order of their numbers.
    after_persist: VecDeque<(ReadyNumber, Vec<(NodeId, raft::Message)>)>,
    /// Peers that the driver keeps links to, with the address it was told.
    links: BTreeMap<NodeId, String>,
    /// Which configuration they were worked out for.
    linked_configuration: Option<(Index, Option<Term>)>,
    /// Links that are up.
    connected: BTreeSet<NodeId>,
    /// As the leader: members that asked to be removed.
    leaving_members: BTreeSet<NodeId>,
    /// As the leader: when to tell those that were removed so again.
    tell_removed_at_ms: u64,
    /// Names whose conflict was reported.
    reported_conflicts: BTreeSet<NodeId>,
    departure: requests::Departure,
    membership: MembershipPolicy,
    housekeeping_at_ms: u64,
    effects: VecDeque<Effect>,
}

impl Node {
    /// A node as it was when it stopped, or a new one.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered, now_ms: u64) -> Node {
        let cluster = config.gossip.identity.cluster;
        let snapshot = recovered.raft.snapshot.clone();
        let id = config.raft.id;
        Node {
            id,
            snapshots: Snapshots::new(config.snapshots, id),
            raft: Raft::new(config.raft.clone(), recovered.raft, now_ms),
            raft_config: config.raft,
            gossip: Gossip::new(config.gossip, now_ms),
            cluster,
            fresh_cluster: config.fresh_cluster,
            founding: None,
            joining: Joining::new(id, config.bootstrap, now_ms),
            asked_at_ms: None,
            writes: Writes::default(),
            reads: Reads::default(),
            freshness: Freshness::default(),
            last_context: 0,
            forward_after_ms: 0,
            delivered: snapshot.index,
            delivered_term: snapshot.term,
            revision: snapshot.revision,
            delivered_configuration: snapshot.configuration,
            leadership: Leadership::default(),
            after_persist: VecDeque::new(),
            links: BTreeMap::new(),
            linked_configuration: None,
            connected: BTreeSet::new(),
            leaving_members: BTreeSet::new(),
            tell_removed_at_ms: now_ms,
            reported_conflicts: BTreeSet::new(),
            departure: requests::Departure::Staying,
            membership: config.membership,
            housekeeping_at_ms: now_ms,
            effects: VecDeque::new(),
        }
    }

    /// When [`tick`](Node::tick) must be called at the latest.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        let consensus_ms = self.raft.next_deadline_ms().min(self.gossip.next_deadline_ms());
        consensus_ms.min(self.housekeeping_at_ms)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_ms: u64) {
        self.raft.tick(now_ms);
        self.gossip.tick(now_ms);
        if now_ms >= self.housekeeping_at_ms {
            self.housekeeping_at_ms = now_ms + HOUSEKEEPING_INTERVAL_MS;
            self.expire_requests(now_ms);
            self.look_for_cluster(now_ms);
            self.depart(now_ms);
            self.follow_policy(now_ms);
            self.tell_removed(now_ms);
        }
    }

    /// A frame came over the peer link from `from`.
    pub fn message(&mut self, from: NodeId, body: Bytes, now_ms: u64) {
        match PeerMessage::decode(body) {
            Ok(PeerMessage::Raft(message)) => self.raft.step(from, message, now_ms),
            Ok(PeerMessage::Forward { id, commands }) => {
                self.forward_received(from, id, &commands, now_ms);
            }
            Ok(PeerMessage::ForwardReply { id, outcome }) => {
                self.forward_answered(id, from, outcome, now_ms);
            }
            Ok(PeerMessage::Leave) => self.leave_received(from),
            Ok(PeerMessage::Removed) => self.removed(),
            Err(error) => self.event(Event::BadMessage { from, cause: error.to_string() }),
        }
    }

    /// The link to `peer` is up: what is sent now may arrive.
    pub fn link_up(&mut self, peer: NodeId) {
        self.connected.insert(peer);
    }

    /// The link to `peer` broke: what was sent lately may be lost.
    pub fn link_down(&mut self, peer: NodeId) {
        self.connected.remove(&peer);
        self.raft.peer_unreachable(peer);
        let lost = self.writes.give_up_forwarded(Some(peer));
        self.fail(lost, Failure::OutcomeUnknown);
    }

    /// A gossip datagram came.
    pub fn packet(&mut self, from: SocketAddr, bytes: &[u8], now_ms: u64) {
        if let Err(error) = self.gossip.packet(from, bytes, now_ms) {
            self.event(Event::BadGossip { from, cause: error.to_string() });
        }
    }

    /// A peer exchanges full gossip state; returns the answer, or `None` to refuse.
    pub fn push_pull_request(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now_ms: u64,
    ) -> Option<Bytes> {
        match self.gossip.push_pull_request(bytes, now_ms) {
            Ok(reply) => Some(reply),
            Err(error) => {
                self.event(Event::BadGossip { from, cause: error.to_string() });
                None
            }
        }
    }

    /// The answer to [`Effect::PushPull`]; `None` when there was none.
    pub fn push_pull_reply(&mut self, from: SocketAddr, reply: Option<Bytes>, now_ms: u64) {
        let Some(bytes) = reply else {
            self.gossip.push_pull_failed(now_ms);
            return;
        };
        match self.gossip.push_pull_reply(&bytes, now_ms) {
            Ok(cluster) => self.joining.answered(from, cluster),
            Err(error) => self.event(Event::BadGossip { from, cause: error.to_string() }),
        }
    }

    /// The answer to [`Effect::ResolveSeeds`].
    pub fn seeds(&mut self, seeds: Seeds, now_ms: u64) {
        let is_member = self.cluster.is_some();
        let is_met = |addr: &SocketAddr| is_member && self.gossip.is_alive_at(*addr);
        let strangers: Vec<SocketAddr> =
            seeds.addrs.iter().copied().filter(|addr| !is_met(addr)).collect();
        self.gossip.join(&strangers, now_ms);
        self.joining.found(seeds);
    }

    /// All [`Effect::Persist`]s up to `number` are durable.
    pub fn persisted(&mut self, number: ReadyNumber, now_ms: u64) {
        while let Some((first, _)) = self.after_persist.front()
            && (*first <= number || planted!(PersistReleasesAll))
        {
            let (_, messages) = self.after_persist.pop_front().expect("the front was there");
            self.send_all(messages);
        }
        self.raft.persisted(number, now_ms);
    }

    /// The snapshot cut at `index` is durable, in a file of `len_bytes`.
    pub fn snapshot_saved(&mut self, index: Index, len_bytes: u64) {
        if let Some((meta, first_retained)) = self.snapshots.saved(index, len_bytes) {
            self.raft.compact(meta, first_retained);
            self.effects.push_back(Effect::TruncateLog { first_retained });
        }
    }

    /// The answer to [`Effect::ReadSnapshot`]: bytes and whether they are the file's last, or `None`
    /// when that snapshot is gone.
    pub fn snapshot_chunk(
        &mut self,
        to: NodeId,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: Option<(Bytes, bool)>,
        now_ms: u64,
    ) {
        self.raft.snapshot_chunk(to, meta, offset, chunk, now_ms);
    }

    /// The snapshot that the leader sent is durable, and the map holds its state and nothing else.
    pub fn snapshot_installed(&mut self, meta: SnapshotMeta, now_ms: u64) {
        assert!(meta.index >= self.delivered, "a snapshot never takes the map back");
        self.delivered = meta.index;
        self.delivered_term = meta.term;
        if !planted!(InstallKeepsRevision) {
            self.revision = meta.revision;
        }
        self.delivered_configuration = meta.configuration.clone();
        self.snapshots.installed();
        self.raft.snapshot_installed(meta, now_ms);
    }

    /// The snapshot that the leader sent failed its checks; nothing changed.
    pub fn snapshot_rejected(&mut self, now_ms: u64) {
        self.raft.snapshot_rejected(now_ms);
    }

    /// Does what the inputs since the last call lead to.
    pub fn advance(&mut self, now_ms: u64) {
        self.drain_gossip();
        self.take_readies(now_ms);
        self.notice_leadership(now_ms);
        self.start_writes(now_ms);
        self.start_reads(now_ms);
        self.take_readies(now_ms);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn take_readies(&mut self, now_ms: u64) {
        while let Some(ready) = self.raft.ready() {
            self.take_ready(ready, now_ms);
        }
    }

    /// Turns one step of consensus into effects: what peers need now leaves first, then the disk's
    /// work, then what is committed.
    fn take_ready(&mut self, ready: Ready, now_ms: u64) {
        let must_sync = ready.must_sync();
        self.send_all(ready.send_now);
        if must_sync || !ready.send_after_persist.is_empty() {
            self.after_persist.push_back((ready.number, ready.send_after_persist));
            self.effects.push_back(Effect::Persist(Persist {
                number: ready.number,
                hard_state: ready.hard_state,
                entries: ready.entries,
                snapshot_writes: ready.snapshot_writes,
            }));
        }
        for entry in ready.committed {
            self.deliver(entry);
        }
        for read in ready.read_states {
            self.read_confirmed(read, now_ms);
        }
        for read in ready.snapshot_reads {
            let raft::SnapshotRead { to, meta, offset } = read;
            self.effects.push_back(Effect::ReadSnapshot { to, meta, offset });
        }
        self.serve_reads();
        self.cut_snapshot();
    }

    /// Acts on a change of term or leader: what the old leader had is lost to us.
    fn notice_leadership(&mut self, now_ms: u64) {
        let (term, leader) = self.raft.leadership();
        let seen = Leadership { term, leader };
        let before = std::mem::replace(&mut self.leadership, seen);
        if before == seen {
            return;
        }
        if before.leader == Some(self.id) && !planted!(ProposalsOutliveTerm) {
            let lost = self.writes.give_up_proposed();
            self.fail(lost, Failure::OutcomeUnknown);
            self.leaving_members.clear();
        }
        if before.leader != seen.leader {
            let lost = self.writes.give_up_forwarded(None);
            self.fail(lost, Failure::OutcomeUnknown);
        }
        self.forward_after_ms = now_ms;
        self.freshness.leader_changed();
        self.event(Event::Leader { term: seen.term.0, leader: seen.leader });
    }

    fn is_leader(&self) -> bool {
        self.leadership.leader == Some(self.id)
    }

    fn next_context(&mut self) -> u64 {
        self.last_context += u64::from(!planted!(ReadContextReused));
        self.last_context
    }

    fn send_all(&mut self, messages: Vec<(NodeId, raft::Message)>) {
        for (to, message) in messages {
            self.send(to, PeerMessage::Raft(message));
        }
    }

    fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.effects.push_back(Effect::Send { to, message });
    }

    fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    /// A node that has just made its cluster starts from the entry that it made durable.
    fn restart_raft(&mut self, entry: Entry, hard_state: HardState, now_ms: u64) {
        let snapshot = SnapshotMeta::default();
        let recovered = raft::Recovered { hard_state, snapshot, entries: vec![entry] };
        self.raft = Raft::new(self.raft_config.clone(), recovered, now_ms);
    }
}
