//! The first block of a segment file.
//!
//! ```text
//!  0        4       8         12     16       24           32          40               48    4096
//!  +--------+-------+---------+------+--------+------------+-----------+----------------+------+
//!  | crc32  | magic | version |  0   | node   | segment id | file bytes| first sequence | 0... |
//!  +--------+-------+---------+------+--------+------------+-----------+----------------+------+
//!     u32      u32     u32      u32     u64       u64          u64           u64
//! ```
//!
//! The checksum covers bytes 4 to 48. The header is durable before the file gets its segment's
//! name, so a segment without a sound header is damaged, never merely unfinished.
//!
//! It names the sequence of its first block and not that block's first index: after a crash between
//! the two, the next append may well begin at another index, but never at another sequence.

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::NodeId;

/// Identifies a segment; ids count up by one and are never used again, the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

const MAGIC: u32 = 0x6773_6b6d; // "mksg"
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;

/// What the first block of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The server that wrote it.
    pub(super) node: NodeId,
    pub(super) id: SegmentId,
    /// The file's length.
    pub(super) file_bytes: u64,
    /// The sequence of its first block; every block before it is durable in the segments before.
    pub(super) first_sequence: u64,
}

/// Why the first block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Version(u32),
}

impl SegmentId {
    pub(super) fn next(self) -> SegmentId {
        SegmentId(self.0 + 1)
    }
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Bytes {
        let mut header = BytesMut::with_capacity(HEADER_BYTES);
        header.put_u32_le(0);
        header.put_u32_le(MAGIC);
        header.put_u32_le(VERSION);
        header.put_u32_le(0);
        header.put_u64_le(self.node.0);
        header.put_u64_le(self.id.0);
        header.put_u64_le(self.file_bytes);
        header.put_u64_le(self.first_sequence);
        let crc = crc32fast::hash(&header[4..]);
        header[0..4].copy_from_slice(&crc.to_le_bytes());
        header.freeze()
    }

    pub(super) fn decode(block: &[u8]) -> Result<SegmentHeader, HeaderError> {
        let header = block.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Damaged)?;
        let u32_at = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("inside"));
        let u64_at = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("inside"));
        if u32_at(0) != crc32fast::hash(&header[4..]) || u32_at(4) != MAGIC {
            return Err(HeaderError::Damaged);
        }
        if u32_at(8) != VERSION {
            return Err(HeaderError::Version(u32_at(8)));
        }
        Ok(SegmentHeader {
            node: NodeId(u64_at(16)),
            id: SegmentId(u64_at(24)),
            file_bytes: u64_at(32),
            first_sequence: u64_at(40),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        node: NodeId(5),
        id: SegmentId(2),
        file_bytes: 1 << 20,
        first_sequence: 77,
    };

    #[test]
    fn reads_back_as_it_was_written() {
        assert_eq!(SegmentHeader::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = HEADER.encode().to_vec();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[0..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(9)));
    }

    proptest! {
        #[test]
        fn garbage_is_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged));
        }
    }
}
