//! The data directory as one thing: what to write for each event in a server's life.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::hard_state;
use super::identity::Identity;
use super::op::{BLOCK_BYTES, BlockWrite, Disk, DiskOp, FileName, SnapshotSource};
use super::recovery::{self, Recovered, RecoveryError};
use super::snapshot::SnapshotWriteError;
use super::twin::{TWIN_BYTES, Twin, TwinKind};
use super::wal::Wal;
use crate::types::{ClusterId, Entry, HardState, Index, SnapshotMeta};

/// How many snapshots are kept: a transfer to a slow server may still be reading the older one.
const SNAPSHOTS_KEPT: usize = 2;

/// Turns events into [`DiskOp`]s, and keeps what is needed to do so. It never waits and never
/// fails; see the module's description for the order in which its ops run.
#[derive(Debug)]
pub struct Storage {
    identity: Identity,
    identity_twin: Twin,
    /// The last one handed out; the next may not go back behind it.
    hard_state: HardState,
    hard_state_twin: Twin,
    wal: Wal,
    snapshots: Snapshots,
}

impl Storage {
    /// The storage of a new server in an empty directory. Once the ops are done, and not before,
    /// the directory belongs to `identity`; a crash before that leaves it empty.
    #[must_use]
    pub fn create(identity: Identity, segment_bytes: u64) -> (Storage, Vec<DiskOp>) {
        let mut ops = Vec::new();
        let file = FileName::HardState;
        let mut hard_state_twin = Twin::new(file, TwinKind::HardState);
        ops.push(DiskOp::Create { file, len_bytes: TWIN_BYTES });
        ops.extend(hard_state_twin.update(&hard_state::encode(HardState::default())));
        ops.push(DiskOp::Sync { file });
        let wal = Wal::create(identity.node, segment_bytes, &mut ops);
        let temp = FileName::IdentityTemp;
        ops.push(DiskOp::Create { file: temp, len_bytes: TWIN_BYTES });
        let mut identity_twin = Twin::new(temp, Identity::KIND);
        ops.extend(identity_twin.update(&identity.encode()));
        ops.push(DiskOp::Sync { file: temp });
        ops.push(DiskOp::Rename { from: temp, to: Identity::FILE });
        ops.push(DiskOp::SyncDir);
        let identity_twin = identity_twin.renamed(Identity::FILE);
        let (hard_state, snapshots) = (HardState::default(), Snapshots::default());
        let storage =
            Storage { identity, identity_twin, hard_state, hard_state_twin, wal, snapshots };
        (storage, ops)
    }

    /// Reads a data directory back; `None` when no server has lived there yet. It reads every
    /// segment, and of the newest snapshot only the header.
    ///
    /// # Errors
    /// When something cannot be read, is missing, or was damaged after it had been made durable.
    pub fn recover(
        disk: &impl Disk,
        segment_bytes: u64,
    ) -> Result<Option<Recovered>, RecoveryError> {
        recovery::recover(disk, segment_bytes)
    }

    pub(super) fn recovered(
        (identity, identity_twin): (Identity, Twin),
        (hard_state, hard_state_twin): (HardState, Twin),
        wal: Wal,
        snapshots: Snapshots,
    ) -> Storage {
        Storage { identity, identity_twin, hard_state, hard_state_twin, wal, snapshots }
    }

