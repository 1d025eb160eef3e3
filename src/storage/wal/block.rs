//! One append in the log: a header that binds it to its place, and records as the leader made them.
//!
//! ```text
//!  0       4       8            16         24       32           40       44      48      52     56
//!  +-------+-------+------------+----------+--------+------------+--------+-------+-------+------+
//!  | crc32 | magic | segment id | sequence | offset | base index | length | tags  | count | kind |
//!  +-------+-------+------------+----------+--------+------------+--------+-------+-------+------+
//!    u32      u32       u64         u64       u64       u64         u32      u32     u32    u32
//!  +----------------------------+----------------------------+-----+----------------------------+
//!  | record of base index + 1   | record of base index + 2   | ... | zeros up to the next 4 KiB |
//!  +----------------------------+----------------------------+-----+----------------------------+
//!  <-------------------- `length` bytes, `count` records --------->
//! ```
//!
//! The records carry the leader's checksums over their bytes. Those would also be right in a stale
//! copy of a record, so the header binds them: `tags` is a checksum over the first eight bytes of
//! each record (its own checksum and its length), and `crc32` covers the id of the server that
//! wrote the block and the header from byte 4 on. A block that belongs to another server, segment,
//! place or time, or that holds other records, is not sound. The server's id is in the checksum so
//! that a value which happens to look like a header is not one.
//!
//! A block of the kind *restart* holds no records: it says that the log goes on after `base index`,
//! whatever stood before, because a snapshot now stands for it.

use bytes::{BufMut, Bytes, BytesMut};

use super::segment::SegmentId;
use crate::storage::op::BLOCK_BYTES;
use crate::types::{Entry, Index, MAX_ENTRY_BYTES, NodeId};

/// The bytes of a block before its records.
pub(super) const HEADER_BYTES: usize = 56;

/// The largest block: it takes any one entry, and bounds the buffer of a write.
pub(super) const MAX_BLOCK_BYTES: usize = MAX_ENTRY_BYTES + BLOCK_BYTES;

const MAGIC: u32 = 0x6c62_6b6d; // "mkbl"
const ENTRIES: u32 = 1;
const RESTART: u32 = 2;
/// How much of a record the tags cover: its checksum and its length.
const TAG_BYTES: usize = 8;

/// Where a block stands, which no other block of any log shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) segment: SegmentId,
    /// In the file, from its start.
    pub(super) offset: u64,
}

/// A sound header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Counts the blocks of the log, across segments, without a gap.
    pub(super) sequence: u64,
    /// The index before the first record; for a restart, the snapshot's.
    pub(super) base: Index,
    length_bytes: u32,
    tags: u32,
    count: u32,
    kind: u32,
}

/// What a sound block does to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// These entries follow `base`; what stood there before is superseded.
    Entries(Vec<Entry>),
    /// The log goes on after `base`; what stood before is gone.
    Restart,
}

/// How many of `entries` a block of at most `room_bytes` takes.
pub(super) fn fitting(entries: &[Entry], room_bytes: usize) -> usize {
    let mut size = HEADER_BYTES;
    entries
        .iter()
        .take_while(|entry| {
            size += entry.len_bytes();
            size <= room_bytes
        })
        .count()
}

/// The parts of a block of entries, none of which are copied.
pub(super) fn encode_entries(place: Place, sequence: u64, entries: &[Entry]) -> Vec<Bytes> {
    let base = entries.first().expect("a block of entries has one").index().prev();
    let records: Vec<Bytes> = entries.iter().map(|entry| entry.record().clone()).collect();
    let length: usize = records.iter().map(Bytes::len).sum();
    let header = BlockHeader {
        sequence,
        base,
        length_bytes: u32::try_from(length).expect("a block is bounded by MAX_BLOCK_BYTES"),
        tags: tags(&records),
        count: records.len() as u32,
        kind: ENTRIES,
    };
    std::iter::once(header.encode(place)).chain(records).collect()
}

/// The bytes of a block that restarts the log after `base`.
pub(super) fn encode_restart(place: Place, sequence: u64, base: Index) -> Bytes {
    let header =
        BlockHeader { sequence, base, length_bytes: 0, tags: tags(&[]), count: 0, kind: RESTART };
    header.encode(place)
}

impl BlockHeader {
    fn encode(&self, place: Place) -> Bytes {
        let mut header = BytesMut::with_capacity(HEADER_BYTES);
        header.put_u32_le(0);
        header.put_u32_le(MAGIC);
        header.put_u64_le(place.segment.0);
        header.put_u64_le(self.sequence);
        header.put_u64_le(place.offset);
        header.put_u64_le(self.base.0);
        header.put_u32_le(self.length_bytes);
        header.put_u32_le(self.tags);
        header.put_u32_le(self.count);
        header.put_u32_le(self.kind);
        let crc = checksum(place.node, &header[4..]);
        header[0..4].copy_from_slice(&crc.to_le_bytes());
        header.freeze()
    }

