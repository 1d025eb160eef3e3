//! The map at one index, as a file: written once, verified as it is read, sent to peers as it lies.
//!
//! A snapshot is a row of frames, each filled with zeros up to whole blocks of 4 KiB: one header,
//! any number of frames of items, and one footer.
//!
//! ```text
//!  0        4       8      12       16       20      24
//!  +--------+-------+------+--------+--------+-------+-------------------+-----------+
//!  | crc32  | magic | kind | number | length | count | payload           | zeros     |
//!  +--------+-------+------+--------+--------+-------+-------------------+-----------+
//!     u32      u32     u32    u32      u32      u32     length bytes
//!
//!  header  kind 1   +---------+---------+-------+------+----------+-------------------+
//!                   | version | cluster | index | term | revision | configuration ... |
//!                   +---------+---------+-------+------+----------+-------------------+
//!                       u32       u64      u64     u64      u64
//!  items   kind 2   +---------+-----------+----------+---------+-----------+
//!                   | key len | value len | revision | key ... | value ... |   `count` times
//!                   +---------+-----------+----------+---------+-----------+
//!                      u16        u32         u64
//!  footer  kind 3   +-------+
//!                   | items |
//!                   +-------+
//!                      u64
//! ```
//!
//! `number` counts the frames from 0. `crc32` covers a frame from byte 4 to its payload's end and
//! begins with the checksum of the frame before (the first one with 0). So each frame vouches for
//! all before it, and a frame of another snapshot, a lost one or one out of order is noticed; the
//! footer vouches for the whole.
//!
//! Encoder and decoder hold one frame at a time, whatever the size of the map.

mod decoder;
mod encoder;
mod frame;

use thiserror::Error;

pub(super) use self::decoder::read_header;
pub use self::decoder::{
    SnapshotDecoder, SnapshotItem, SnapshotPart, SnapshotSummary, read_snapshot,
};
pub use self::encoder::SnapshotEncoder;
pub use self::frame::MAX_FRAME_BYTES;

/// The format that this version writes, and the only one it reads.
const VERSION: u32 = 1;

/// The bytes of an item before its key.
const ITEM_HEADER_BYTES: usize = 14;

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// A frame is not the one that belongs here, or some of its bytes have changed.
    #[error("frame {number} is damaged")]
    Frame {
        /// Which frame it should be, counted from 0.
        number: u32,
    },
    /// A frame's checksum is right and what it says makes no sense.
    #[error("frame {number} makes no sense")]
    Content {
        /// Which frame, counted from 0.
        number: u32,
    },
    /// The format is one of another version.
    #[error("the snapshot has format version {0}, this version of mokv reads 1")]
    Version(u32),
    /// The bytes end before the footer.
    #[error("the snapshot ends in the middle, after {frames} frames")]
    Unfinished {
        /// How many whole frames there were.
        frames: u32,
    },
    /// There are bytes after the footer.
    #[error("there are bytes after the snapshot's end")]
    Trailing,
    /// The footer counts other items than there were.
    #[error("the snapshot says it has {said} items and has {found}")]
    Count {
        /// In the footer.
        said: u64,
        /// In the frames.
        found: u64,
    },
}

