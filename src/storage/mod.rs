//! What a server keeps: the log, the term and vote, its identity, snapshots, and the map itself.
//!
//! Nothing here touches a disk. Every change of the data directory is a value, a [`DiskOp`], that a
//! driver executes in order; recovery reads through the small [`Disk`] trait. So the same decisions
//! run on io_uring in production and on a disk that loses unsynced sectors in tests.
//!
//! ```text
//!  data directory
//!  +-- identity              node id, cluster id              two copies   twin, identity
//!  +-- hard-state            term, vote                       two copies   twin, hard_state
//!  +-- wal-<id>              the log, in segments             append only  wal
//!  +-- spare-<number>        zeroed or retired segments       a pool       wal
//!  +-- snapshot-<index>      the map at one index             write once   snapshot
//!  +-- snapshot-<index>.*    a snapshot on its way            temporary    snapshot
//! ```
//!
//! # Lanes
//! The ops of one returned list run in order, each after the one before it has completed. Lists run
//! in two kinds of lane, which may overlap each other:
//!
//! - the **log lane**: lists from `create`, `repairs`, `join_cluster`, `append`, `truncate_before`
//!   and `reset_after`, one after another in the order in which they were made;
//! - **background lanes**: lists from `prepare_spare` and from each source of snapshots, which only
//!   touch files that the log lane doesn't know yet.
//!
//! [`Storage`] counts an op as done when it hands it out. That is sound because a driver never goes
//! on after a failed op: the first error fences the server, and recovery starts from the disk.
//!
//! # Not here
//! No clock, no randomness, no I/O, no retry, and no repair of damaged data: a damaged file is
//! reported as a [`RecoveryError`], and the server's data comes back from its peers.

mod crash_disk;
mod data_dir;
mod hard_state;
mod identity;
mod map;
mod op;
mod recovery;
mod snapshot;
#[cfg(test)]
mod testing;
mod twin;
mod wal;

pub use crash_disk::{CrashDisk, Replaced, SECTOR_BYTES};
pub use data_dir::Storage;
pub use identity::Identity;
pub use map::{FrozenShard, Item, ScanCursor, Shard, StateHash};
pub use op::{BLOCK_BYTES, BlockWrite, Disk, DiskOp, FileName, SnapshotSource};
pub use recovery::{Damage, Recovered, RecoveryError, RecoveryReport};
pub use snapshot::{
    MAX_FRAME_BYTES, SnapshotDecoder, SnapshotEncoder, SnapshotError, SnapshotItem, SnapshotPart,
    SnapshotSummary, SnapshotWriteError, read_snapshot,
};
pub use wal::{SEGMENT_BYTES, SegmentId};
