//! Durable before acknowledged: a vote and an entry are on the disk before anybody hears of them,
//! and an entry is committed only when a majority's disks hold it (Raft §5.2, §5.3, figure 2
//! "updated on stable storage before responding to RPCs").
//!
//! The books are kept by what the disks have finished, not by what servers say: whatever was durable
//! once must be found again by every recovery.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Stamp;
use crate::node::Persist;
use crate::raft::ReadyNumber;
use crate::types::{Configuration, Entry, HardState, Index, NodeId, SnapshotMeta, Term};

/// Every server's disk, those of servers that lost theirs included: what they once held counted.
#[derive(Debug, Default)]
pub(super) struct Durability {
    disks: BTreeMap<NodeId, Kept>,
    /// What servers found that are still making it durable.
    found: BTreeMap<NodeId, Kept>,
}

/// What one disk holds for sure, and what is on its way to it.
#[derive(Debug, Default)]
struct Kept {
    hard_state: HardState,
    /// All before and at this index is in a snapshot or forgotten.
    base: Index,
    /// The entries after it.
    entries: VecDeque<Stamp>,
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    number: ReadyNumber,
    hard_state: Option<HardState>,
    entries: Vec<(Index, Stamp)>,
}

impl Durability {
    pub(super) fn hands_over(&mut self, id: NodeId, persist: &Persist) {
        let entries = persist.entries.iter().map(|entry| (entry.index(), Stamp::of(entry)));
        let pending = Pending {
            number: persist.number,
            hard_state: persist.hard_state,
            entries: entries.collect(),
        };
        self.disks.entry(id).or_default().pending.push_back(pending);
    }

    pub(super) fn persisted(&mut self, id: NodeId, number: ReadyNumber) {
        let kept = self.disks.entry(id).or_default();
        while kept.pending.front().is_some_and(|pending| pending.number <= number) {
            let pending = kept.pending.pop_front().expect("there is a front");
            kept.hard_state = pending.hard_state.unwrap_or(kept.hard_state);
            pending.entries.into_iter().for_each(|(index, stamp)| kept.write(index, stamp));
        }
    }

    pub(super) fn founds(&mut self, id: NodeId, hard_state: HardState, entry: &Entry) {
        let kept = self.disks.entry(id).or_default();
        *kept = Kept { hard_state, ..Kept::default() };
        kept.write(entry.index(), Stamp::of(entry));
    }

    pub(super) fn installs(&mut self, id: NodeId, index: Index) {
        let kept = self.disks.entry(id).or_default();
        kept.base = index;
        kept.entries.clear();
    }

    /// A follower says that its log is durable up to `index`, which has `term` in its log.
    pub(super) fn acknowledges(
        &self,
        id: NodeId,
        index: Index,
        term: Option<Term>,
    ) -> Result<(), String> {
        let Some(kept) = self.disks.get(&id) else {
            return Err(format!("{id} acknowledges entry {index} and has written nothing"));
        };
        let held = index <= kept.base
            || kept.get(index).is_some_and(|stamp| term.is_none_or(|term| stamp.term == term));
        if held {
            return Ok(());
        }
        Err(format!(
            "{id} acknowledges entry {index}; its disk holds entries up to {}",
            kept.last()
        ))
    }

    /// A server speaks for its log in `term`: it must find its way back into that term.
    pub(super) fn is_in(&self, id: NodeId, term: Term) -> Result<(), String> {
        let Some(kept) = self.disks.get(&id) else {
            return Err(format!("{id} answers in term {term} and has written nothing"));
        };
        let last = kept.entries.back().map_or(Term(0), |stamp| stamp.term);
        if kept.hard_state.term.max(last) >= term {
            return Ok(());
        }
        Err(format!("{id} answers in term {term}; its disk says {:?}", kept.hard_state))
    }

    /// A voter says that it votes for `candidate` in `term`.
    pub(super) fn votes(&self, id: NodeId, term: Term, candidate: NodeId) -> Result<(), String> {
        let found = self.disks.get(&id).map(|kept| kept.hard_state).unwrap_or_default();
        let vote = HardState { term, vote: Some(candidate) };
        // A vote of an older term that leaves late is refused by its receiver.
        if found == vote || found.term > term {
            Ok(())
        } else {
            Err(format!("{id} votes for {candidate} in term {term}; its disk says {found:?}"))
        }
    }

