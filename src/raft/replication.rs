//! The leader's side of replication (§5.3) and the commit index (§5.4.2).
//!
//! Entries go to the followers before the leader's own disk has them; the leader counts itself like
//! any other server, when they are durable (thesis §10.2.1). Appends are made when a
//! [`Ready`] is taken: whatever was proposed, acknowledged or committed until then goes
//! out together.

use std::collections::BTreeMap;

use thiserror::Error;

use super::config::MAX_UNSETTLED_BYTES;
use super::message::{Message, Position};
use super::progress::{Outgoing, Progress};
use super::quorum;
use super::ready::{Ready, SnapshotRead};
use super::{Raft, Role};
use crate::types::{Entry, EntryBuilder, EntryKind, Index, NodeId, Term};

/// Why a batch was not proposed. It is in no log and will never be applied.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProposeError {
    /// Another server leads, or none that is known.
    #[error("this server does not lead; propose to the leader")]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// The leader is handing over.
    #[error("leadership is being transferred to {to}; propose again soon")]
    Transferring {
        /// The server that will lead.
        to: NodeId,
    },
    /// Too much is uncommitted or unwritten: see [`MAX_UNSETTLED_BYTES`].
    #[error("too many proposed bytes wait to be stored; propose again soon")]
    Full,
}

impl Raft {
    /// Appends a batch to the log and says where. It is committed when it comes out of a
    /// [`Ready`] at that index with this term; under another leader it may never be.
    ///
    /// # Errors
    /// When this server may not propose it, as [`ProposeError`] says.
    ///
    /// # Panics
    /// When the batch is a configuration: those go through
    /// [`propose_configuration`](Raft::propose_configuration).
    pub fn propose(&mut self, batch: EntryBuilder) -> Result<Index, ProposeError> {
        let Role::Leader(leader) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ProposeError::Transferring { to: transfer.to() });
        }
        if leader.unsettled_bytes + batch.len_bytes() > MAX_UNSETTLED_BYTES {
            return Err(ProposeError::Full);
        }
        let entry = batch.seal(self.log.last_index().next(), self.term());
        assert!(
            entry.kind() != EntryKind::Configuration,
            "a configuration is no batch of commands"
        );
        let index = entry.index();
        self.append_as_leader(entry);
        Ok(index)
    }

    /// Whether [`propose`](Raft::propose) would take a batch now, if there is room for it.
    #[must_use]
    pub fn accepts_proposals(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.transfer.is_none(),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// Adds an entry to the leader's own log; it goes out with the next Ready.
    pub(super) fn append_as_leader(&mut self, entry: Entry) {
        let Role::Leader(leader) = &mut self.role else {
            panic!("only a leader appends to its own log");
        };
        leader.unsettled_bytes += entry.len_bytes();
        self.log.append(entry);
    }

    /// Sends every follower what it may be sent now.
    pub(super) fn replicate(&mut self) {
        let term = self.term();
        let Role::Leader(leader) = &mut self.role else { return };
        for (&peer, progress) in &mut leader.progress {
            while let Some(outgoing) = progress.next(&self.log, &self.config, self.now_ms) {
                dispatch(&mut self.outbox, peer, term, self.log.commit(), outgoing);
            }
        }
    }

    /// Sends one thing to one follower.
    pub(super) fn send_outgoing(&mut self, to: NodeId, outgoing: Option<Outgoing>) {
        if let Some(outgoing) = outgoing {
            dispatch(&mut self.outbox, to, self.hard_state.term, self.log.commit(), outgoing);
        }
    }

    /// Shows every follower that the leader is alive.
    pub(super) fn broadcast_heartbeat(&mut self) {
        let term = self.term();
        let Role::Leader(leader) = &self.role else { return };
        let round = leader.reads.round();
        for (&peer, progress) in &leader.progress {
            // A follower may commit only what it is known to hold.
            let known = self.log.commit().min(progress.match_index());
            let commit =
                if planted!(HeartbeatCommitBeyondMatch) { self.log.commit() } else { known };
            self.outbox.send(peer, Message::Heartbeat { term, commit, round });
        }
    }

    pub(super) fn on_appended(&mut self, from: NodeId, match_index: Index) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        assert!(
            match_index <= self.log.last_index(),
            "{from} matches entry {match_index} of a log that ends at {}",
            self.log.last_index()
        );
        progress.appended(match_index, self.now_ms);
        self.advance_commit();
        self.advance_transfer();
    }

    pub(super) fn on_rejected(&mut self, from: NodeId, prev_index: Index, hint: Position) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.rejected(prev_index, hint, &self.log);
    }

    pub(super) fn on_heartbeat_reply(&mut self, from: NodeId, round: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.confirmed(round);
        let overdue = progress.heard(&self.log, &self.config, self.now_ms);
        self.send_outgoing(from, overdue);
        self.finish_read_rounds();
    }

    /// Commits what a majority has stored durably, if it is of this term. Entries of earlier terms
    /// commit with it, never by themselves: a majority may store them and a later leader still
    /// overwrite them (§5.4.2, figure 8).
    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (id, durable) = (self.config.id, self.durability.index());
        let durable = if planted!(LeaderCountsUnsynced) { self.log.last_index() } else { durable };
        let stored = |voter| if voter == id { durable } else { match_of(&leader.progress, voter) };
        let Some(agreed) = quorum::agreed(self.log.configuration(), stored) else { return };
        let is_of_term = agreed >= leader.term_start || planted!(CommitsPriorTerm);
        if agreed <= self.log.commit() || !is_of_term {
            return;
        }
        self.log.commit_to(agreed);
        self.settle();
        self.advance_membership();
    }

    /// Makes room for proposals after the commit index or the disk has moved.
    pub(super) fn settle(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.unsettled_bytes = self.log.unsettled_bytes(self.durability.index());
        }
    }
}

fn match_of(progress: &BTreeMap<NodeId, Progress>, voter: NodeId) -> Index {
    progress.get(&voter).map_or(Index(0), Progress::match_index)
}

fn dispatch(outbox: &mut Ready, to: NodeId, term: Term, commit: Index, outgoing: Outgoing) {
    match outgoing {
        Outgoing::Entries { prev, entries } => {
            outbox.send(to, Message::Append { term, prev, commit, entries });
        }
        Outgoing::Commit(commit) => outbox.send(to, Message::Commit { term, commit }),
        Outgoing::Snapshot { meta, offset } => {
            outbox.snapshot_reads.push(SnapshotRead { to, meta, offset });
        }
    }
}