/// Why bytes cannot be added to a snapshot that is being written.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SnapshotWriteError {
    /// There is none.
    #[error("no snapshot was begun")]
    NotBegun,
    /// The bytes would leave a gap or overlap.
    #[error("bytes at {offset} came where those at {expected} were expected")]
    Misplaced {
        /// Where they belong.
        offset: u64,
        /// Where the snapshot ends so far.
        expected: u64,
    },
    /// The bytes are not whole blocks.
    #[error("{len_bytes} bytes of a snapshot are not whole blocks of 4096")]
    Unaligned {
        /// How many there were.
        len_bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::storage::op::BLOCK_BYTES;
    use crate::types::{
        ClusterId, Configuration, Index, Member, NodeId, Revision, SnapshotMeta, Term,
    };

    type Items = Vec<(Vec<u8>, Vec<u8>, u64)>;

    fn meta() -> SnapshotMeta {
        let member = Member {
            name: "one".into(),
            peer_addr: "one:8401".into(),
            rpc_addr: "one:8400".into(),
        };
        SnapshotMeta {
            index: Index(9),
            term: Term(4),
            revision: Revision(70),
            configuration: Configuration {
                voters: [NodeId(5)].into(),
                members: [(NodeId(5), member)].into(),
                ..Configuration::default()
            },
        }
    }

    fn encode(items: &Items) -> Vec<u8> {
        let mut encoder = SnapshotEncoder::new(ClusterId(3), &meta());
        let mut file = Vec::new();
        for (key, value, revision) in items {
            file.extend(encoder.push(key, value, Revision(*revision)).unwrap_or_default());
        }
        file.extend(encoder.finish());
        assert!(file.len().is_multiple_of(BLOCK_BYTES));
        file
    }

    /// Decodes a file that arrives in pieces of `piece_bytes`.
    fn decode(file: &[u8], piece_bytes: usize) -> Result<(SnapshotSummary, Items), SnapshotError> {
        let mut decoder = SnapshotDecoder::new();
        let mut items = Items::new();
        for piece in file.chunks(piece_bytes) {
            decoder.feed(piece);
            while let Some(part) = decoder.next_part()? {
                let SnapshotPart::Items(part) = part else { continue };
                items.extend(
                    part.into_iter()
                        .map(|item| (item.key.to_vec(), item.value.to_vec(), item.revision.0)),
                );
            }
        }
        Ok((decoder.finish()?, items))
    }

    fn large(count: u64) -> Items {
        (0..count).map(|n| (n.to_le_bytes().to_vec(), vec![n as u8; 3000], n)).collect()
    }

    #[test]
    fn an_empty_map_is_a_header_and_a_footer() {
        let file = encode(&Items::new());
        assert_eq!(file.len(), 2 * BLOCK_BYTES);
        let (summary, items) = decode(&file, file.len()).expect("a sound snapshot");
        assert_eq!((summary.cluster, summary.meta, summary.items), (ClusterId(3), meta(), 0));
        assert!(items.is_empty());
        assert_eq!(read_header(&file), Ok((ClusterId(3), meta())));
    }

    #[test]
    fn a_large_map_is_streamed_in_frames_of_bounded_size() {
        let items = large(1000);
        let mut encoder = SnapshotEncoder::new(ClusterId(3), &meta());
        let mut pieces: Vec<Bytes> = items
            .iter()
            .filter_map(|(key, value, revision)| encoder.push(key, value, Revision(*revision)))
            .collect();
        pieces.push(encoder.finish());
        assert!(pieces.len() > 10);
        assert!(pieces.iter().all(|piece| piece.len() < 400 << 10));
        let (_, read) = decode(&pieces.concat(), 1 << 20).expect("a sound snapshot");
        assert_eq!(read, items);
    }

    #[test]
    fn a_cut_or_continued_file_is_refused() {
        let file = encode(&large(200));
        for blocks in 0..file.len() / BLOCK_BYTES {
            let cut = &file[..blocks * BLOCK_BYTES];
            assert!(matches!(decode(cut, 1 << 16), Err(SnapshotError::Unfinished { .. })));
        }
        let longer = [file, vec![0; BLOCK_BYTES]].concat();
        assert_eq!(decode(&longer, 1 << 16).err(), Some(SnapshotError::Trailing));
    }

    #[test]
    fn a_frame_of_another_snapshot_is_refused() {
        let ours = encode(&large(200));
        let mut other_items = large(200);
        other_items[0].1[0] ^= 1;
        let mut mixed = encode(&other_items);
        assert_eq!(mixed.len(), ours.len());
        // The last frames are the same items at the same place, after another history.
        let from = ours.len() - BLOCK_BYTES;
        mixed[from..].copy_from_slice(&ours[from..]);
        assert!(matches!(decode(&mixed, 1 << 16), Err(SnapshotError::Frame { .. })));
    }

    #[test]
    fn a_footer_that_counts_other_items_is_refused() {
        let mut frames = frame::FrameWriter::new();
        let header = encode(&Items::new());
        let length = u32::from_le_bytes(*header[16..].first_chunk().expect("a frame"));
        let mut file = frames.write_raw(1, 0, &header[24..24 + length as usize]).to_vec();
        file.extend(frames.write_raw(3, 0, &1u64.to_le_bytes()));
        assert_eq!(decode(&file, 4096).err(), Some(SnapshotError::Count { said: 1, found: 0 }));
    }

    fn some_bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), len)
    }

    proptest! {
        #[test]
        fn reads_back_whole_in_pieces_of_any_size(
            items in proptest::collection::vec((some_bytes(1..20), some_bytes(0..50), any::<u64>()), 0..30),
            piece_bytes in 1usize..9000,
        ) {
            let (summary, read) = decode(&encode(&items), piece_bytes).expect("a sound snapshot");
            prop_assert_eq!(summary.items, items.len() as u64);
            prop_assert_eq!(read, items);
        }

        #[test]
        fn every_flipped_bit_is_noticed(bit: usize) {
            let mut file = encode(&vec![(b"key".to_vec(), b"value".to_vec(), 7)]);
            let bit = bit % (file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&file, 4096).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert!(decode(&bytes, 1000).is_err());
            let _ = read_header(&bytes);
        }

        #[test]
        fn garbage_with_a_right_checksum_never_panics(
            kind in 0u32..5, count in 0u32..4, payload in some_bytes(0..80),
        ) {
            let mut writer = frame::FrameWriter::new();
            let header = encode(&Items::new());
            let mut file = Vec::new();
            if kind != frame::FrameKind::Header as u32 {
                // The frame comes second, so that items and footers are where they belong.
                let length = u32::from_le_bytes(*header[16..].first_chunk().expect("a frame"));
                file.extend(writer.write_raw(1, 0, &header[24..24 + length as usize]));
            }
            file.extend(writer.write_raw(kind, count, &payload));
            let _ = decode(&file, 4096);
        }
    }
}
