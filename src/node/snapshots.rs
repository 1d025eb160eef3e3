//! When to take a snapshot, and how much of the log to keep behind it.
//!
//! The log lives in memory as well as on disk, so its growth is bounded by taking a snapshot every so
//! many bytes. Some of it is kept behind the snapshot: a follower that was away for a moment catches
//! up from the log, which is cheaper than a snapshot.

use std::collections::VecDeque;

use crate::types::{Index, NodeId, SnapshotMeta};

/// How much log there may be before a snapshot is taken, and behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A snapshot is taken after at least this much log.
    pub min_log_bytes: u64,
    /// And after at most this much, however large the last snapshot was.
    pub max_log_bytes: u64,
    /// Servers that apply the same log would all take their snapshots at once, and their disks would
    /// all be busy at once: each waits for up to this much more log than the others. Never 0.
    pub stagger_bytes: u64,
    /// How much log stays behind a snapshot.
    pub retained_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        SnapshotPolicy {
            min_log_bytes: 48 << 20,
            max_log_bytes: 512 << 20,
            stagger_bytes: 16 << 20,
            retained_bytes: 16 << 20,
        }
    }
}

/// The bookkeeping of log sizes.
#[derive(Debug)]
pub(super) struct Snapshots {
    policy: SnapshotPolicy,
    /// Delivered entries whose bytes may have to be retained, oldest first: index and size.
    recent: VecDeque<(Index, u64)>,
    recent_bytes: u64,
    /// Delivered since the cut of the last snapshot.
    log_bytes: u64,
    /// The size of the last snapshot: rewriting it should not cost more than the log it replaces.
    last_bytes: u64,
    /// This server's part of the policy's.
    stagger_bytes: u64,
    in_progress: Option<SnapshotMeta>,
}

impl Snapshots {
    /// The bookkeeping of server `id`, whose number decides when its turn is.
    pub(super) fn new(policy: SnapshotPolicy, id: NodeId) -> Snapshots {
        Snapshots {
            stagger_bytes: id.0 % policy.stagger_bytes,
            policy,
            recent: VecDeque::new(),
            recent_bytes: 0,
            log_bytes: 0,
            last_bytes: 0,
            in_progress: None,
        }
    }

    /// Counts an entry that was delivered.
    pub(super) fn delivered(&mut self, index: Index, len_bytes: usize) {
        self.log_bytes += len_bytes as u64;
        self.recent.push_back((index, len_bytes as u64));
        self.recent_bytes += len_bytes as u64;
        while let Some((_, oldest_bytes)) = self.recent.front()
            && self.recent_bytes - oldest_bytes >= self.policy.retained_bytes
        {
            self.recent_bytes -= oldest_bytes;
            self.recent.pop_front();
        }
    }

    /// Whether it is time for a snapshot.
    pub(super) fn is_due(&self) -> bool {
        let enough =
            (self.last_bytes / 2).clamp(self.policy.min_log_bytes, self.policy.max_log_bytes);
        self.in_progress.is_none() && self.log_bytes >= enough + self.stagger_bytes
    }

    /// Notes that the cut for a snapshot is being made.
    pub(super) fn begin(&mut self, meta: SnapshotMeta) {
        assert!(self.in_progress.is_none(), "one snapshot is taken at a time");
        self.log_bytes = 0;
        self.in_progress = Some(meta);
    }

    /// The snapshot cut at `index` is durable and has `len_bytes`; returns it, unless one from the
    /// leader overtook it, and the first index of the log to retain.
    pub(super) fn saved(&mut self, index: Index, len_bytes: u64) -> Option<(SnapshotMeta, Index)> {
        let meta = self.in_progress.take_if(|meta| meta.index == index)?;
        self.last_bytes = len_bytes;
        let oldest = self.recent.front().map_or(meta.index.next(), |(index, _)| *index);
        let first_retained = oldest.min(meta.index.next());
        Some((meta, first_retained))
    }

    /// A snapshot from the leader replaced everything.
    pub(super) fn installed(&mut self) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.log_bytes = 0;
        self.in_progress = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn unstaggered() -> Snapshots {
        Snapshots::new(SnapshotPolicy::default(), NodeId(0))
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { index: Index(index), ..SnapshotMeta::default() }
    }

    #[test]
    fn one_is_due_after_enough_log_and_not_while_another_is_taken() {
        let mut snapshots = unstaggered();
        for index in 1..48 {
            snapshots.delivered(Index(index), MIB);
            assert!(!snapshots.is_due());
        }
        snapshots.delivered(Index(48), MIB);
        assert!(snapshots.is_due());
        snapshots.begin(meta(48));
        for index in 49..200 {
            snapshots.delivered(Index(index), MIB);
        }
        assert!(!snapshots.is_due());
        snapshots.saved(Index(48), 1);
        assert!(snapshots.is_due());
    }

    #[test]
    fn servers_with_the_same_log_take_turns() {
        let mut snapshots = Snapshots::new(SnapshotPolicy::default(), NodeId(10 * MIB as u64));
        snapshots.delivered(Index(1), 57 * MIB);
        assert!(!snapshots.is_due());
        snapshots.delivered(Index(2), MIB);
        assert!(snapshots.is_due());
    }

    #[test]
    fn some_log_is_retained_behind_the_cut() {
        let mut snapshots = unstaggered();
        for index in 1..=64 {
            snapshots.delivered(Index(index), MIB);
        }
        snapshots.begin(meta(64));
        assert_eq!(snapshots.saved(Index(64), 1), Some((meta(64), Index(49))));
    }

    #[test]
    fn retention_never_reaches_past_the_cut() {
        let mut snapshots = unstaggered();
        snapshots.delivered(Index(1), 64 * MIB);
        snapshots.begin(meta(1));
        snapshots.delivered(Index(2), 20 * MIB);
        snapshots.delivered(Index(3), 20 * MIB);
        assert_eq!(snapshots.saved(Index(1), 1), Some((meta(1), Index(2))));
    }

    #[test]
    fn a_large_state_is_written_less_often() {
        let mut snapshots = unstaggered();
        snapshots.delivered(Index(1), 64 * MIB);
        snapshots.begin(meta(1));
        snapshots.saved(Index(1), 400 << 20);
        snapshots.delivered(Index(2), 199 * MIB);
        assert!(!snapshots.is_due());
        snapshots.delivered(Index(3), MIB);
        assert!(snapshots.is_due());
    }

    #[test]
    fn a_snapshot_overtaken_by_an_installed_one_is_forgotten() {
        let mut snapshots = unstaggered();
        snapshots.begin(meta(5));
        snapshots.installed();
        assert_eq!(snapshots.saved(Index(5), 1), None);
    }
}
