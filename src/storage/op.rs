//! The words in which storage speaks of a disk: names of files, changes to them, and reads.

use std::fmt;
use std::io;

use bytes::Bytes;

use super::wal::SegmentId;
use crate::types::Index;

/// The unit of every write and of every file's length, in bytes: what O_DIRECT can always transfer.
pub const BLOCK_BYTES: usize = 4096;

/// A file of the data directory. Files with other names are none of storage's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// Who this server is.
    Identity,
    /// The identity before its first sync; it means nothing after a crash.
    IdentityTemp,
    /// Term and vote.
    HardState,
    /// A part of the log.
    Segment(SegmentId),
    /// A file of a segment's size whose bytes mean nothing.
    Spare(u64),
    /// The map as it was after the entry at this index.
    Snapshot(Index),
    /// A snapshot that is still being written; it means nothing after a crash.
    SnapshotTemp(SnapshotSource, Index),
}

/// Where a snapshot comes from. Each source writes at most one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotSource {
    /// Made of this server's own map.
    Local,
    /// Sent by the leader.
    Received,
}

/// One change of the data directory.
///
/// Bytes and names that no later [`Sync`](DiskOp::Sync) or [`SyncDir`](DiskOp::SyncDir) covers may
/// be lost in a crash, in any combination, down to single sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Makes `file` exist with `len_bytes` zero bytes, written and not merely reserved; what it
    /// held before is gone.
    Create {
        /// The file.
        file: FileName,
        /// Its length, a multiple of [`BLOCK_BYTES`].
        len_bytes: u64,
    },
    /// Writes; durable only after a `Sync` of the file.
    Write(BlockWrite),
    /// Writes, and is done only when these bytes are durable. The file's length doesn't change.
    WriteDurable(BlockWrite),
    /// Makes all bytes of `file` and its length durable.
    Sync {
        /// The file.
        file: FileName,
    },
    /// Gives a file another name, replacing what had it.
    Rename {
        /// The present name.
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Removes a file.
    Remove {
        /// The file.
        file: FileName,
    },
    /// Makes all creations, renames and removals so far durable.
    SyncDir,
}

/// Bytes at a place in a file, in whole blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockWrite {
    /// The file.
    pub file: FileName,
    /// Where, a multiple of [`BLOCK_BYTES`].
    pub offset: u64,
    /// The bytes, one part after another; zeros fill the rest.
    pub parts: Vec<Bytes>,
    /// How much is written with the zeros, a multiple of [`BLOCK_BYTES`].
    pub padded_bytes: usize,
}

/// How recovery reads a data directory, before any executor runs.
pub trait Disk {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The length of `file`, in bytes.
    ///
    /// # Errors
    /// When there is no such file or it cannot be read.
    fn len_bytes(&self, file: FileName) -> io::Result<u64>;

    /// The `len_bytes` bytes at `offset`, fewer only where the file ends.
    ///
    /// # Errors
    /// When there is no such file or it cannot be read.
    fn read_at(&self, file: FileName, offset: u64, len_bytes: usize) -> io::Result<Vec<u8>>;
}

impl BlockWrite {
    /// A write of `parts`, filled up to whole blocks.
    pub(super) fn new(file: FileName, offset: u64, parts: Vec<Bytes>) -> BlockWrite {
        let len: usize = parts.iter().map(Bytes::len).sum();
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "{file}: a write starts at {offset}");
        BlockWrite { file, offset, parts, padded_bytes: len.next_multiple_of(BLOCK_BYTES) }
    }

    /// Where the write ends, zeros included.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.padded_bytes as u64
    }
}

impl FileName {
    /// The file that a directory entry names, if it is one of storage's.
    #[must_use]
    pub fn parse(name: &str) -> Option<FileName> {
        let file = match name {
            "identity" => FileName::Identity,
            "identity.tmp" => FileName::IdentityTemp,
            "hard-state" => FileName::HardState,
            other => FileName::parse_numbered(other)?,
        };
        // One file has one name: "wal-1" is not segment 1.
        (file.to_string() == name).then_some(file)
    }

    fn parse_numbered(name: &str) -> Option<FileName> {
        let (kind, rest) = name.split_once('-')?;
        let (digits, suffix) = rest.split_once('.').unwrap_or((rest, ""));
        let number = u64::from_str_radix(digits, 16).ok()?;
        match (kind, suffix) {
            ("wal", "") => Some(FileName::Segment(SegmentId(number))),
            ("spare", "") => Some(FileName::Spare(number)),
            ("snapshot", "") => Some(FileName::Snapshot(Index(number))),
            ("snapshot", "local") => {
                Some(FileName::SnapshotTemp(SnapshotSource::Local, Index(number)))
            }
            ("snapshot", "received") => {
                Some(FileName::SnapshotTemp(SnapshotSource::Received, Index(number)))
            }
            (_, _) => None,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Identity => write!(f, "identity"),
            FileName::IdentityTemp => write!(f, "identity.tmp"),
            FileName::HardState => write!(f, "hard-state"),
            FileName::Segment(id) => write!(f, "wal-{:016x}", id.0),
            FileName::Spare(number) => write!(f, "spare-{number:016x}"),
            FileName::Snapshot(index) => write!(f, "snapshot-{:016x}", index.0),
            FileName::SnapshotTemp(SnapshotSource::Local, index) => {
                write!(f, "snapshot-{:016x}.local", index.0)
            }
            FileName::SnapshotTemp(SnapshotSource::Received, index) => {
                write!(f, "snapshot-{:016x}.received", index.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_reads_back_as_the_file_it_was_written_for() {
        let files = [
            FileName::Identity,
            FileName::IdentityTemp,
            FileName::HardState,
            FileName::Segment(SegmentId(u64::MAX)),
            FileName::Spare(0),
            FileName::Snapshot(Index(77)),
            FileName::SnapshotTemp(SnapshotSource::Local, Index(1)),
            FileName::SnapshotTemp(SnapshotSource::Received, Index(1)),
        ];
        for file in files {
            assert_eq!(FileName::parse(&file.to_string()), Some(file));
        }
    }

    #[test]
    fn names_of_others_are_left_alone() {
        let strangers =
            ["LOCK", "lost+found", "", "-", "wal-", "wal-1", "wal-000000000000000G", "snapshot-"];
        for name in strangers {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
        assert_eq!(FileName::parse("snapshot-0000000000000001.tmp"), None);
    }

    proptest! {
        #[test]
        fn a_name_that_is_known_is_the_only_one_of_its_file(
            name in "(identity|hard-state|(wal|spare|snapshot)-[0-9a-fA-F+]{0,17})(\\.[a-z]{0,8})?",
        ) {
            if let Some(file) = FileName::parse(&name) {
                prop_assert_eq!(file.to_string(), name);
            }
        }
    }
}
