//! From the files of a data directory back to a running state, or to the reason why not.
//!
//! A directory without an `identity` file is that of a server that never started: the file comes
//! into being last, in one rename, when all others are durable. If the others tell of a term or of
//! more, it was lost. With it, everything it promises must be there.
//!
//! The log and the snapshot must fit each other. With `s` the index of the newest snapshot, and
//! `base` the index before the log's first entry:
//!
//! ```text
//!  base > s                            entries between them are missing: an error
//!  last < s                            an installed snapshot is ahead of the log: start after s
//!  base <= s <= last, entry s differs  the old log is of another history: start after s
//!  base <= s <= last, entry s agrees   the log goes on where the snapshot ends
//! ```
//!
//! The two cases in the middle are a crash between an installed snapshot and the restart of the log
//! (Raft §7, rules 6 and 7 of InstallSnapshot); recovery finishes that restart.

use std::io;

use thiserror::Error;

use super::data_dir::{Snapshots, Storage};
use super::hard_state;
use super::identity::Identity;
use super::op::{Disk, DiskOp, FileName};
use super::snapshot::{self, MAX_FRAME_BYTES, SnapshotError};
use super::twin::{TWIN_BYTES, Twin, TwinKind, TwinRead};
use super::wal::{self, Replay, SegmentId};
use crate::types::{Entry, HardState, Index, SnapshotMeta};

/// What a server comes back with.
#[derive(Debug)]
pub struct Recovered {
    /// Ready to append, after `repairs`.
    pub storage: Storage,
    /// Who it is.
    pub identity: Identity,
    /// Its term and vote.
    pub hard_state: HardState,
    /// The newest snapshot; its items are read with [`read_snapshot`](super::read_snapshot).
    pub snapshot: Option<SnapshotMeta>,
    /// The entries after the snapshot, consecutive, the first at its index + 1.
    pub entries: Vec<Entry>,
    /// The first ops of the log lane. They must be done before the server says anything to anyone:
    /// what was just read may not be durable yet.
    pub repairs: Vec<DiskOp>,
    /// For the log of the process.
    pub report: RecoveryReport,
}

/// What recovery found worth telling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// A block that a crash tore: its file and offset. It had not been acknowledged.
    pub torn_block: Option<(FileName, u64)>,
    /// Entries of the log that a snapshot of another history replaced.
    pub discarded_entries: usize,
    /// Whether the two copies of term and vote differed, as a crash between their writes leaves
    /// them.
    pub hard_state_repaired: bool,
}

/// Why a data directory cannot be used. Recovery has changed nothing in it.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The disk would not read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: FileName,
        /// What the disk said.
        source: io::Error,
    },
    /// The data directory would not be listed.
    #[error("cannot list the data directory: {0}")]
    List(io::Error),
    /// Something that had been made durable doesn't read back.
    #[error("{file} is damaged at byte {offset}: {damage}. {ADVICE}")]
    Damaged {
        /// The file.
        file: FileName,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// A file that must exist doesn't.
    #[error("{file} is missing. {ADVICE}")]
    Missing {
        /// The file.
        file: FileName,
    },
    /// The log doesn't begin where the newest snapshot ends.
    #[error(
        "the log begins after entry {base} and the newest snapshot ends at {snapshot} (0: there is \
         none): a segment or a snapshot is missing. {ADVICE}"
    )]
    Unjoined {
        /// The index before the log's first entry.
        base: Index,
        /// The newest snapshot's index.
        snapshot: Index,
    },
    /// A file of another server's data directory, or of another cluster's.
    #[error("{file} belongs to another node or cluster; was the data directory mixed up? {ADVICE}")]
    Foreign {
        /// The file.
        file: FileName,
    },
    /// A file in a format of a later version.
    #[error(
        "{file} has format version {version}; run the version of mokv that wrote it, or a later"
    )]
    Version {
        /// The file.
        file: FileName,
        /// Its format.
        version: u32,
    },
    /// A snapshot's header doesn't read back.
    #[error("{file} is damaged: {source}. {ADVICE}")]
    Snapshot {
        /// The file.
        file: FileName,
        /// What is wrong with it.
        source: SnapshotError,
    },
}

const ADVICE: &str = "Nothing was changed. If the disk cannot be set right, remove the data \
    directory and start again: the node joins as a new member and gets its data from its peers";

/// What is wrong at one place of a file.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// Neither copy of the record is sound.
    #[error("neither copy of the record is sound")]
    Copies,
    /// A segment's header is not sound.
    #[error("the segment's header is not sound")]
    Header,
    /// A segment's header names another segment.
    #[error("the segment's header names another segment")]
    Misnamed,
    /// A segment doesn't have the length its header says.
    #[error("the file has the wrong length, {0} bytes")]
    Length(u64),
    /// The records of a block don't match its header, and later blocks are there.
    #[error("a block that was made durable is damaged")]
    Block,
    /// There is no block where later blocks say there was one.
    #[error("a block that was made durable is gone")]
    Lost,
    /// A block has another number than its place in the log has.
    #[error("a block is out of order")]
    OutOfOrder,
    /// A segment holds more blocks than the one after it says.
    #[error("there is a block more than the next segment says")]
    Surplus,
    /// A block doesn't begin where the log before it ends.
    #[error("a block's entries don't join those before it")]
    Gap,
}

