//! The follower's side of replication (§5.3): store what the leader has, commit what it commits.
//!
//! A follower's log may hold entries that were never committed; they give way to the leader's, but
//! only where the two really conflict. An old append that says less than the log already holds must
//! not cut off what came after it: those entries may have been acknowledged.

use super::message::{Message, Position};
use super::{Raft, Role};
use crate::types::{Entry, Index, NodeId};

impl Raft {
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        prev: Position,
        commit: Index,
        entries: Vec<Entry>,
    ) {
        self.follow(from);
        if self.is_installing() {
            // The log is about to restart behind the snapshot; the leader will ask again.
            return;
        }
        let is_trusted = planted!(PrevTermUnchecked) && prev.index <= self.log.last_index();
        if prev.index >= self.log.commit() && !self.log.holds(prev) && !is_trusted {
            let hint = self.log.last_not_above(prev);
            let rejected = Message::Rejected { term: self.term(), prev_index: prev.index, hint };
            self.send(from, rejected);
            return;
        }
        // Entries up to the commit index agree with every leader's, even if they are dropped by now.
        let sent_to = entries.last().map_or(prev.index, Entry::index);
        let verified = sent_to.max(self.log.commit());
        self.store(entries);
        self.log.commit_to(if planted!(CommitsUnverified) { commit } else { commit.min(verified) });
        let verified =
            if planted!(AcknowledgesUnverified) { verified.max(commit) } else { verified };
        self.send(from, Message::Appended { term: self.term(), match_index: verified });
    }

    pub(super) fn on_heartbeat(&mut self, from: NodeId, commit: Index, round: u64) {
        self.on_commit(from, commit);
        self.send(from, Message::HeartbeatReply { term: self.term(), round });
    }

    pub(super) fn on_commit(&mut self, from: NodeId, commit: Index) {
        self.follow(from);
        // The leader bounds it by what this server has acknowledged as durable.
        self.log.commit_to(commit);
    }

    /// Whether this server knows a leader and is not it.
    pub(super) fn known_leader(&self) -> Option<NodeId> {
        match self.role {
            Role::Follower => self.leader,
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => None,
        }
    }

    /// Adds the entries that the log does not hold; from the first conflict on, they replace its own.
    fn store(&mut self, entries: Vec<Entry>) {
        let is_new = |entry: &Entry| {
            let position = Position { index: entry.index(), term: entry.term() };
            let is_held = self.log.holds(position) && !planted!(TruncatesMatchingSuffix);
            position.index > self.log.commit() && !is_held
        };
        let Some(first_new) = entries.iter().position(is_new) else { return };
        let from = entries[first_new].index();
        if from <= self.log.last_index() {
            self.log.truncate(from);
            self.durability.truncate(from.prev());
        }
        for entry in entries.into_iter().skip(first_new) {
            self.log.append(entry);
        }
    }
}
