//! Raft: one log, agreed on by a majority, in spite of crashes and of what networks do to messages.
//!
//! This is the algorithm of Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm" (2014; cited as §), with the extensions of Ongaro's dissertation "Consensus: Bridging
//! Theory and Practice" (2014; cited as thesis §). It is a state machine without a clock, a disk or
//! a network: inputs are method calls that carry the time, effects gather in a [`Ready`].
//!
//! ```text
//!   tick, step, propose, read_index ...            +------+   entries, term, vote --> disk
//!   ------------------------------------> Raft --> |Ready |   messages -------------> peers
//!   persisted, snapshot_installed ...              +------+   committed entries ----> state machine
//! ```
//!
//! After any input a driver takes Readys until there are none, and does what they say; `ready` tells
//! in which order. It calls `tick` at `next_deadline_ms` at the latest.
//!
//! # How it works
//! Time is divided into *terms*. In each, at most one server is elected leader, because a server
//! votes once a term, durably, and a majority must vote for the leader. The leader appends proposals
//! to its log and sends them to the followers; an entry that a majority has stored durably is
//! *committed*: every later leader has it, because a voter refuses a candidate whose log is less
//! up-to-date than its own. Committed entries are applied in order, so all servers apply the same.
//!
//! ```text
//!                  no leader heard        majority would vote      majority voted
//!    +----------+ ----------------> +--------------+ ---> +-----------+ ---> +--------+
//!    | Follower |                   | PreCandidate |      | Candidate |      | Leader |
//!    +----------+ <---------------- +--------------+      +-----------+      +--------+
//!         ^        leader, newer term or refusals              |                 |
//!         +----------------------------------------------------+-----------------+
//!          newer term; no majority heard, disk stalled, or removed from the voters (leader)
//! ```
//!
//! - `election`: pre-votes, votes, stickiness, check-quorum (§5.2, §5.4.1, thesis §6.2, §9.6).
//! - `replication`: the leader's appends, pipelined, and the commit index (§5.3, §5.4.2,
//!   thesis §10.2.1); `progress` is what it knows of one follower.
//! - `follower`: appends, heartbeats and commits as they are received.
//! - `membership`: joint consensus and learners (§6, thesis §4.2.1).
//! - `read_index`: linearizable reads that do not enter the log (thesis §6.4).
//! - `transfer`: handing over leadership (thesis §3.10).
//! - `snapshot`: sending and receiving what is no longer in the log (§7).
//! - `log`, `durability`, `quorum`: the log in memory, what of it is on disk, and majorities.
//!
//! # Architecture invariants
//! There is no clock, no I/O, and no randomness but the seeded [`Prng`]. Nothing that a crash could
//! undo is promised before it is durable: [`Message::waits_for_disk`] says which messages those are,
//! and [`Ready`] keeps them apart. Time may jump: every deadline is counted from the moment it is
//! set, so a long stall causes one timeout, not a series of them.
//!
//! What is not here: sessions and exactly-once writes, which belong to the state machine (§8), and
//! leader leases (thesis §6.4.1).

mod config;
mod durability;
mod election;
mod follower;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod read_index;
mod ready;
mod replication;
mod snapshot;
mod status;
mod transfer;
pub mod wire;

#[cfg(test)]
mod testing;

use std::collections::BTreeMap;

pub use config::{
    Config, MAX_COMMITTED_BYTES, MAX_PENDING_READS, MAX_SNAPSHOT_CHUNK_BYTES, MAX_UNSETTLED_BYTES,
    Recovered,
};
pub use membership::ChangeError;
pub use message::{Message, Position};
pub use progress::ProgressState;
pub use read_index::ReadError;
pub use ready::{ReadLost, ReadState, Ready, ReadyNumber, SnapshotRead, SnapshotWrite};
pub use replication::ProposeError;
pub use status::{Outline, PeerStatus, RoleName, Status};
pub use transfer::TransferError;

use durability::Durability;
use election::Ballot;
use log::Log;
use progress::Progress;
use read_index::{ForwardedReads, ReadRounds};
use snapshot::Incoming;
use transfer::Transfer;

