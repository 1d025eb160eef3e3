//! The log as it stands in memory, and the configurations that lie in it.
//!
//! ```text
//!            base                                commit          handed   last
//!   dropped   |  kept for slow followers            |               |      |
//!  -----------+----------------------+--------------+---------------+------+
//!             first        ^         ^ emitted                 given to the disk
//!                       snapshot
//! ```

use std::collections::VecDeque;

use super::message::Position;
use crate::types::{Configuration, Entry, EntryKind, Index, NodeId, SnapshotMeta};

/// The log of one server.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// The entry before the first one kept. Everything up to it is committed and in the snapshot.
    base: Position,
    /// The entries after `base`, contiguous, their terms never falling.
    entries: VecDeque<Entry>,
    /// The newest durable snapshot. Its index is at least `base.index` and at most `emitted`.
    snapshot: SnapshotMeta,
    /// Entries up to here are known to be stored by a majority and never change. It never falls and
    /// is never beyond the last entry.
    commit: Index,
    /// Entries up to here were given out to be applied. It never falls, so each entry is given out
    /// once. It is at most `commit`, and never beyond what is durable here: the state must not be
    /// ahead of its own log, or a snapshot of it could meet a log on disk that it does not follow.
    emitted: Index,
    /// Entries up to here were given out to be made durable. It falls when they are truncated.
    handed: Index,
    /// Configurations by rising index. The first is that of an index that can no longer be truncated;
    /// the last is in force: a configuration counts from when it is appended (§6).
    configurations: Vec<(Index, Configuration)>,
}

impl Log {
    /// The log that a disk remembers.
    ///
    /// # Panics
    /// When entries are missing between the snapshot and the log.
    pub(super) fn recover(snapshot: SnapshotMeta, entries: Vec<Entry>) -> Log {
        let mut log = Log {
            base: Position { index: snapshot.index, term: snapshot.term },
            entries: VecDeque::new(),
            commit: snapshot.index,
            emitted: snapshot.index,
            handed: snapshot.index,
            configurations: vec![(snapshot.index, snapshot.configuration.clone())],
            snapshot,
        };
        let base_index = log.base.index;
        let at_base = entries.iter().find(|entry| entry.index() == base_index);
        if at_base.is_some_and(|entry| entry.term() != log.base.term) {
            // The snapshot was installed over a log that conflicts with it, and the crash came before
            // the log was dropped (§7).
            return log;
        }
        for entry in entries.into_iter().skip_while(|entry| entry.index() <= base_index) {
            log.append(entry);
        }
        log.handed = log.last_index();
        log
    }

    /// The last entry; the snapshot's where the log is empty.
    pub(super) fn last(&self) -> Position {
        self.entries
            .back()
            .map_or(self.base, |entry| Position { index: entry.index(), term: entry.term() })
    }

    /// The index of the last entry.
    pub(super) fn last_index(&self) -> Index {
        self.last().index
    }

    /// The index of the first entry kept, or that the next one will have.
    pub(super) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// Up to where entries are committed.
    pub(super) fn commit(&self) -> Index {
        self.commit
    }

    /// The newest durable snapshot.
    pub(super) fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The configuration in force: the latest, committed or not.
    pub(super) fn configuration(&self) -> &Configuration {
        &self.latest_configuration().1
    }

    /// The index of the configuration in force.
    pub(super) fn configuration_index(&self) -> Index {
        self.latest_configuration().0
    }

    /// The index of the latest committed configuration.
    pub(super) fn committed_configuration_index(&self) -> Index {
        self.committed_configuration().0
    }

    /// Whether `id` votes in the latest committed configuration or one after it.
    pub(super) fn may_be_voter(&self, id: NodeId) -> bool {
        let committed = self.committed_configuration_index();
        let possible = self.configurations.iter().filter(|(index, _)| *index >= committed);
        possible.map(|(_, configuration)| configuration).any(|known| known.is_voter(id))
    }

    /// The position of the entry at `index`; `None` where it is dropped or not there yet.
    pub(super) fn position(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.get(index).map(|entry| Position { index, term: entry.term() })
    }

    /// Whether the log holds the entry at `position`.
    pub(super) fn holds(&self, position: Position) -> bool {
        self.position(position.index) == Some(position)
    }

    /// The last entry at or before `limit` whose term is at most that of `limit`, or the base. Both
    /// sides of a conflict use it to skip whole terms at once (§5.3).
    pub(super) fn last_not_above(&self, limit: Position) -> Position {
        // Neither terms nor indexes fall along the log, so the entries within the limit come first.
        let within = |entry: &Entry| entry.index() <= limit.index && entry.term() <= limit.term;
        let count = self.entries.partition_point(within) as u64;
        self.position(Index(self.base.index.0 + count)).expect("it lies in the log")
    }

    /// Entries from `from` on: at least one where there is any, then as many as fit in `max_bytes`.
    pub(super) fn slice(&self, from: Index, max_bytes: usize) -> Vec<Entry> {
        self.bounded(from, self.last_index(), max_bytes)
    }

