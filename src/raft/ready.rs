//! What a server wants done: the only way anything leaves the state machine.
//!
//! A driver takes a [`Ready`], and may take more before the disk is done with it:
//!
//! 1. sends `send_now` at once,
//! 2. makes `hard_state`, `entries` and `snapshot_writes` durable, Ready by Ready in order,
//! 3. then sends `send_after_persist` and calls [`Raft::persisted`](super::Raft::persisted),
//! 4. applies `committed`, answers `read_states` once their index is applied, and answers each of
//!    `snapshot_reads` by [`Raft::snapshot_chunk`](super::Raft::snapshot_chunk).
//!
//! A Ready whose [`must_sync`](Ready::must_sync) is false has nothing for the disk; its
//! `send_after_persist` still waits for the Readys before it.

use bytes::Bytes;

use super::message::Message;
use crate::types::{Entry, HardState, Index, NodeId, SnapshotMeta};

/// Numbers a server's Readys from 1, in the order they were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadyNumber(pub u64);

/// The effects that have gathered since the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Its place in the order.
    pub number: ReadyNumber,
    /// A new term or vote to make durable.
    pub hard_state: Option<HardState>,
    /// Entries to make durable, contiguous. Where the first index is not beyond the last on disk,
    /// the disk's entries from there on are superseded.
    pub entries: Vec<Entry>,
    /// Parts of a snapshot to write, in order, to a temporary file that offset 0 starts anew. After
    /// the last part the driver verifies, renames and loads the snapshot, and calls
    /// [`Raft::snapshot_installed`](super::Raft::snapshot_installed) or
    /// [`Raft::snapshot_rejected`](super::Raft::snapshot_rejected).
    pub snapshot_writes: Vec<SnapshotWrite>,
    /// Messages to send at once.
    pub send_now: Vec<(NodeId, Message)>,
    /// Messages to send when this and every earlier Ready is durable.
    pub send_after_persist: Vec<(NodeId, Message)>,
    /// Entries to apply: contiguous over all Readys, each index once, of every kind, and durable here.
    /// After an installed snapshot they go on behind it.
    pub committed: Vec<Entry>,
    /// Reads that were confirmed or lost.
    pub read_states: Vec<ReadState>,
    /// Parts of a snapshot that followers need.
    pub snapshot_reads: Vec<SnapshotRead>,
}

/// A received part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotWrite {
    /// Which snapshot.
    pub meta: SnapshotMeta,
    /// Where `data` begins in its file, in bytes.
    pub offset: u64,
    /// The bytes, as they are in the leader's file.
    pub data: Bytes,
    /// Whether the file ends after them.
    pub last: bool,
}

/// A part of a snapshot to read for a follower. Each is answered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRead {
    /// The follower.
    pub to: NodeId,
    /// Which snapshot.
    pub meta: SnapshotMeta,
    /// Where the part begins in its file, in bytes.
    pub offset: u64,
}

/// What became of a [`Raft::read_index`](super::Raft::read_index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The caller's number for the read.
    pub context: u64,
    /// The read may be served once this index is applied.
    pub result: Result<Index, ReadLost>,
}

/// The leader changed, or did not answer: the read was not confirmed and may be asked again.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the leader changed before it confirmed the read; nothing was read, ask again")]
pub struct ReadLost;

impl Ready {
    /// Whether it holds anything for the disk. If so, it must be reported by
    /// [`Raft::persisted`](super::Raft::persisted).
    #[must_use]
    pub fn must_sync(&self) -> bool {
        self.hard_state.is_some() || !self.entries.is_empty() || !self.snapshot_writes.is_empty()
    }

    /// Adds a message where it belongs: some promise what the disk must first have.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        if message.waits_for_disk() {
            self.send_after_persist.push((to, message));
        } else {
            self.send_now.push((to, message));
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        !self.must_sync()
            && self.send_now.is_empty()
            && self.send_after_persist.is_empty()
            && self.committed.is_empty()
            && self.read_states.is_empty()
            && self.snapshot_reads.is_empty()
    }
}
