//! A process's own snapshot on its way to the disk, and reading snapshots.
//!
//! ```text
//!  cut ──> begin ──> encode the frozen map ──> write, piece by piece ──> name it ──> rely on it
//! ```
//!
//! The map is frozen at the cut and encoded when the disk gets to it: what is written meanwhile must
//! not show.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Hands, Input, Lane, Server, SnapshotPart};
use crate::node::Node;
use crate::storage::{
    Disk, FileName, FrozenShard, RecoveryError, ScanCursor, SnapshotEncoder, SnapshotItem,
    SnapshotSource, read_snapshot,
};
use crate::types::{ClusterId, NodeId, SnapshotMeta};

const SOURCE: SnapshotSource = SnapshotSource::Local;
/// The payload of one page of the frozen map.
const PAGE_BYTES: usize = 64 << 10;

/// How far a snapshot has come; it goes on when the ops before are done.
#[derive(Debug)]
pub(super) struct SnapshotJob {
    meta: SnapshotMeta,
    frozen: FrozenShard,
    len_bytes: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begun,
    Writing(VecDeque<Bytes>),
    Named,
    ReliedOn,
}

impl Server {
    pub(super) fn take_snapshot(&mut self, meta: SnapshotMeta, hands: &mut Hands<'_>) {
        let frozen = self.map.freeze();
        hands.watch.reaches(self.id, meta.index, frozen.state_hash());
        let ops = self.storage.snapshot_begin(SOURCE, meta.index);
        self.snapshot = Some(SnapshotJob { meta, frozen, len_bytes: 0, stage: Stage::Begun });
        self.begin(Lane::Snapshot, ops, hands);
    }

    /// The ops of the last stage are done.
    pub(super) fn continue_snapshot(&mut self, hands: &mut Hands<'_>) {
        let Some(mut job) = self.snapshot.take() else { return };
        loop {
            let ops = match &mut job.stage {
                Stage::Begun => {
                    let cluster = self.cluster().expect("only a member commits entries");
                    job.stage = Stage::Writing(encode(cluster, &job.meta, &job.frozen));
                    continue;
                }
                Stage::Writing(pieces) => match pieces.pop_front() {
                    Some(piece) => {
                        let offset = job.len_bytes;
                        job.len_bytes += piece.len() as u64;
                        let ops = self.storage.snapshot_write(SOURCE, offset, piece);
                        ops.expect("the encoder makes whole blocks, one after another")
                    }
                    None => {
                        job.stage = Stage::Named;
                        self.storage.snapshot_finish(SOURCE)
                    }
                },
                Stage::Named => {
                    job.stage = Stage::ReliedOn;
                    self.storage.snapshot_durable(SOURCE)
                }
                Stage::ReliedOn => {
                    saved(&mut self.node, &job);
                    return;
                }
            };
            if !ops.is_empty() {
                self.snapshot = Some(job);
                return self.begin(Lane::Snapshot, ops, hands);
            }
        }
    }

    /// Reads a part of a snapshot for a follower; the answer takes its time.
    pub(super) fn read_snapshot(
        &mut self,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        hands: &mut Hands<'_>,
    ) {
        let wanted = hands.chunk_bytes;
        // One byte more than a part tells whether anything follows it.
        let read = hands.disk.read(FileName::Snapshot(meta.index), offset, wanted + 1);
        let part = read.ok().map(|mut bytes| {
            let is_last = bytes.len() <= wanted;
            bytes.truncate(wanted);
            (bytes, is_last)
        });
        let after_us = hands.disk.read_delay_us();
        let part = SnapshotPart { to, meta, offset, part };
        let input = Input::SnapshotPart(Box::new(part));
        hands.actions.push(super::Action::Later { after_us, input });
    }
}

fn saved(node: &mut Node, job: &SnapshotJob) {
    node.snapshot_saved(job.meta.index, job.len_bytes);
}

/// The file that a leader's snapshot is received in.
pub(super) fn received(meta: &SnapshotMeta) -> FileName {
    FileName::SnapshotTemp(SnapshotSource::Received, meta.index)
}

/// Reads a snapshot file, giving each item to `each`; returns what it is a snapshot of.
pub(in crate::sim) fn load(
    disk: &impl Disk,
    file: FileName,
    each: impl FnMut(SnapshotItem),
) -> Result<SnapshotMeta, RecoveryError> {
    read_snapshot(disk, file, each).map(|summary| summary.meta)
}

fn encode(cluster: ClusterId, meta: &SnapshotMeta, frozen: &FrozenShard) -> VecDeque<Bytes> {
    let mut encoder = SnapshotEncoder::new(cluster, meta);
    let mut pieces = VecDeque::new();
    let mut cursor = Some(ScanCursor::default());
    while let Some(from) = cursor {
        let (items, next) = frozen.scan(&from, PAGE_BYTES);
        for item in items {
            pieces.extend(encoder.push(item.key, item.value, item.revision));
        }
        cursor = next;
    }
    pieces.push_back(encoder.finish());
    pieces
}
