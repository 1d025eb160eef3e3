//! Where the log lies on a disk, learned from the ops alone and not from what storage makes of the
//! bytes: so that what recovery must notice is known independently of recovery.
//!
//! A durable write to a segment is a block. One that was begun and not reported done may be whole
//! or torn: if recovery finds it torn, the next block is written over it, and it is forgotten here.
//!
//! ```text
//!  segment   | header | durable | durable | begun |   free
//!                       covered   ^ covered only by a later durable block or a later segment
//! ```
//!
//! A block is *covered* when something that is surely durable says that it was there: a later
//! durable block of its segment, or a later segment, whose header counts the blocks before it. Only
//! damage to a covered block can be told from a torn write: see `storage/wal/replay.rs`.

use std::collections::BTreeMap;

use crate::storage::{DiskOp, FileName, SegmentId};

/// The blocks of each segment, in order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    segments: BTreeMap<SegmentId, Vec<Block>>,
}

/// A block of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    /// Where its bytes end and its zeros begin.
    pub(super) used_end: u64,
    pub(super) end: u64,
    durable: bool,
}

impl Ledger {
    /// An op is seen on the disk.
    pub(super) fn begun(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Write(write) | DiskOp::WriteDurable(write) => {
                let FileName::Segment(segment) = write.file else { return };
                let used_bytes: usize = write.parts.iter().map(bytes::Bytes::len).sum();
                let blocks = self.segments.entry(segment).or_default();
                blocks.retain(|block| block.end <= write.offset);
                blocks.push(Block {
                    segment,
                    offset: write.offset,
                    used_end: write.offset + used_bytes as u64,
                    end: write.end(),
                    durable: false,
                });
            }
            DiskOp::Rename { from, to } => {
                self.forget(*from);
                self.forget(*to);
            }
            DiskOp::Create { file, .. } | DiskOp::Remove { file } => self.forget(*file),
            DiskOp::Sync { .. } | DiskOp::SyncDir => {}
        }
    }

    /// An op is as durable as it promised to be.
    pub(super) fn finished(&mut self, op: &DiskOp) {
        let DiskOp::WriteDurable(write) = op else { return };
        let FileName::Segment(segment) = write.file else { return };
        let last = self.segments.get_mut(&segment).and_then(|blocks| blocks.last_mut());
        last.expect("a write was begun before it is done").durable = true;
    }

    /// Files were lost.
    pub(super) fn keep_only(&mut self, files: impl Iterator<Item = FileName>) {
        let kept = segments_of(files);
        self.segments.retain(|segment, _| kept.contains(segment));
    }

    /// The covered blocks of these segments, which are all of the log, oldest first.
    pub(super) fn covered(&self, living: &[SegmentId]) -> Vec<Block> {
        let mut covered = Vec::new();
        for segment in living {
            let blocks = self.segments.get(segment).map_or(&[][..], Vec::as_slice);
            let durable = blocks.iter().filter(|block| block.durable).copied();
            covered.extend(durable);
            if Some(segment) == living.last() && blocks.iter().any(|block| block.durable) {
                covered.pop();
            }
        }
        covered
    }

    /// Where the last write to a segment ends, if any is known.
    pub(super) fn tail(&self, segment: SegmentId) -> Option<u64> {
        self.segments.get(&segment)?.last().map(|block| block.end)
    }

    fn forget(&mut self, file: FileName) {
        if let FileName::Segment(segment) = file {
            self.segments.remove(&segment);
        }
    }
}

/// The segments that make up the log, oldest first: those before a gap were being retired.
pub(super) fn living(files: impl Iterator<Item = FileName>) -> Vec<SegmentId> {
    let mut segments = segments_of(files);
    segments.sort_unstable();
    let gap = segments.windows(2).rposition(|pair| pair[0].0 + 1 != pair[1].0);
    segments.split_off(gap.map_or(0, |at| at + 1))
}

fn segments_of(files: impl Iterator<Item = FileName>) -> Vec<SegmentId> {
    files
        .filter_map(|file| if let FileName::Segment(id) = file { Some(id) } else { None })
        .collect()
}
