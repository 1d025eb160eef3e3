//! The log on disk: segments of blocks, appended to, read back once at start, dropped from the
//! front.
//!
//! ```text
//!  wal-07                            wal-08 (being written)                 spare-3
//!  +--------+-------+-------+----+   +--------+-------+------+----------+   +------------------+
//!  | header | blk 61| blk 62| .. |   | header | blk 70| blk71| zeros or |   | zeros or a       |
//!  |        | 1-40  | 41-55 |    |   |        | 93-99 | 97-  | stale    |   | retired segment  |
//!  +--------+-------+-------+----+   +--------+-------+------+----------+   +------------------+
//! ```
//!
//! **Append.** One append is one block, or more where it doesn't fit the rest of a segment. A block
//! is written once and made durable before the next one is begun, so at most one block is ever in
//! doubt, and it is the last. Blocks are numbered without a gap across segments.
//!
//! **Conflict.** A block whose first index is not above the last one in the log supersedes
//! everything from that index on (Raft §5.3: a follower deletes what conflicts with its leader).
//! Nothing is erased; replay does what the append did.
//!
//! **Roll.** A full segment is left for the next: a spare gets the new segment's header, is synced,
//! renamed, and the directory is synced. A file therefore has a segment's name only when its header
//! is durable, and a segment after this one is proof that every block of this one was durable.
//!
//! **Truncation.** Segments that a snapshot stands for are retired from the front: renamed into the
//! pool of spares, or removed when it is full. Their old blocks stay in the file; they name the old
//! segment and are not sound under the new name.
//!
//! **Restart.** After a snapshot was installed, a restart block says that the log goes on after it.
//! All older segments are retired once that block is durable, not before: a crash between must not
//! leave the end of the old log behind without its beginning.
//!
//! No sector that was ever acknowledged is written again while its segment lives. Recovery is told
//! in [`mod@replay`].

mod block;
mod replay;
mod segment;

use std::collections::VecDeque;

use self::block::{MAX_BLOCK_BYTES, Place};
use self::segment::SegmentHeader;
use super::op::{BLOCK_BYTES, BlockWrite, DiskOp, FileName};
use crate::types::{Entry, Index, MAX_ENTRY_BYTES, NodeId};

pub(super) use self::replay::{Replay, replay};
pub use self::segment::SegmentId;

/// The usual length of a segment.
pub const SEGMENT_BYTES: u64 = 32 << 20;

/// The longest segment that is read: it bounds what recovery allocates at once.
const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// How many spares are kept; beyond it, a retired segment is removed.
const MAX_SPARES: usize = 4;

const _: () = assert!(MAX_BLOCK_BYTES as u64 + BLOCK_BYTES as u64 <= SEGMENT_BYTES);
const _: () = assert!(block::HEADER_BYTES + MAX_ENTRY_BYTES <= MAX_BLOCK_BYTES);

/// The writing side of the log.
#[derive(Debug)]
pub(super) struct Wal {
    node: NodeId,
    /// The length of segments made from now on.
    segment_bytes: u64,
    /// Oldest first; ids count up by one; never empty; the last one is being written.
    segments: VecDeque<Segment>,
    /// Where the next block goes in the last segment.
    tail_bytes: u64,
    /// The number of the next block.
    next_sequence: u64,
    /// The last index in the log, or the one it goes on after.
    last: Index,
    spares: Spares,
}

#[derive(Debug)]
struct Segment {
    id: SegmentId,
    file_bytes: u64,
    /// The first index of its first block; `None` while it has no block.
    first: Option<Index>,
}

/// Files of a segment's length, ready to become one.
#[derive(Debug)]
struct Spares {
    /// At most [`MAX_SPARES`] of them.
    ready: Vec<u64>,
    /// One that is being made in the background.
    preparing: Option<u64>,
    /// Above every number in use, so that no two files ever share a name.
    next: u64,
}

