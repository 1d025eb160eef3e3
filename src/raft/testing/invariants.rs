//! What must hold in every history, checked at every step (§5.2, figure 3).

use std::collections::BTreeMap;

use super::disk::{Disk, State};
use crate::raft::quorum;
use crate::types::{Configuration, Entry, HardState, Index, NodeId, Term};

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    terms: BTreeMap<NodeId, Term>,
    /// Each entry that was ever written, and the term of the one before it.
    written: BTreeMap<(Index, Term), (Entry, Term)>,
    /// Each entry that was ever applied, and the term of the one who applied it first.
    committed: BTreeMap<Index, (Entry, Term)>,
    /// The digest of the state after each entry.
    digests: BTreeMap<Index, u64>,
    /// For each read that is not answered, what was committed when it was asked.
    reads: BTreeMap<u64, Index>,
}

impl Invariants {
    /// Election safety: a term has at most one leader.
    pub(super) fn leads(&mut self, id: NodeId, term: Term) {
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "two leaders in term {term}");
    }

    /// Leader completeness: a leader's log holds what was committed before its term.
    pub(super) fn is_complete(&self, term: Term, holds: impl Fn(Index, Term) -> bool) {
        let mut earlier = self.committed.values().filter(|(_, by)| *by < term);
        if let Some((entry, _)) = earlier.next_back() {
            assert!(holds(entry.index(), entry.term()), "the leader of {term} lacks {entry:?}");
        }
    }

    /// Terms never fall on a disk, and a vote is never changed.
    pub(super) fn persists(&mut self, id: NodeId, hard_state: HardState) {
        let term = self.terms.entry(id).or_default();
        assert!(hard_state.term >= *term, "the term of {id} falls on its disk");
        *term = hard_state.term;
        if let Some(vote) = hard_state.vote {
            let known = *self.votes.entry((id, hard_state.term)).or_insert(vote);
            assert_eq!(known, vote, "{id} votes twice in term {}", hard_state.term);
        }
    }

    /// Log matching: an entry's index and term say what it is and what comes before it.
    pub(super) fn writes(&mut self, entry: &Entry, before: Term) {
        let key = (entry.index(), entry.term());
        let known = self.written.entry(key).or_insert_with(|| (entry.clone(), before));
        assert_eq!(*known, (entry.clone(), before), "two logs differ before {entry:?}");
    }

    /// State machine safety: nobody applies another entry at an index, or to another state.
    pub(super) fn applies(&mut self, term: Term, entry: &Entry, state: &State) {
        let known = self.committed.entry(entry.index()).or_insert_with(|| (entry.clone(), term));
        assert_eq!(known.0, *entry, "two entries were committed at {}", entry.index());
        let digest = *self.digests.entry(entry.index()).or_insert(state.digest);
        assert_eq!(digest, state.digest, "two states at {}", entry.index());
    }

    /// An entry commits only when a majority holds it durably.
    pub(super) fn is_durable<'a>(
        &self,
        entry: &Entry,
        configuration: &Configuration,
        disk_of: impl Fn(NodeId) -> &'a Disk,
    ) {
        if !self.committed.contains_key(&entry.index()) {
            let holds = quorum::agreed(configuration, |voter| disk_of(voter).holds(entry));
            assert_eq!(
                holds,
                Some(true),
                "{entry:?} was committed but is not on a majority's disks"
            );
        }
    }

    /// The state that a snapshot holds is the one that its entries make.
    pub(super) fn installs(&self, state: &State) {
        assert_eq!(
            self.digests.get(&state.applied),
            Some(&state.digest),
            "the snapshot at {} is of another state",
            state.applied
        );
    }

    pub(super) fn asks(&mut self, context: u64) {
        self.reads.insert(context, self.committed_index());
    }

    /// Linearizability: a read sees everything that was committed when it was asked.
    pub(super) fn answers(&mut self, context: u64, index: Option<Index>) {
        let asked_at = self.reads.remove(&context).expect("each read is answered once");
        if let Some(index) = index {
            assert!(index >= asked_at, "read {context} misses entries {index} to {asked_at}");
        }
    }

    /// A crash forgets the reads of its server; nobody waits for them.
    pub(super) fn forgets(&mut self, context: u64) {
        self.reads.remove(&context);
    }

    pub(super) fn committed_index(&self) -> Index {
        self.committed.last_key_value().map_or(Index(0), |(&index, _)| index)
    }
}
