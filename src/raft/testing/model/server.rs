//! One server of the model: the real [`Raft`], what its disk has, and what is on its way there.
//!
//! Its clock stands still at [`NOW_MS`]. Raft only ever compares moments with the clock, so instead
//! of moving the clock the model moves the moment that an action is about: a deadline is reached, a
//! peer was last heard long ago. Everything else happens now. So a server's state holds no times
//! that tell two otherwise equal states apart, and any timeout may fire in any state.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::raft::testing::cluster::default_config;
use crate::raft::testing::disk::Disk;
use crate::raft::{Config, Message, Raft, Ready, Role};
use crate::types::{Configuration, Entry, HardState, Index, NodeId, SnapshotMeta, Term};

/// What every clock shows, always.
pub(super) const NOW_MS: u64 = 1_000;
/// More than an election timeout before it.
const LONG_AGO_MS: u64 = 0;

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Envelope {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

/// A server that runs. A server that is down is one to which nothing happens.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) raft: Raft,
    pub(super) disk: Disk,
    /// Readys that wait for the disk, oldest first.
    pub(super) writing: VecDeque<Ready>,
}

impl Server {
    /// A server that starts with `configuration`, a term, and entries of these terms in its log.
    pub(super) fn new(
        id: NodeId,
        configuration: Configuration,
        hard_state: HardState,
        terms: &[u64],
    ) -> Server {
        let mut disk = Disk::default();
        disk.hard_state = hard_state;
        for (&term, index) in terms.iter().zip(1..) {
            disk.entries.push(Entry::noop(Index(index), Term(term)));
        }
        let meta = SnapshotMeta { configuration, ..SnapshotMeta::default() };
        disk.snapshots.insert(Index(0), (meta, bytes::Bytes::new()));
        Server::start(id, disk)
    }

    /// Stops and starts again. What waits for the disk is lost, but for the entries of the oldest
    /// Ready where they were written before its term (`torn`).
    pub(super) fn crash(&self, torn: bool) -> Server {
        let mut disk = self.disk.clone();
        if let (true, Some(ready)) = (torn, self.writing.front()) {
            disk.store_entries(&ready.entries);
        }
        Server::start(self.id(), disk)
    }

    /// Something happens to the server: `act`. Returns what it sends then.
    pub(super) fn act(&mut self, act: impl FnOnce(&mut Raft)) -> Vec<Envelope> {
        // A server that sticks to its leader loses requests for votes, and may as well be one that
        // such a request does not reach.
        self.raft.leader_contact_ms = LONG_AGO_MS;
        act(&mut self.raft);
        self.pump()
    }

    /// The oldest Ready reaches the disk. Returns what is sent then.
    pub(super) fn persist(&mut self) -> Vec<Envelope> {
        let Some(ready) = self.writing.pop_front() else { return Vec::new() };
        self.disk.store_hard_state(&ready);
        self.disk.store_entries(&ready.entries);
        self.raft.persisted(ready.number, NOW_MS);
        let mut sent = self.envelopes(ready.send_after_persist);
        // What waited only for that has nothing to wait for any more.
        while let Some(next) = self.writing.pop_front_if(|next| !next.must_sync()) {
            sent.extend(self.envelopes(next.send_after_persist));
        }
        sent.extend(self.pump());
        sent
    }

    /// The server's election timeout passes, and it wins the pre-vote. That it always does adds to
    /// what can happen: a pre-vote changes nothing but who campaigns, and when.
    pub(super) fn campaign(&mut self) -> Vec<Envelope> {
        self.act(|raft| {
            raft.election_deadline_ms = NOW_MS;
            raft.tick(NOW_MS);
            let granted = Message::PreVoteReply { term: raft.term().next(), granted: true };
            let configuration = raft.log.configuration();
            let voters: Vec<NodeId> =
                configuration.voters.union(&configuration.outgoing).copied().collect();
            for voter in voters {
                raft.step(voter, granted.clone(), NOW_MS);
            }
        })
    }