impl Wal {
    /// An empty log; `ops` makes its first segment.
    pub(super) fn create(node: NodeId, segment_bytes: u64, ops: &mut Vec<DiskOp>) -> Wal {
        check_segment_bytes(segment_bytes);
        let mut wal = Wal {
            node,
            segment_bytes,
            segments: VecDeque::new(),
            tail_bytes: 0,
            next_sequence: 1,
            last: Index(0),
            spares: Spares { ready: Vec::new(), preparing: None, next: 1 },
        };
        wal.add_segment(SegmentId(1), ops);
        wal
    }

    /// The last index in the log, or the one it goes on after.
    pub(super) fn last(&self) -> Index {
        self.last
    }

    /// How many bytes its segments take, spares left out.
    pub(super) fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// How many segments it has, spares left out.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Appends consecutive entries, superseding what stood at their indices and after.
    pub(super) fn append(&mut self, entries: &[Entry], ops: &mut Vec<DiskOp>) {
        self.check_append(entries);
        let mut rest = entries;
        while !rest.is_empty() {
            let fitting = block::fitting(rest, self.room_bytes());
            if fitting == 0 {
                self.roll(ops);
                continue;
            }
            let (now, later) = rest.split_at(fitting);
            let parts = block::encode_entries(self.place(), self.next_sequence, now);
            self.write_block(now[0].index(), parts, ops);
            self.last = now[fitting - 1].index();
            rest = later;
        }
    }

    /// Makes the log go on after `base`, which a durable snapshot stands for.
    pub(super) fn restart(&mut self, base: Index, ops: &mut Vec<DiskOp>) {
        if self.room_bytes() == 0 {
            self.roll(ops);
        }
        let block = block::encode_restart(self.place(), self.next_sequence, base);
        self.write_block(base.next(), vec![block], ops);
        self.last = base;
        self.retire(self.segments.len() - 1, ops);
    }

    /// Retires every segment that holds nothing from `first_retained` on.
    pub(super) fn truncate_before(&mut self, first_retained: Index, ops: &mut Vec<DiskOp>) {
        // Replay may begin at any segment whose first block begins early enough: what a later block
        // supersedes lies after it.
        let begins = self.segments.iter().rposition(|segment| {
            segment.first.is_some_and(|first| first <= first_retained)
                || planted!(TruncatesTooEarly)
        });
        self.retire(begins.unwrap_or(0), ops);
    }

    /// Makes a spare when the log will soon need one and none is there or on its way.
    pub(super) fn prepare_spare(&mut self) -> Option<Vec<DiskOp>> {
        let soon = self.tail_bytes >= self.active().file_bytes / 4;
        if !soon || !self.spares.ready.is_empty() || self.spares.preparing.is_some() {
            return None;
        }
        let number = self.spares.take_number();
        self.spares.preparing = Some(number);
        let file = FileName::Spare(number);
        Some(vec![DiskOp::Create { file, len_bytes: self.segment_bytes }, DiskOp::Sync { file }])
    }

    /// The spare of the last [`prepare_spare`](Wal::prepare_spare) is made.
    pub(super) fn spare_ready(&mut self) {
        let number = self.spares.preparing.take().expect("a spare was being prepared");
        self.spares.ready.push(number);
    }