use crate::prng::Prng;
use crate::types::{HardState, Index, NodeId, SnapshotMeta, Term};

/// One server's part in the consensus.
#[derive(Clone, Debug)]
pub struct Raft {
    config: Config,
    prng: Prng,
    /// The latest time any call has told. It never goes back.
    now_ms: u64,
    /// The term and vote. The term never falls, and the vote changes at most once a term.
    hard_state: HardState,
    /// The term and vote that the latest Ready gave to the disk.
    handed_hard_state: HardState,
    role: Role,
    /// The leader of the current term, once it has been heard.
    leader: Option<NodeId>,
    /// When the leader was last heard.
    leader_contact_ms: u64,
    /// When a server that does not lead gives up on the leader or on its campaign.
    election_deadline_ms: u64,
    log: Log,
    durability: Durability,
    /// The snapshot being received.
    incoming: Option<Incoming>,
    /// Reads this server asks the leader about.
    forwarded: ForwardedReads,
    /// The number of the last Ready that was taken.
    taken: ReadyNumber,
    /// The effects gathered since then.
    outbox: Ready,
}

/// What a server is in its term. Learners are followers that the configuration gives no vote.
#[derive(Clone, Debug)]
enum Role {
    Follower,
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Box<Leader>),
}

/// What only a leader has.
#[derive(Clone, Debug)]
struct Leader {
    /// Every other member, and members being removed until their removal is committed.
    progress: BTreeMap<NodeId, Progress>,
    /// The index of the empty entry that began the term. Entries before it do not commit by
    /// counting (§5.4.2), and until it is committed the true commit index is unknown.
    term_start: Index,
    /// The bytes of entries that are uncommitted, or not durable here: all that proposals may still
    /// have to wait for.
    unsettled_bytes: usize,
    /// When the next heartbeat is due. Rounds of reads do not postpone it: what a leader checks at
    /// each tick must not wait until nobody reads.
    heartbeat_deadline_ms: u64,
    reads: ReadRounds,
    transfer: Option<Transfer>,
}