    /// A leader notices that it has heard nobody for an election timeout.
    pub(super) fn lose_contact(&mut self) -> Vec<Envelope> {
        self.act(|raft| {
            if let Role::Leader(leader) = &mut raft.role {
                for progress in leader.progress.values_mut() {
                    progress.contacted(LONG_AGO_MS);
                }
            }
            raft.tick(NOW_MS);
        })
    }

    /// A leader's heartbeat is due.
    pub(super) fn heartbeat(&mut self) -> Vec<Envelope> {
        self.act(|raft| {
            if let Role::Leader(leader) = &mut raft.role {
                leader.heartbeat_deadline_ms = NOW_MS;
            }
            raft.tick(NOW_MS);
            if let Role::Leader(leader) = &mut raft.role {
                leader.heartbeat_deadline_ms = NOW_MS;
            }
        })
    }

    pub(super) fn id(&self) -> NodeId {
        self.raft.config.id
    }

    pub(super) fn term(&self) -> Term {
        self.raft.term()
    }

    pub(super) fn is_leader(&self) -> bool {
        matches!(self.raft.role, Role::Leader(_))
    }

    /// The whole log.
    pub(super) fn log(&self) -> Vec<Entry> {
        self.raft.log.slice(Index(1), usize::MAX)
    }

    /// A hash of everything that decides what the server may do from here on. Left out are what
    /// stands still or only counts (times, the seed's numbers, the numbers of Readys), what no action
    /// of the model touches (reads, snapshots, transfers), and what follows from the rest (what was
    /// applied and handed to the disk, the configurations in the log).
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let raft = &self.raft;
        (raft.hard_state, raft.leader, raft.log.commit(), self.log()).hash(&mut hasher);
        match &raft.role {
            Role::Follower => 0.hash(&mut hasher),
            Role::PreCandidate(ballot) => (1, ballot).hash(&mut hasher),
            Role::Candidate(ballot) => (2, ballot).hash(&mut hasher),
            Role::Leader(leader) => (3, leader.term_start, &leader.progress).hash(&mut hasher),
        }
        (raft.durability.index(), self.disk.hard_state, &self.disk.entries).hash(&mut hasher);
        for ready in &self.writing {
            (ready.hard_state, &ready.entries, &ready.send_after_persist).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn start(id: NodeId, disk: Disk) -> Server {
        // Entries go one by one, so a follower may have any part of what it lacks.
        let config = Config {
            id,
            max_append_bytes: 1,
            max_inflight_appends: usize::MAX,
            ..default_config()
        };
        let raft = Raft::new(config, disk.recover(), NOW_MS);
        let mut server = Server { raft, disk, writing: VecDeque::new() };
        let sent = server.pump();
        assert!(sent.is_empty(), "a server that starts says nothing");
        server
    }

    /// Takes Readys until there are none.
    fn pump(&mut self) -> Vec<Envelope> {
        let mut sent = Vec::new();
        while let Some(mut ready) = self.raft.ready() {
            sent.extend(self.envelopes(std::mem::take(&mut ready.send_now)));
            if ready.must_sync() || !self.writing.is_empty() {
                self.writing.push_back(ready);
            } else {
                sent.extend(self.envelopes(ready.send_after_persist));
            }
        }
        sent
    }

    fn envelopes(&self, messages: Vec<(NodeId, Message)>) -> Vec<Envelope> {
        let from = self.id();
        let sent = messages.into_iter().filter(|(_, message)| !is_idle(message));
        sent.map(|(to, message)| Envelope { from, to, message }).collect()
    }
}

/// Whether the message changes nothing in the model: pre-votes are always won, and no answer to a
/// heartbeat is ever overdue.
fn is_idle(message: &Message) -> bool {
    matches!(message, Message::PreVote { .. } | Message::HeartbeatReply { .. })
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} {}", self.from.0, self.to.0, self.message)
    }
}