    fn check_append(&self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index() > Index(0), "the first entry of a log has index 1");
        assert!(
            first.index() <= self.last.next(),
            "entry {} would leave a gap after {}",
            first.index(),
            self.last
        );
        let largest = self.largest_record_bytes();
        for (entry, expected) in entries.iter().zip(first.index().0..) {
            assert!(entry.index().0 == expected, "entries of one append are consecutive");
            assert!(entry.len_bytes() <= largest, "entry {} fits no segment", entry.index());
        }
    }

    /// The largest record that an empty segment takes.
    fn largest_record_bytes(&self) -> usize {
        let room = self.segment_bytes - BLOCK_BYTES as u64;
        room.min(MAX_BLOCK_BYTES as u64) as usize - block::HEADER_BYTES
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("a log has a segment")
    }

    /// How large the next block may be.
    fn room_bytes(&self) -> usize {
        (self.active().file_bytes - self.tail_bytes).min(MAX_BLOCK_BYTES as u64) as usize
    }

    fn place(&self) -> Place {
        Place { node: self.node, segment: self.active().id, offset: self.tail_bytes }
    }

    fn write_block(&mut self, first: Index, parts: Vec<bytes::Bytes>, ops: &mut Vec<DiskOp>) {
        let active = self.segments.back_mut().expect("a log has a segment");
        let write = BlockWrite::new(FileName::Segment(active.id), self.tail_bytes, parts);
        assert!(write.end() <= active.file_bytes, "a block reaches past its segment");
        active.first.get_or_insert(first);
        self.tail_bytes = write.end();
        self.next_sequence += 1;
        let op = if planted!(BlocksNotSynced) { DiskOp::Write } else { DiskOp::WriteDurable };
        ops.push(op(write));
    }

    fn roll(&mut self, ops: &mut Vec<DiskOp>) {
        let fresh = self.tail_bytes == BLOCK_BYTES as u64;
        assert!(
            !fresh || self.active().file_bytes != self.segment_bytes,
            "an empty segment is full"
        );
        self.add_segment(self.active().id.next(), ops);
    }

    fn add_segment(&mut self, id: SegmentId, ops: &mut Vec<DiskOp>) {
        let file_bytes = self.segment_bytes;
        let spare = self.spares.ready.pop().unwrap_or_else(|| {
            let number = self.spares.take_number();
            ops.push(DiskOp::Create { file: FileName::Spare(number), len_bytes: file_bytes });
            number
        });
        let (from, to) = (FileName::Spare(spare), FileName::Segment(id));
        let first_sequence = self.next_sequence;
        let header = SegmentHeader { node: self.node, id, file_bytes, first_sequence };
        ops.push(DiskOp::Write(BlockWrite::new(from, 0, vec![header.encode()])));
        if !planted!(SegmentHeaderNotSynced) {
            ops.push(DiskOp::Sync { file: from });
        }
        ops.push(DiskOp::Rename { from, to });
        if !planted!(SegmentNameNotSynced) {
            ops.push(DiskOp::SyncDir);
        }
        self.segments.push_back(Segment { id, file_bytes, first: None });
        self.tail_bytes = BLOCK_BYTES as u64;
    }

    /// Retires the `count` oldest segments.
    fn retire(&mut self, count: usize, ops: &mut Vec<DiskOp>) {
        assert!(count < self.segments.len(), "the segment being written is never retired");
        for segment in self.segments.drain(..count) {
            let reusable = segment.file_bytes == self.segment_bytes;
            self.spares.retire(FileName::Segment(segment.id), reusable, ops);
        }
        if count > 0 {
            // A spare is written to only when its old name is surely gone.
            ops.push(DiskOp::SyncDir);
        }
    }
}

impl Spares {
    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Takes a segment's file into the pool, or removes it.
    fn retire(&mut self, from: FileName, reusable: bool, ops: &mut Vec<DiskOp>) {
        if reusable && self.ready.len() < MAX_SPARES {
            let number = self.take_number();
            ops.push(DiskOp::Rename { from, to: FileName::Spare(number) });
            self.ready.push(number);
        } else {
            ops.push(DiskOp::Remove { file: from });
        }
    }
}

fn check_segment_bytes(segment_bytes: u64) {
    assert!(
        segment_bytes.is_multiple_of(BLOCK_BYTES as u64)
            && (2 * BLOCK_BYTES as u64..=MAX_SEGMENT_BYTES).contains(&segment_bytes),
        "a segment of {segment_bytes} bytes: it must have whole blocks, two or more, up to \
         {MAX_SEGMENT_BYTES} bytes"
    );
}