/// Reads everything; `None` when the directory is that of a server that never started.
pub(super) fn recover(
    disk: &impl Disk,
    segment_bytes: u64,
) -> Result<Option<Recovered>, RecoveryError> {
    let files = list(disk)?;
    if !files.contains(&FileName::Identity) {
        if files.iter().any(|file| holds_history(*file)) || has_seen_a_term(disk) {
            return Err(RecoveryError::Missing { file: FileName::Identity });
        }
        return Ok(None);
    }
    let (identity, identity_twin) =
        read_twin(disk, Identity::FILE, Identity::KIND, Identity::decode)?;
    let (hard_state, hard_state_twin) =
        read_twin(disk, FileName::HardState, TwinKind::HardState, hard_state::decode)?;
    let snapshots = Snapshots::found(&files);
    let snapshot = match snapshots.newest() {
        Some(index) => Some(read_meta(disk, index, identity)?),
        None => None,
    };
    let replay = wal::replay(disk, identity.node, segment_bytes, &files)?;
    let mut report = RecoveryReport {
        torn_block: replay.torn,
        discarded_entries: 0,
        hard_state_repaired: hard_state_twin.differed,
    };
    let mut repairs = tidy(&files, &snapshots);
    repairs.extend(identity_twin.repairs);
    repairs.extend(hard_state_twin.repairs);
    let (wal, entries) = reconcile(replay, snapshot.as_ref(), &mut repairs, &mut report)?;
    if planted!(RepairsSkipped) {
        repairs.clear();
    }
    let storage = Storage::recovered(
        (identity, identity_twin.twin),
        (hard_state, hard_state_twin.twin),
        wal,
        snapshots,
    );
    Ok(Some(Recovered { storage, identity, hard_state, snapshot, entries, repairs, report }))
}

fn list(disk: &impl Disk) -> Result<Vec<FileName>, RecoveryError> {
    let names = disk.list().map_err(RecoveryError::List)?;
    let mut files: Vec<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
    files.sort_unstable();
    Ok(files)
}

/// Whether a file can only come from a server that had an identity.
fn holds_history(file: FileName) -> bool {
    match file {
        // The first segment is made before the identity is.
        FileName::Segment(id) => id != SegmentId(1),
        FileName::Snapshot(_) | FileName::SnapshotTemp(..) => true,
        FileName::Identity | FileName::IdentityTemp | FileName::HardState | FileName::Spare(_) => {
            false
        }
    }
}

/// Whether a term was ever made durable, as it is before anything is acknowledged. A record that
/// cannot be read is one whose first write never finished.
fn has_seen_a_term(disk: &impl Disk) -> bool {
    read_twin(disk, FileName::HardState, TwinKind::HardState, hard_state::decode)
        .is_ok_and(|(hard_state, _)| hard_state != HardState::default())
}

fn read_twin<T>(
    disk: &impl Disk,
    file: FileName,
    kind: TwinKind,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<(T, TwinRead), RecoveryError> {
    let bytes =
        disk.read_at(file, 0, TWIN_BYTES as usize).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RecoveryError::Missing { file },
            _ => RecoveryError::Read { file, source },
        })?;
    let damaged = || RecoveryError::Damaged { file, offset: 0, damage: Damage::Copies };
    let read = Twin::read(file, kind, &bytes).ok_or_else(damaged)?;
    let value = decode(&read.payload).ok_or_else(damaged)?;
    Ok((value, read))
}

fn read_meta(
    disk: &impl Disk,
    index: Index,
    identity: Identity,
) -> Result<SnapshotMeta, RecoveryError> {
    let file = FileName::Snapshot(index);
    let bytes = disk
        .read_at(file, 0, MAX_FRAME_BYTES)
        .map_err(|source| RecoveryError::Read { file, source })?;
    let (cluster, meta) =
        snapshot::read_header(&bytes).map_err(|source| RecoveryError::Snapshot { file, source })?;
    if identity.cluster.is_some_and(|ours| ours != cluster) {
        return Err(RecoveryError::Foreign { file });
    }
    if meta.index != index {
        return Err(RecoveryError::Damaged { file, offset: 0, damage: Damage::Misnamed });
    }
    Ok(meta)
}

/// Removes what a crash left half made, and snapshots that nobody needs.
fn tidy(files: &[FileName], snapshots: &Snapshots) -> Vec<DiskOp> {
    let outdated = |file: &FileName| match file {
        FileName::IdentityTemp | FileName::SnapshotTemp(..) => true,
        FileName::Snapshot(index) => !snapshots.contains(*index),
        FileName::Identity | FileName::HardState | FileName::Segment(_) | FileName::Spare(_) => {
            false
        }
    };
    files.iter().copied().filter(outdated).map(|file| DiskOp::Remove { file }).collect()
}

/// Joins log and snapshot as the table of the module's description says.
fn reconcile(
    replay: Replay,
    snapshot: Option<&SnapshotMeta>,
    repairs: &mut Vec<DiskOp>,
    report: &mut RecoveryReport,
) -> Result<(wal::Wal, Vec<Entry>), RecoveryError> {
    let Replay { mut wal, base, mut entries, repairs: log_repairs, .. } = replay;
    repairs.extend(log_repairs);
    let snapshot_index = snapshot.map_or(Index(0), |meta| meta.index);
    let base = base.unwrap_or_default();
    if base > snapshot_index {
        return Err(RecoveryError::Unjoined { base, snapshot: snapshot_index });
    }
    let covered = (snapshot_index.0 - base.0) as usize;
    // The entry at the snapshot's index; the log has no such entry when it begins right after it.
    let agrees = match (covered.checked_sub(1), snapshot) {
        (None, _) | (_, None) => true,
        (Some(at), Some(meta)) => entries.get(at).is_some_and(|entry| entry.term() == meta.term),
    };
    if !agrees && !planted!(SnapshotJoinUnchecked) {
        report.discarded_entries = entries.len().saturating_sub(covered);
        wal.restart(snapshot_index, repairs);
        return Ok((wal, Vec::new()));
    }
    entries.drain(..covered);
    Ok((wal, entries))
}
