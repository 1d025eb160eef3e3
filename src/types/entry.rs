//! A log entry, and its one encoding: the same bytes in memory, on the wire and on every disk.
//!
//! The leader encodes a batch once. Followers check the checksum that the leader made and store the
//! bytes as they came, so the CRC on each disk is the leader's.
//!
//! ```text
//!  0        4        8                16               24      28   29    32
//!  +--------+--------+----------------+----------------+-------+----+-----+----------------+
//!  | crc32  | length | index          | term           | count |kind|  0  | body ...       |
//!  +--------+--------+----------------+----------------+-------+----+-----+----------------+
//!     u32      u32      u64              u64              u32    u8          length - 32 bytes
//! ```
//!
//! All integers are little-endian. `length` counts the whole record; `crc32` covers the bytes from 4
//! to `length`; `count` is the number of commands in the body, so that revisions can be counted
//! without reading them.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{Index, Term};

/// The bytes of a record before its body.
pub const HEADER_BYTES: usize = 32;

/// The largest record that is accepted from a peer or a disk, header included.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;

/// What the body of an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry, which commits those of earlier terms (Raft §8).
    Noop,
    /// A batch of [`Command`](super::Command)s.
    Commands,
    /// A [`Configuration`](super::Configuration).
    Configuration,
}

/// One position of the replicated log. Cloning is cheap: the record is shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    index: Index,
    term: Term,
    kind: EntryKind,
    count: u32,
    /// The whole record, header included. Its header always agrees with the fields above.
    record: Bytes,
}

/// A batch being written; it becomes an [`Entry`] when the leader knows its index and term.
#[derive(Debug)]
pub struct EntryBuilder {
    kind: EntryKind,
    count: u32,
    record: BytesMut,
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// Fewer bytes than the header says, or than a header takes.
    #[error("the record is cut short: {have} bytes of {need}")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// The length field is impossible.
    #[error("the record says it has {0} bytes; it must have 32 to 8388608")]
    Length(u32),
    /// The checksum does not match.
    #[error("the record's checksum is {found:08x}, its bytes make {computed:08x}")]
    Checksum {
        /// In the record.
        found: u32,
        /// Of the record.
        computed: u32,
    },
    /// The kind byte is none that this version knows.
    #[error("the record has the unknown kind {0}")]
    Kind(u8),
}

impl EntryBuilder {
    /// An empty entry of `kind`, with room for `capacity_bytes` of body.
    #[must_use]
    pub fn new(kind: EntryKind, capacity_bytes: usize) -> EntryBuilder {
        let mut record = BytesMut::with_capacity(HEADER_BYTES + capacity_bytes);
        record.put_bytes(0, HEADER_BYTES);
        EntryBuilder { kind, count: 0, record }
    }

    /// Where the body is written; what is there already must not be touched.
    pub(super) fn body_mut(&mut self) -> &mut BytesMut {
        &mut self.record
    }

    /// Counts `more` commands in the body.
    pub(super) fn count_commands(&mut self, more: u32) {
        self.count += more;
    }

    /// The body so far.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.record[HEADER_BYTES..]
    }

    /// How many commands the body holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The record's size so far, header included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.record.len()
    }

    /// Gives the batch its place in the log and computes the checksum that every disk will hold.
    #[must_use]
    pub fn seal(mut self, index: Index, term: Term) -> Entry {
        let len = self.record.len();
        assert!(len <= MAX_ENTRY_BYTES, "an entry of {len} bytes is over the limit");
        self.record[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        self.record[8..16].copy_from_slice(&index.0.to_le_bytes());
        self.record[16..24].copy_from_slice(&term.0.to_le_bytes());
        self.record[24..28].copy_from_slice(&self.count.to_le_bytes());
        self.record[28] = self.kind as u8;
        let crc = crc32fast::hash(&self.record[4..]);
        self.record[0..4].copy_from_slice(&crc.to_le_bytes());
        let record = self.record.freeze();
        Entry { index, term, kind: self.kind, count: self.count, record }
    }
}

impl Entry {
    /// A leader's empty first entry.
    #[must_use]
    pub fn noop(index: Index, term: Term) -> Entry {
        EntryBuilder::new(EntryKind::Noop, 0).seal(index, term)
    }

    /// The length that the record at the front of `bytes` claims, checked against the limits.
    ///
    /// # Errors
    /// [`EntryError::Short`] when there is no whole header, [`EntryError::Length`] when the claim is
    /// impossible. The checksum is not looked at.
    pub fn peek_len(bytes: &[u8]) -> Result<usize, EntryError> {
        if bytes.len() < HEADER_BYTES {
            return Err(EntryError::Short { have: bytes.len(), need: HEADER_BYTES });
        }
        let len = u32_at(bytes, 4);
        if (len as usize) < HEADER_BYTES || len as usize > MAX_ENTRY_BYTES {
            return Err(EntryError::Length(len));
        }
        Ok(len as usize)
    }

    /// Reads the entry at the front of `bytes` and splits its record off.
    ///
    /// # Errors
    /// When the record is cut short, impossible, of an unknown kind, or fails its checksum; `bytes`
    /// is then as it was.
    pub fn decode(bytes: &mut Bytes) -> Result<Entry, EntryError> {
        let len = Entry::peek_len(bytes)?;
        if bytes.len() < len {
            return Err(EntryError::Short { have: bytes.len(), need: len });
        }
        let found = u32_at(bytes, 0);
        let computed = crc32fast::hash(&bytes[4..len]);
        if found != computed {
            return Err(EntryError::Checksum { found, computed });
        }
        let kind = match bytes[28] {
            0 => EntryKind::Noop,
            1 => EntryKind::Commands,
            2 => EntryKind::Configuration,
            other => return Err(EntryError::Kind(other)),
        };
        let (index, term) = (Index(u64_at(bytes, 8)), Term(u64_at(bytes, 16)));
        let count = u32_at(bytes, 24);
        Ok(Entry { index, term, kind, count, record: bytes.split_to(len) })
    }

    /// Its position in the log.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The term of the leader that made it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// What its body holds.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// How many commands its body holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The whole record, header included: what goes to disks and peers.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The record without its header.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.record.slice(HEADER_BYTES..)
    }

    /// The record's size, header included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.record.len()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} {:?} {}B", self.index, self.term, self.kind, self.record.len())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_noop_is_a_bare_header() {
        let entry = Entry::noop(Index(7), Term(3));
        assert_eq!(entry.record().len(), HEADER_BYTES);
        let mut bytes = entry.record().clone();
        assert_eq!(Entry::decode(&mut bytes), Ok(entry));
        assert!(bytes.is_empty());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..64), bit in 0usize..768) {
            let mut builder = EntryBuilder::new(EntryKind::Commands, body.len());
            builder.body_mut().put_slice(&body);
            let entry = builder.seal(Index(1), Term(1));
            let mut damaged = entry.record().to_vec();
            let bit = bit % (damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Entry::decode(&mut Bytes::from(damaged)).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = Entry::decode(&mut Bytes::from(bytes));
        }
    }
}
