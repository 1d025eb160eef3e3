//! Reading the log back, and telling a torn block from a damaged one.
//!
//! An append makes each block durable before it begins the next, and a roll makes all blocks of a
//! segment durable before the next segment has its name. So a block can have been torn by a crash
//! only where nothing durable can follow it; it was never acknowledged, and replay ends there.
//! Anything else that doesn't read back was acknowledged and then damaged. That is never truncated
//! away: recovery stops with an error that names the place.
//!
//! At each place where a block may begin, replay finds one of three things: a *sound* block, a
//! *broken* one (its header is sound, its records are not), or *none* (no sound header). What it
//! does depends on the block's number and on what follows. A later segment's header says how many
//! blocks came before it; the segment is *complete* when they were all found.
//!
//! ```text
//!                     | last segment,      | last segment,     | later segment,  | later segment,
//!  found              | nothing sound      | a sound header    | this one is     | this one is
//!                     | after it           | after it          | complete        | not complete
//!  -------------------+--------------------+-------------------+-----------------+----------------
//!  sound, next number | replay             | replay            | surplus block   | replay
//!  sound, another one | out of order       | out of order      | out of order    | out of order
//!  broken, next number| torn: end of log   | damaged block     | end of segment  | damaged block
//!  broken, another one| out of order       | out of order      | out of order    | out of order
//!  none               | end of log         | lost block        | end of segment  | lost block
//! ```
//!
//! "After it" begins 4 KiB behind the start of a broken block, not where its header says that it
//! ends. A sound header within its reach is there only when shorter blocks took a torn one's place,
//! and then the first of them is what was lost.
//!
//! A broken block at the end of a complete segment was torn, and what was appended after that crash
//! didn't fit behind it any more.
//!
//! Two things cannot be told. The very last block, acknowledged and damaged later, looks like a
//! torn one, because nothing was written after it that could say so; and when the whole file of the
//! newest segment is taken away, no other file says that it was there. Such a server forgets its
//! last appends; the other servers of the quorum that acknowledged them do not.

use bytes::Bytes;

use super::block::{BlockHeader, Content, Place};
use super::segment::{HeaderError, SegmentHeader};
use super::{MAX_SEGMENT_BYTES, MAX_SPARES, Segment, SegmentId, Spares, Wal, check_segment_bytes};
use crate::storage::op::{BLOCK_BYTES, Disk, DiskOp, FileName};
use crate::storage::recovery::{Damage, RecoveryError};
use crate::types::{Entry, Index, NodeId};

/// The log as it was read.
pub(in crate::storage) struct Replay {
    pub(in crate::storage) wal: Wal,
    /// The index before the first entry; `None` when the log has no block yet.
    pub(in crate::storage) base: Option<Index>,
    /// Consecutive, from `base` on.
    pub(in crate::storage) entries: Vec<Entry>,
    /// Where a torn block was found: the file and the offset.
    pub(in crate::storage) torn: Option<(FileName, u64)>,
    /// Makes what was read durable, and tidies up. Comes before any other op of the log.
    pub(in crate::storage) repairs: Vec<DiskOp>,
}

/// Reads the log of `node` among `files`; new segments will have `segment_bytes`.
pub(in crate::storage) fn replay(
    disk: &impl Disk,
    node: NodeId,
    segment_bytes: u64,
    files: &[FileName],
) -> Result<Replay, RecoveryError> {
    check_segment_bytes(segment_bytes);
    let (ids, leftovers) = living_segments(files)?;
    let images: Vec<Image> =
        ids.iter().map(|id| Image::read(disk, node, *id)).collect::<Result<_, _>>()?;
    let mut reader = Reader::new(images[0].header.first_sequence);
    for (at, image) in images.iter().enumerate() {
        reader.read_segment(image, images.get(at + 1).map(|next| next.header.first_sequence))?;
    }
    let first = &reader.segments[0];
    if first.first.is_none() && first.id != SegmentId(1) {
        // Older segments are retired only when this one has a block.
        let file = FileName::Segment(SegmentId(first.id.0 - 1));
        return Err(RecoveryError::Missing { file });
    }
    let (spares, mut repairs) = recover_spares(disk, segment_bytes, files, &leftovers)?;
    let active = ids.last().expect("there is a living segment");
    // A block that is read back may still be in a cache, where a killed process left it.
    repairs.push(DiskOp::Sync { file: FileName::Segment(*active) });
    let wal = Wal {
        node,
        segment_bytes,
        segments: reader.segments.into(),
        tail_bytes: reader.position,
        next_sequence: reader.next_sequence,
        last: reader.run.last(),
        spares,
    };
    let Run { base, entries } = reader.run;
    Ok(Replay { wal, base, entries, torn: reader.torn, repairs })
}

