//! What must be found again after a crash.

use crate::storage::Recovered;
use crate::types::{Entry, HardState};

/// What a server must find again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) hard_state: HardState,
    /// Index and term; 0 and 0 for none.
    pub(super) snapshot: (u64, u64),
    /// The index before the first of `log`.
    pub(super) base: u64,
    pub(super) log: Vec<Entry>,
}

impl Model {
    pub(super) fn new() -> Model {
        Model { hard_state: HardState::default(), snapshot: (0, 0), base: 0, log: Vec::new() }
    }

    pub(super) fn last(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        let at = index.checked_sub(self.base + 1)?;
        self.log.get(at as usize).map(|entry| entry.term().0)
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.log.truncate((first.index().0 - self.base - 1) as usize);
        self.log.extend_from_slice(entries);
    }

    /// What recovery does when log and snapshot don't join: the log starts after the snapshot.
    pub(super) fn settle(&mut self) {
        let (index, term) = self.snapshot;
        if index > self.base && self.term_at(index) != Some(term) {
            (self.base, self.log) = (index, Vec::new());
        }
    }

    /// The entries after the snapshot, as recovery gives them.
    pub(super) fn tail(&self) -> Vec<Entry> {
        let mut settled = self.clone();
        settled.settle();
        settled.log.split_off((self.snapshot.0 - settled.base) as usize)
    }

    pub(super) fn is(&self, found: &Recovered) -> bool {
        let snapshot = found.snapshot.as_ref().map_or((0, 0), |meta| (meta.index.0, meta.term.0));
        found.hard_state == self.hard_state
            && snapshot == self.snapshot
            && found.entries == self.tail()
    }
}