    /// The header at the front of `bytes`, if there is a sound one that belongs to this place.
    pub(super) fn decode(place: Place, bytes: &[u8]) -> Option<BlockHeader> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("inside"));
        let u64_at = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("inside"));
        // Cheap tests first: recovery tries every block of the free part of a segment.
        let is_of_segment = u64_at(8) == place.segment.0 || planted!(StaleBlocksRead);
        let ours = u32_at(4) == MAGIC && is_of_segment && u64_at(24) == place.offset;
        if !ours || u32_at(0) != checksum(place.node, &header[4..]) {
            return None;
        }
        Some(BlockHeader {
            sequence: u64_at(16),
            base: Index(u64_at(32)),
            length_bytes: u32_at(40),
            tags: u32_at(44),
            count: u32_at(48),
            kind: u32_at(52),
        })
    }

    /// How much of the segment the block takes, zeros included.
    pub(super) fn padded_bytes(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.length_bytes)).next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Reads the records behind the header; `None` unless each is exactly what was written.
    pub(super) fn content(&self, block: &Bytes) -> Option<Content> {
        let end = HEADER_BYTES + self.length_bytes as usize;
        if self.kind == RESTART && self.length_bytes == 0 {
            return Some(Content::Restart);
        }
        if self.kind != ENTRIES || block.len() < end {
            return None;
        }
        let mut rest = block.slice(HEADER_BYTES..end);
        let mut entries = Vec::new();
        let mut index = self.base;
        while !rest.is_empty() {
            let entry = Entry::decode(&mut rest).ok()?;
            index = index.next();
            if entry.index() != index {
                return None;
            }
            entries.push(entry);
        }
        let tags = tags(entries.iter().map(Entry::record));
        (tags == self.tags && entries.len() == self.count as usize)
            .then_some(Content::Entries(entries))
    }
}

fn checksum(node: NodeId, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&node.0.to_le_bytes());
    hasher.update(covered);
    hasher.finalize()
}

fn tags<'a>(records: impl IntoIterator<Item = &'a Bytes>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for record in records {
        hasher.update(&record[..TAG_BYTES]);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Command, EntryBuilder, EntryKind, Term};

    const PLACE: Place = Place { node: NodeId(1), segment: SegmentId(2), offset: 8192 };

    fn entry(index: u64, value_bytes: usize) -> Entry {
        let mut builder = EntryBuilder::new(EntryKind::Commands, 0);
        let value = Bytes::from(vec![7; value_bytes]);
        builder.push(&Command::Set { key: Bytes::from_static(b"key"), value });
        builder.seal(Index(index), Term(3))
    }

    fn joined(parts: Vec<Bytes>) -> Bytes {
        Bytes::from(parts.concat())
    }

    fn decode(place: Place, block: &Bytes) -> Option<Content> {
        BlockHeader::decode(place, block)?.content(block)
    }

    #[test]
    fn a_restart_reads_back() {
        let block = encode_restart(PLACE, 9, Index(70));
        let header = BlockHeader::decode(PLACE, &block).expect("sound");
        assert_eq!((header.sequence, header.base), (9, Index(70)));
        assert_eq!(header.content(&block), Some(Content::Restart));
        assert_eq!(header.padded_bytes(), 4096);
    }

    #[test]
    fn a_block_is_sound_nowhere_but_in_its_place() {
        let block = joined(encode_entries(PLACE, 5, &[entry(1, 10)]));
        assert!(decode(PLACE, &block).is_some());
        assert_eq!(decode(Place { node: NodeId(2), ..PLACE }, &block), None);
        assert_eq!(decode(Place { segment: SegmentId(3), ..PLACE }, &block), None);
        assert_eq!(decode(Place { offset: 4096, ..PLACE }, &block), None);
    }

    #[test]
    fn a_record_with_a_right_checksum_in_the_wrong_block_is_noticed() {
        let ours = joined(encode_entries(PLACE, 5, &[entry(1, 10)]));
        let mut swapped = ours[..HEADER_BYTES].to_vec();
        let mut other = EntryBuilder::new(EntryKind::Commands, 0);
        let value = Bytes::from(vec![8; 10]);
        other.push(&Command::Set { key: Bytes::from_static(b"key"), value });
        swapped.extend_from_slice(other.seal(Index(1), Term(3)).record());
        assert_eq!(swapped.len(), ours.len());
        assert_eq!(decode(PLACE, &Bytes::from(swapped)), None);
    }

    #[test]
    fn a_block_takes_what_fits_and_no_more() {
        let entries = [entry(1, 100), entry(2, 100), entry(3, 100)];
        let two = HEADER_BYTES + entries[0].len_bytes() + entries[1].len_bytes();
        assert_eq!(fitting(&entries, two), 2);
        assert_eq!(fitting(&entries, two - 1), 1);
        assert_eq!(fitting(&entries, HEADER_BYTES), 0);
        assert_eq!(fitting(&entries, usize::MAX), 3);
    }

    proptest! {
        #[test]
        fn entries_read_back_and_any_flipped_bit_is_noticed(
            sizes in proptest::collection::vec(0usize..200, 1..6), base in 0u64..1000, bit: usize,
        ) {
            let entries: Vec<Entry> =
                (base + 1..).zip(sizes).map(|(index, size)| entry(index, size)).collect();
            let block = joined(encode_entries(PLACE, 5, &entries));
            prop_assert_eq!(decode(PLACE, &block), Some(Content::Entries(entries)));
            let mut damaged = block.to_vec();
            let bit = bit % (damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(PLACE, &Bytes::from(damaged)), None);
        }

        #[test]
        fn garbage_behind_a_sound_header_never_panics(
            base: u64, length_bytes in 0u32..300, count: u32, kind in 0u32..4,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let base = Index(base);
            let header = BlockHeader { sequence: 1, base, length_bytes, tags: 0, count, kind };
            let mut block = header.encode(PLACE).to_vec();
            block.extend(bytes);
            let _ = decode(PLACE, &Bytes::from(block));
        }

        #[test]
        fn garbage_is_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            prop_assert_eq!(BlockHeader::decode(PLACE, &bytes), None);
        }
    }
}
