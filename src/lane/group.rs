//! Group commit: what waits while the disk is busy becomes one write (DeWitt et al. 1984).
//!
//! ```text
//!  queue: P1 P2 P3 T P4     P: persist   T: truncate
//!         \_____/            one write, one sync; then the node learns that 3 is durable
//! ```
//!
//! A group has no limit of its own: it grows to what came during one write, so latency stays at one
//! write when little comes, and throughput rises with what does.

use std::collections::VecDeque;

use super::LogWork;
use crate::node::Persist;
use crate::raft::{ReadyNumber, SnapshotWrite};
use crate::types::{Entry, HardState};

/// What one write makes durable.
#[derive(Debug)]
pub(super) struct Group {
    /// Of its last member; acknowledging it acknowledges them all.
    pub(super) number: ReadyNumber,
    /// The newest term and vote; the older ones need never be seen on disk.
    pub(super) hard_state: Option<HardState>,
    /// Consecutive.
    pub(super) entries: Vec<Entry>,
    /// Only of the last member: they are written after the entries, so nothing follows them.
    pub(super) snapshot_writes: Vec<SnapshotWrite>,
}

impl Group {
    /// The group of `first` and of all at the front of `queue` that can be written with it.
    pub(super) fn take(first: Persist, queue: &mut VecDeque<LogWork>) -> Group {
        let Persist { number, hard_state, entries, snapshot_writes } = first;
        let mut group = Group { number, hard_state, entries, snapshot_writes };
        while let Some(LogWork::Persist(next)) = queue.pop_front_if(|work| group.admits(work)) {
            group.add(next);
        }
        group
    }

    /// Whether `work` can be written together with what is here.
    fn admits(&self, work: &LogWork) -> bool {
        match work {
            LogWork::Persist(next) => self.snapshot_writes.is_empty() && self.reaches(next),
            LogWork::Truncate { .. } | LogWork::Create { .. } | LogWork::Join { .. } => false,
        }
    }

    /// Whether the entries of `next` follow without a gap and supersede none that are here.
    fn reaches(&self, next: &Persist) -> bool {
        match (self.entries.last(), next.entries.first()) {
            (Some(last), Some(first)) => first.index() == last.index().next(),
            (None, _) | (_, None) => true,
        }
    }

    fn add(&mut self, mut next: Persist) {
        self.number = next.number;
        self.hard_state = if planted!(GroupKeepsOldVote) {
            self.hard_state.or(next.hard_state)
        } else {
            next.hard_state.or(self.hard_state)
        };
        self.entries.append(&mut next.entries);
        self.snapshot_writes = next.snapshot_writes;
    }
}