/// The ids of the segments that make up the log, in order, and of those that were being retired.
///
/// Segments are retired from the front, but a crash may keep any of the renames. So the log is what
/// has no gap before the newest segment.
fn living_segments(files: &[FileName]) -> Result<(Vec<SegmentId>, Vec<SegmentId>), RecoveryError> {
    let mut ids: Vec<SegmentId> = files
        .iter()
        .filter_map(|file| if let FileName::Segment(id) = file { Some(*id) } else { None })
        .collect();
    ids.sort_unstable();
    if ids.is_empty() {
        return Err(RecoveryError::Missing { file: FileName::Segment(SegmentId(1)) });
    }
    let gap = ids.windows(2).rposition(|pair| pair[0].next() != pair[1]);
    let living = ids.split_off(gap.map_or(0, |at| at + 1));
    Ok((living, ids))
}

/// The pool as it was found, with what was being retired; it ends with a sync of the directory.
fn recover_spares(
    disk: &impl Disk,
    segment_bytes: u64,
    files: &[FileName],
    leftovers: &[SegmentId],
) -> Result<(Spares, Vec<DiskOp>), RecoveryError> {
    let numbers = || {
        files.iter().filter_map(|file| match file {
            FileName::Spare(number) => Some(*number),
            FileName::Identity
            | FileName::IdentityTemp
            | FileName::HardState
            | FileName::Segment(_)
            | FileName::Snapshot(_)
            | FileName::SnapshotTemp(..) => None,
        })
    };
    let next = numbers().max().map_or(1, |number| number + 1);
    let mut spares = Spares { ready: Vec::new(), preparing: None, next };
    let mut ops = Vec::new();
    for number in numbers() {
        let file = FileName::Spare(number);
        let whole = length_of(disk, file)? == segment_bytes;
        if whole && spares.ready.len() < MAX_SPARES {
            spares.ready.push(number);
        } else {
            ops.push(DiskOp::Remove { file });
        }
    }
    for id in leftovers {
        let file = FileName::Segment(*id);
        let reusable = length_of(disk, file)? == segment_bytes;
        spares.retire(file, reusable, &mut ops);
    }
    ops.push(DiskOp::SyncDir);
    Ok((spares, ops))
}

fn length_of(disk: &impl Disk, file: FileName) -> Result<u64, RecoveryError> {
    disk.len_bytes(file).map_err(|source| RecoveryError::Read { file, source })
}

/// A whole segment in memory.
struct Image {
    header: SegmentHeader,
    bytes: Bytes,
}

impl Image {
    fn read(disk: &impl Disk, node: NodeId, id: SegmentId) -> Result<Image, RecoveryError> {
        let file = FileName::Segment(id);
        let damaged = |damage| RecoveryError::Damaged { file, offset: 0, damage };
        let file_bytes = length_of(disk, file)?;
        if file_bytes > MAX_SEGMENT_BYTES {
            return Err(damaged(Damage::Length(file_bytes)));
        }
        let bytes = disk
            .read_at(file, 0, file_bytes as usize)
            .map_err(|source| RecoveryError::Read { file, source })?;
        let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
            HeaderError::Damaged => damaged(Damage::Header),
            HeaderError::Version(version) => RecoveryError::Version { file, version },
        })?;
        if header.node != node {
            return Err(RecoveryError::Foreign { file });
        }
        if header.id != id {
            return Err(damaged(Damage::Misnamed));
        }
        if header.file_bytes != bytes.len() as u64 || header.file_bytes != file_bytes {
            return Err(damaged(Damage::Length(bytes.len() as u64)));
        }
        Ok(Image { header, bytes: bytes.into() })
    }

    fn place(&self, offset: u64) -> Place {
        Place { node: self.header.node, segment: self.header.id, offset }
    }

    fn block(&self, offset: u64) -> Option<BlockHeader> {
        BlockHeader::decode(self.place(offset), self.bytes.get(offset as usize..)?)
    }

    fn has_block_from(&self, offset: u64) -> bool {
        let places = (offset..self.header.file_bytes).step_by(BLOCK_BYTES);
        places.into_iter().any(|place| self.block(place).is_some())
    }
}