    /// Who this server is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How many bytes the segments of the log take on the disk, spares left out.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.wal.file_bytes()
    }

    /// How many segments the log has, spares left out.
    #[must_use]
    pub fn log_segments(&self) -> usize {
        self.wal.segments()
    }

    /// The index of the newest durable snapshot; 0 when there is none.
    #[must_use]
    pub fn snapshot_index(&self) -> Index {
        self.snapshots.newest().unwrap_or_default()
    }

    /// Remembers the cluster this server founded or joined.
    ///
    /// # Panics
    /// When it belongs to another one already.
    #[must_use]
    pub fn join_cluster(&mut self, cluster: ClusterId) -> Vec<DiskOp> {
        let known = self.identity.cluster;
        assert!(known.is_none_or(|known| known == cluster), "a server never changes its cluster");
        self.identity.cluster = Some(cluster);
        self.identity_twin.update(&self.identity.encode())
    }

    /// Makes a new term or vote durable, and then `entries`, which are consecutive and begin at or
    /// before the index after the last one; what they overlap is superseded. When the ops are done,
    /// all of it is durable.
    ///
    /// # Panics
    /// When the hard state goes back, or the entries leave a gap: both are bugs of the caller.
    #[must_use]
    pub fn append(&mut self, hard_state: Option<HardState>, entries: &[Entry]) -> Vec<DiskOp> {
        let mut ops = Vec::new();
        if let Some(next) = hard_state {
            let last = self.hard_state;
            assert!(hard_state::may_follow(last, next), "{next:?} cannot follow {last:?}");
            self.hard_state = next;
            ops.extend(self.hard_state_twin.update(&hard_state::encode(next)));
        }
        self.wal.append(entries, &mut ops);
        ops
    }

    /// Makes a spare segment ahead of need, in a lane of its own: `None` when none is needed now,
    /// or one is on its way. An append that comes before it is done makes its own.
    #[must_use]
    pub fn prepare_spare(&mut self) -> Option<Vec<DiskOp>> {
        self.wal.prepare_spare()
    }

    /// The ops of the last [`prepare_spare`](Storage::prepare_spare) are done.
    pub fn spare_ready(&mut self) {
        self.wal.spare_ready();
    }

    /// Begins a snapshot of the state after `index`; one that `source` had begun before is dropped.
    #[must_use]
    pub fn snapshot_begin(&mut self, source: SnapshotSource, index: Index) -> Vec<DiskOp> {
        let mut ops = self.snapshot_abort(source);
        self.snapshots.writing.insert(source, Writing { index, len_bytes: 0 });
        let file = FileName::SnapshotTemp(source, index);
        ops.push(DiskOp::Create { file, len_bytes: 0 });
        ops
    }

    /// The next bytes of the snapshot that `source` has begun.
    ///
    /// # Errors
    /// When they don't follow the bytes before, or are not whole blocks. Nothing is changed.
    pub fn snapshot_write(
        &mut self,
        source: SnapshotSource,
        offset: u64,
        data: Bytes,
    ) -> Result<Vec<DiskOp>, SnapshotWriteError> {
        let writing = self.snapshots.writing.get_mut(&source);
        let writing = writing.ok_or(SnapshotWriteError::NotBegun)?;
        if offset != writing.len_bytes {
            return Err(SnapshotWriteError::Misplaced { offset, expected: writing.len_bytes });
        }
        if !data.len().is_multiple_of(BLOCK_BYTES) {
            return Err(SnapshotWriteError::Unaligned { len_bytes: data.len() });
        }
        let file = FileName::SnapshotTemp(source, writing.index);
        writing.len_bytes += data.len() as u64;
        Ok(vec![DiskOp::Write(BlockWrite::new(file, offset, vec![data]))])
    }

    /// All bytes of the snapshot of `source` are written, and a received one was verified. When the
    /// ops are done, say [`snapshot_durable`](Storage::snapshot_durable).
    ///
    /// # Panics
    /// When `source` has begun none.
    #[must_use]
    pub fn snapshot_finish(&mut self, source: SnapshotSource) -> Vec<DiskOp> {
        let index = self.snapshots.writing(source).index;
        let from = FileName::SnapshotTemp(source, index);
        let to = FileName::Snapshot(index);
        let mut ops =
            vec![DiskOp::Sync { file: from }, DiskOp::Rename { from, to }, DiskOp::SyncDir];
        if planted!(SnapshotNameNotSynced) {
            ops.pop();
        }
        if planted!(SnapshotNotSynced) {
            ops.remove(0);
        }
        ops
    }

    /// The ops of [`snapshot_finish`](Storage::snapshot_finish) are done: from now on the snapshot
    /// stands for the log up to its index. The ops remove snapshots that nobody needs any more.
    ///
    /// # Panics
    /// When `source` has begun none.
    #[must_use]
    pub fn snapshot_durable(&mut self, source: SnapshotSource) -> Vec<DiskOp> {
        let index = self.snapshots.writing(source).index;
        self.snapshots.writing.remove(&source);
        self.snapshots.keep(index)
    }

    /// Drops the snapshot that `source` has begun, if any.
    #[must_use]
    pub fn snapshot_abort(&mut self, source: SnapshotSource) -> Vec<DiskOp> {
        let dropped = self.snapshots.writing.remove(&source);
        let file = dropped.map(|writing| FileName::SnapshotTemp(source, writing.index));
        file.map(|file| DiskOp::Remove { file }).into_iter().collect()
    }

    /// Drops the log before `first_retained`, as far as whole segments go.
    ///
    /// # Panics
    /// When no durable snapshot stands for what would be dropped.
    #[must_use]
    pub fn truncate_before(&mut self, first_retained: Index) -> Vec<DiskOp> {
        let snapshot = self.snapshot_index();
        assert!(first_retained <= snapshot.next(), "no snapshot reaches {first_retained}");
        let mut ops = Vec::new();
        self.wal.truncate_before(first_retained, &mut ops);
        ops
    }

    /// Makes the log go on after an installed snapshot, whatever it held before.
    ///
    /// # Panics
    /// When `meta` is not the newest durable snapshot.
    #[must_use]
    pub fn reset_after(&mut self, meta: &SnapshotMeta) -> Vec<DiskOp> {
        assert!(meta.index == self.snapshot_index(), "no durable snapshot at {}", meta.index);
        let mut ops = Vec::new();
        self.wal.restart(meta.index, &mut ops);
        ops
    }

    /// The last index in the log, or the one it goes on after.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.wal.last()
    }
}

/// Which snapshots exist and which are being written.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// At most [`SNAPSHOTS_KEPT`], all durable.
    kept: BTreeSet<Index>,
    writing: BTreeMap<SnapshotSource, Writing>,
}

#[derive(Debug)]
struct Writing {
    index: Index,
    len_bytes: u64,
}

impl Snapshots {
    pub(super) fn found(files: &[FileName]) -> Snapshots {
        let mut snapshots = Snapshots::default();
        for file in files {
            if let FileName::Snapshot(index) = file {
                // Recovery removes the others by itself, from its list of files.
                let _ = snapshots.keep(*index);
            }
        }
        snapshots
    }

    pub(super) fn newest(&self) -> Option<Index> {
        self.kept.last().copied()
    }

    pub(super) fn contains(&self, index: Index) -> bool {
        self.kept.contains(&index)
    }

    fn writing(&self, source: SnapshotSource) -> &Writing {
        self.writing.get(&source).expect("a snapshot of this source was begun")
    }

    fn keep(&mut self, index: Index) -> Vec<DiskOp> {
        self.kept.insert(index);
        let mut ops = Vec::new();
        while self.kept.len() > SNAPSHOTS_KEPT {
            let is_first = !planted!(NewestSnapshotRemoved);
            let oldest = if is_first { self.kept.pop_first() } else { self.kept.pop_last() };
            let oldest = oldest.expect("there are more than are kept");
            ops.push(DiskOp::Remove { file: FileName::Snapshot(oldest) });
        }
        ops
    }
}