    /// Whether a majority held the entry on disk, under one of the configurations that may have
    /// decided it.
    pub(super) fn is_committed(
        &self,
        index: Index,
        stamp: Stamp,
        configurations: &[Configuration],
    ) -> Result<(), String> {
        let holds = |id: &NodeId| {
            let kept = self.disks.get(id);
            kept.is_some_and(|kept| index <= kept.base || kept.get(index) == Some(stamp))
        };
        let majority = |voters: &BTreeSet<NodeId>| {
            voters.is_empty() || voters.iter().filter(|id| holds(id)).count() > voters.len() / 2
        };
        let decides = |known: &Configuration| majority(&known.voters) && majority(&known.outgoing);
        if configurations.iter().any(decides) {
            return Ok(());
        }
        let holders: Vec<&NodeId> = self.disks.keys().filter(|id| holds(id)).collect();
        Err(format!("entry {index} of term {} is committed; only {holders:?} hold it", stamp.term))
    }

    /// What was found must be what was kept, but for what was on its way.
    pub(super) fn recovers(
        &mut self,
        id: NodeId,
        hard_state: HardState,
        snapshot: &SnapshotMeta,
        entries: &[Entry],
    ) -> Result<(), String> {
        let known = self.disks.get(&id);
        let result = known.map_or(Ok(()), |kept| kept.compare(id, hard_state, snapshot, entries));
        let entries = entries.iter().map(Stamp::of).collect();
        let found = Kept { hard_state, base: snapshot.index, entries, pending: VecDeque::new() };
        self.found.insert(id, found);
        result
    }

    /// The repairs are done: what was found is durable. Until then the next crash may take away what
    /// nobody had waited for.
    pub(super) fn repaired(&mut self, id: NodeId) {
        if let Some(found) = self.found.remove(&id) {
            self.disks.insert(id, found);
        }
    }
}

impl Kept {
    fn last(&self) -> Index {
        Index(self.base.0 + self.entries.len() as u64)
    }

    fn get(&self, index: Index) -> Option<Stamp> {
        let at = index.0.checked_sub(self.base.0 + 1)?;
        self.entries.get(at as usize).copied()
    }

    /// Writes an entry; those after it are superseded.
    fn write(&mut self, index: Index, stamp: Stamp) {
        if index <= self.base {
            return;
        }
        self.entries.truncate((index.0 - self.base.0 - 1) as usize);
        self.entries.push_back(stamp);
    }

    fn compare(
        &self,
        id: NodeId,
        hard_state: HardState,
        snapshot: &SnapshotMeta,
        entries: &[Entry],
    ) -> Result<(), String> {
        let pending = self.pending.iter().filter_map(|pending| pending.hard_state);
        let known = pending.chain([self.hard_state]).any(|known| known == hard_state);
        if !known {
            return Err(format!("{id} kept {:?} and finds {hard_state:?}", self.hard_state));
        }
        // A snapshot of another history supersedes all that it finds, and may be durable before the
        // server is told so (Raft §7).
        let covered = self.get(snapshot.index);
        if covered.is_some_and(|stamp| stamp.term != snapshot.term) {
            let kept = self.get(snapshot.index.next());
            return match entries.first().map(Stamp::of) {
                Some(found) if Some(found) == kept => {
                    Err(format!("{id} finds {found:?} after a snapshot of another history"))
                }
                Some(_) | None => Ok(()),
            };
        }
        for index in (self.base.0 + 1..=self.last().0).map(Index) {
            if index <= snapshot.index {
                continue;
            }
            let found = entries.get((index.0 - snapshot.index.0 - 1) as usize).map(Stamp::of);
            let superseded = self.pending.iter().flat_map(|pending| &pending.entries);
            let is_superseded = superseded.clone().any(|(from, _)| *from <= index);
            if found != self.get(index) && !is_superseded {
                let kept = self.get(index);
                return Err(format!("{id} kept {kept:?} at {index} and finds {found:?}"));
            }
        }
        Ok(())
    }
}