/// What stands where a block may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Sound,
    Broken,
    None,
}

/// What is known to have been made durable after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Nothing,
    Block,
    Segment { complete: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Replay,
    End,
    Torn,
    Corrupt(Damage),
}

/// The table of the module's description.
fn verdict(found: Found, in_order: bool, follows: Follows) -> Verdict {
    use Follows::{Block, Nothing, Segment};
    match (found, in_order, follows) {
        (Found::Sound | Found::Broken, false, _) => Verdict::Corrupt(Damage::OutOfOrder),
        (Found::Sound, true, Nothing | Block | Segment { complete: false }) => Verdict::Replay,
        (Found::Sound, true, Segment { complete: true }) => Verdict::Corrupt(Damage::Surplus),
        (Found::Broken, true, Nothing) => Verdict::Torn,
        (Found::Broken, true, Segment { complete: true }) => Verdict::End,
        (Found::Broken, true, Block) if planted!(DamagedBlockIsTorn) => Verdict::Torn,
        (Found::None, _, Block) if planted!(LostBlockIsEnd) => Verdict::End,
        (Found::Broken, true, Block | Segment { complete: false }) => {
            Verdict::Corrupt(Damage::Block)
        }
        (Found::None, _, Nothing | Segment { complete: true }) => Verdict::End,
        (Found::None, _, Block | Segment { complete: false }) => Verdict::Corrupt(Damage::Lost),
    }
}

/// The entries that the blocks so far leave standing.
#[derive(Default)]
struct Run {
    base: Option<Index>,
    entries: Vec<Entry>,
}

impl Run {
    fn last(&self) -> Index {
        Index(self.base.unwrap_or_default().0 + self.entries.len() as u64)
    }

    /// Does what the block did; false when it would leave a gap.
    fn apply(&mut self, block_base: Index, content: Content) -> bool {
        match content {
            Content::Restart => {
                self.base = Some(block_base);
                self.entries.clear();
                true
            }
            Content::Entries(entries) => {
                let base = *self.base.get_or_insert(block_base);
                if block_base > self.last() {
                    return false;
                }
                self.base = Some(base.min(block_base));
                if !planted!(ConflictNotSuperseded) {
                    self.entries.truncate(block_base.0.saturating_sub(base.0) as usize);
                }
                self.entries.extend(entries);
                true
            }
        }
    }
}

/// Goes through the segments, oldest first.
struct Reader {
    segments: Vec<Segment>,
    next_sequence: u64,
    /// In the last segment so far.
    position: u64,
    run: Run,
    torn: Option<(FileName, u64)>,
}

impl Reader {
    fn new(first_sequence: u64) -> Reader {
        let (segments, run) = (Vec::new(), Run::default());
        Reader { segments, next_sequence: first_sequence, position: 0, run, torn: None }
    }

    /// Reads one segment; `ends_before` is the first sequence of the next one, if there is one.
    fn read_segment(
        &mut self,
        image: &Image,
        ends_before: Option<u64>,
    ) -> Result<(), RecoveryError> {
        let header = image.header;
        let file = FileName::Segment(header.id);
        let corrupt = |offset, damage| RecoveryError::Damaged { file, offset, damage };
        assert!(
            header.first_sequence == self.next_sequence,
            "a segment was taken for complete before the next one's first block"
        );
        self.segments.push(Segment { id: header.id, file_bytes: header.file_bytes, first: None });
        self.position = BLOCK_BYTES as u64;
        loop {
            let offset = self.position;
            let block = image.block(offset);
            let content =
                block.and_then(|block| block.content(&image.bytes.slice(offset as usize..)));
            match self.judge(image, block, content.is_some(), ends_before) {
                Verdict::Replay => {
                    let (block, content) = block.zip(content).expect("only sound blocks replay");
                    self.replay(block, content).map_err(|damage| corrupt(offset, damage))?;
                }
                Verdict::End => return Ok(()),
                Verdict::Torn => {
                    self.torn = Some((file, offset));
                    return Ok(());
                }
                Verdict::Corrupt(damage) => return Err(corrupt(offset, damage)),
            }
        }
    }