    /// The size of the entry at `index`, in bytes; 0 where there is none.
    pub(super) fn len_bytes(&self, index: Index) -> usize {
        self.get(index).map_or(0, Entry::len_bytes)
    }

    /// The size of all entries that are uncommitted or after `durable`, in bytes.
    pub(super) fn unsettled_bytes(&self, durable: Index) -> usize {
        let settled = self.commit.min(durable).0 - self.base.index.0;
        self.entries.range(settled as usize..).map(Entry::len_bytes).sum()
    }

    /// Adds an entry at the end. A configuration is in force from here on.
    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index() == last.index.next() && entry.term() >= last.term,
            "entry {entry:?} does not follow {last}: the log would have a gap"
        );
        if entry.kind() == EntryKind::Configuration {
            let configuration = Configuration::decode(entry.body())
                .expect("a configuration is checked when it is received, proposed or recovered");
            self.configurations.push((entry.index(), configuration));
        }
        self.entries.push_back(entry);
    }

    /// Drops the entries from `from` on; configurations among them are no longer in force (§6).
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.commit,
            "entry {from} conflicts with the leader's, but entries up to {} are committed",
            self.commit
        );
        self.entries.truncate((from.0 - self.first_index().0) as usize);
        if !planted!(RewriteNotStored) {
            self.handed = self.handed.min(from.prev());
        }
        self.configurations.retain(|(index, _)| *index < from || planted!(ConfigNotRolledBack));
    }

    /// Commits up to `index`; an older index changes nothing.
    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(
            index <= self.last_index(),
            "entries up to {index} are committed, but the log ends at {}: it lost entries that it \
             had acknowledged",
            self.last_index()
        );
        self.commit = self.commit.max(index);
    }

    /// The entries that were not given to the disk yet; each is returned once.
    pub(super) fn take_unhanded(&mut self) -> Vec<Entry> {
        let entries = self.bounded(self.handed.next(), self.last_index(), usize::MAX);
        self.handed = self.last_index();
        entries
    }

    /// The next committed entries to apply, none after `durable` and up to `max_bytes`; each is
    /// returned once.
    pub(super) fn take_committed(&mut self, durable: Index, max_bytes: usize) -> Vec<Entry> {
        let entries = self.bounded(self.emitted.next(), self.commit.min(durable), max_bytes);
        self.emitted = entries.last().map_or(self.emitted, Entry::index);
        entries
    }

    /// A snapshot of what was applied is durable: drops the entries before `first_kept`.
    pub(super) fn compact(&mut self, meta: SnapshotMeta, first_kept: Index) {
        assert!(
            meta.index <= self.emitted,
            "a snapshot at {} cannot hold more than the entries up to {} that were applied",
            meta.index,
            self.emitted
        );
        assert!(
            first_kept <= meta.index.next(),
            "entries before {first_kept} are in no snapshot, the newest is at {}",
            meta.index
        );
        assert!(
            self.position(meta.index).is_none_or(|position| position.term == meta.term),
            "the snapshot at {} is of term {}, the log says otherwise",
            meta.index,
            meta.term
        );
        if meta.index > self.snapshot.index {
            self.snapshot = meta;
        }
        if first_kept > self.first_index() {
            let base = self.position(first_kept.prev()).expect("applied entries are in the log");
            self.entries.drain(..(first_kept.0 - self.first_index().0) as usize);
            self.base = base;
        }
        let in_force =
            self.configurations.partition_point(|(index, _)| *index <= first_kept.prev());
        self.configurations.drain(..in_force.saturating_sub(1));
    }

    /// The log restarts, empty, after an installed snapshot (§7).
    pub(super) fn restart(&mut self, meta: SnapshotMeta) {
        assert!(
            meta.index > self.commit,
            "the snapshot at {} would undo entries up to {} that are committed",
            meta.index,
            self.commit
        );
        *self = Log::recover(meta, Vec::new());
    }

    fn committed_configuration(&self) -> &(Index, Configuration) {
        let committed = self.configurations.iter().rev().find(|(index, _)| *index <= self.commit);
        committed.expect("the first configuration is always committed")
    }

    fn latest_configuration(&self) -> &(Index, Configuration) {
        if planted!(ConfigInForceOnCommit) {
            return self.committed_configuration();
        }
        self.configurations.last().expect("the first configuration is never dropped")
    }

    fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(offset as usize)
    }

    /// Entries `from..=to`, at least one where there is any, then while they fit in `max_bytes`.
    fn bounded(&self, from: Index, to: Index, max_bytes: usize) -> Vec<Entry> {
        assert!(from > self.base.index, "entry {from} was dropped");
        let start = (from.0 - self.base.index.0 - 1) as usize;
        let end = (to.0 - self.base.index.0) as usize;
        if start >= end {
            return Vec::new();
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.len_bytes();
            is_first || bytes <= max_bytes
        };
        self.entries.range(start..end).take_while(fits).cloned().collect()
    }
}