impl Raft {
    /// A server that starts with what its disk holds.
    ///
    /// # Panics
    /// When the configuration makes no sense, or entries are missing behind the snapshot.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered, now_ms: u64) -> Raft {
        config.check();
        let log = Log::recover(recovered.snapshot, recovered.entries);
        let mut prng = Prng::new(config.seed);
        let mut raft = Raft {
            now_ms,
            hard_state: recovered.hard_state,
            handed_hard_state: recovered.hard_state,
            role: Role::Follower,
            leader: None,
            leader_contact_ms: now_ms,
            election_deadline_ms: now_ms,
            durability: Durability::recovered(recovered.hard_state, log.last_index()),
            log,
            incoming: None,
            forwarded: ForwardedReads::new(prng.next_u64()),
            taken: ReadyNumber(0),
            outbox: Ready::default(),
            config,
            prng,
        };
        // The entries of a term may have reached the disk when the term itself did not.
        raft.enter_term(raft.log.last().term);
        if planted!(ForgetsVote) {
            raft.hard_state.vote = None;
        }
        if !raft.is_sole_voter() {
            raft.reset_election_deadline();
        }
        raft
    }

    /// When [`tick`](Raft::tick) must be called at the latest.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        match &self.role {
            Role::Leader(leader) => leader.heartbeat_deadline_ms,
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {
                let expiry_ms = self.forwarded.expiry_ms(self.config.election_timeout_ms);
                expiry_ms.map_or(self.election_deadline_ms, |ms| ms.min(self.election_deadline_ms))
            }
        }
    }

    /// Time has passed. Calls may come early, late or not at all for a while.
    pub fn tick(&mut self, now_ms: u64) {
        self.advance_clock(now_ms);
        match self.role {
            Role::Leader(_) => self.tick_leader(),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.expire_forwarded_reads();
                self.tick_election();
            }
        }
    }

    /// A message has come. It may be old, repeated, out of order, or from a server that is no member.
    pub fn step(&mut self, from: NodeId, message: Message, now_ms: u64) {
        self.advance_clock(now_ms);
        if from == self.config.id || !self.admit(from, &message) {
            return;
        }
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&from)
        {
            progress.contacted(self.now_ms);
        }
        match message {
            Message::PreVote { term, last } => self.on_pre_vote(from, term, last),
            Message::PreVoteReply { term, granted } => self.on_pre_vote_reply(from, term, granted),
            Message::Vote { last, .. } => self.on_vote(from, last),
            Message::VoteReply { granted, .. } => self.on_vote_reply(from, granted),
            Message::Append { prev, commit, entries, .. } => {
                self.on_append(from, prev, commit, entries);
            }
            Message::Appended { match_index, .. } => self.on_appended(from, match_index),
            Message::Rejected { prev_index, hint, .. } => self.on_rejected(from, prev_index, hint),
            Message::Heartbeat { commit, round, .. } => self.on_heartbeat(from, commit, round),
            Message::HeartbeatReply { round, .. } => self.on_heartbeat_reply(from, round),
            Message::Commit { commit, .. } => self.on_commit(from, commit),
            Message::ReadIndex { batch, .. } => self.on_read_index(from, batch),
            Message::ReadIndexReply { batch, index, .. } => self.on_read_index_reply(batch, index),
            Message::TimeoutNow { .. } => self.on_timeout_now(from),
            Message::SnapshotChunk { meta, offset, data, last, .. } => {
                self.on_snapshot_chunk(from, SnapshotWrite { meta: *meta, offset, data, last });
            }
            Message::SnapshotAck { index, offset, .. } => self.on_snapshot_ack(from, index, offset),
            Message::NewerTerm { .. } => {}
        }
    }

    /// The effects that have gathered, or `None` when there is nothing to do. Appends, rounds of
    /// reads and the like are made here, so what arrives between two calls shares their messages.
    #[must_use]
    pub fn ready(&mut self) -> Option<Ready> {
        self.start_read_round();
        self.forward_reads();
        self.replicate();
        let is_bare_term = self.hard_state.vote.is_none() && planted!(TermNotPersisted);
        if self.hard_state != self.handed_hard_state && !is_bare_term {
            self.outbox.hard_state = Some(self.hard_state);
            self.handed_hard_state = self.hard_state;
        }
        self.outbox.entries = self.log.take_unhanded();
        if !self.is_installing() {
            // What is being installed replaces the state that these entries would change.
            let durable = self.durability.index();
            self.outbox.committed = self.log.take_committed(durable, MAX_COMMITTED_BYTES);
        }
        if self.outbox.is_empty() {
            return None;
        }
        self.taken = ReadyNumber(self.taken.0 + 1);
        let ready = Ready { number: self.taken, ..std::mem::take(&mut self.outbox) };
        if ready.must_sync() {
            let last = self.log.last_index();
            self.durability.hand_over(ready.number, ready.hard_state, last, self.now_ms);
        }
        Some(ready)
    }

    /// Every Ready up to `number` is durable.
    ///
    /// # Panics
    /// When no such Ready was taken.
    pub fn persisted(&mut self, number: ReadyNumber, now_ms: u64) {
        self.advance_clock(now_ms);
        assert!(number <= self.taken, "Ready {} was never taken", number.0);
        self.durability.confirm(number, self.now_ms);
        match self.role {
            Role::Candidate(_) => self.count_own_vote(),
            Role::Leader(_) => {
                self.settle();
                self.advance_commit();
            }
            Role::Follower | Role::PreCandidate(_) => {}
        }
    }

    /// A snapshot of the applied state, at `meta.index`, is durable. The log before `first_retained`
    /// is dropped; entries kept before the snapshot spare slow followers a transfer.
    ///
    /// # Panics
    /// When the snapshot claims more than was applied, or entries would be lost behind it.
    pub fn compact(&mut self, meta: SnapshotMeta, first_retained: Index) {
        self.log.compact(meta, first_retained);
    }

    /// The link to a peer broke: what was sent may be lost, so it is probed again.
    pub fn peer_unreachable(&mut self, peer: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            progress.lost(self.now_ms);
        }
    }

    fn term(&self) -> Term {
        self.hard_state.term
    }

    fn advance_clock(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.send(to, message);
    }
}