    fn judge(
        &self,
        image: &Image,
        block: Option<BlockHeader>,
        sound: bool,
        ends_before: Option<u64>,
    ) -> Verdict {
        let found = match block {
            Some(_) if sound => Found::Sound,
            Some(_) => Found::Broken,
            None => Found::None,
        };
        let in_order = block.is_none_or(|block| block.sequence == self.next_sequence);
        // Not only behind the block's own end: where it is broken, shorter ones may have taken its
        // place, and a drive that lost the first of them shows the long one again.
        let next_place = self.position + BLOCK_BYTES as u64;
        let follows = match ends_before {
            Some(sequence) => Follows::Segment { complete: sequence == self.next_sequence },
            // What follows a sound block is looked at when it is its turn.
            None if sound => Follows::Nothing,
            None if image.has_block_from(next_place) => Follows::Block,
            None => Follows::Nothing,
        };
        verdict(found, in_order, follows)
    }

    fn replay(&mut self, block: BlockHeader, content: Content) -> Result<(), Damage> {
        if !self.run.apply(block.base, content) {
            return Err(Damage::Gap);
        }
        let segment = self.segments.last_mut().expect("a segment is being read");
        segment.first.get_or_insert(block.base.next());
        self.position += block.padded_bytes();
        self.next_sequence += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::encode_restart;
    use super::*;

    #[test]
    fn the_table_decides_each_case_as_drawn() {
        use Damage::{Block, Lost, OutOfOrder, Surplus};
        use Verdict::{Corrupt, End, Replay, Torn};
        let columns = [
            Follows::Nothing,
            Follows::Block,
            Follows::Segment { complete: true },
            Follows::Segment { complete: false },
        ];
        let rows = [
            (Found::Sound, true, [Replay, Replay, Corrupt(Surplus), Replay]),
            (Found::Sound, false, [Corrupt(OutOfOrder); 4]),
            (Found::Broken, true, [Torn, Corrupt(Block), End, Corrupt(Block)]),
            (Found::Broken, false, [Corrupt(OutOfOrder); 4]),
            (Found::None, true, [End, Corrupt(Lost), End, Corrupt(Lost)]),
            (Found::None, false, [End, Corrupt(Lost), End, Corrupt(Lost)]),
        ];
        for (found, in_order, expected) in rows {
            for (follows, expected) in columns.into_iter().zip(expected) {
                let got = verdict(found, in_order, follows);
                assert_eq!(got, expected, "{found:?}, in order: {in_order}, {follows:?}");
            }
        }
    }

    #[test]
    fn the_log_is_what_has_no_gap_before_the_newest_segment() {
        let files = [1, 2, 4, 7, 8].map(|id| FileName::Segment(SegmentId(id)));
        let (living, leftovers) = living_segments(&files).expect("there are segments");
        assert_eq!(living, [SegmentId(7), SegmentId(8)]);
        assert_eq!(leftovers, [SegmentId(1), SegmentId(2), SegmentId(4)]);
        assert!(living_segments(&[FileName::HardState]).is_err());
    }

    /// A segment of two blocks, the second with this sequence.
    fn second_block_is(sequence: u64) -> Result<Reader, RecoveryError> {
        let header = SegmentHeader {
            node: NodeId(1),
            id: SegmentId(1),
            file_bytes: 4 * BLOCK_BYTES as u64,
            first_sequence: 1,
        };
        let mut bytes = vec![0; header.file_bytes as usize];
        for (offset, sequence) in [(BLOCK_BYTES, 1), (2 * BLOCK_BYTES, sequence)] {
            let place = Place { node: header.node, segment: header.id, offset: offset as u64 };
            let block = encode_restart(place, sequence, Index(0));
            bytes[offset..offset + block.len()].copy_from_slice(&block);
        }
        let mut reader = Reader::new(1);
        reader.read_segment(&Image { header, bytes: bytes.into() }, None).map(|()| reader)
    }

    #[test]
    fn a_sound_block_with_another_number_is_an_error() {
        assert_eq!(second_block_is(2).map(|reader| reader.next_sequence).ok(), Some(3));
        for sequence in [0, 1, 3, u64::MAX] {
            let error = second_block_is(sequence).err().expect("it is out of order");
            assert!(error.to_string().contains("out of order"), "{error}");
        }
    }
}
