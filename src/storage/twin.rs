//! A small record that is kept twice in one file, so that neither a crash nor a bad sector loses
//! it.
//!
//! ```text
//!  0                             4096                            8192
//!  +------------------------------+------------------------------+
//!  | copy 0                       | copy 1                       |
//!  +------------------------------+------------------------------+
//!
//!  a copy:
//!  0        4       8      10      12               20
//!  +--------+-------+-------+-------+----------------+------------+
//!  | crc32  | magic | kind  | length| sequence       | payload    |
//!  +--------+-------+-------+-------+----------------+------------+
//!     u32      u32     u16     u16     u64              length bytes
//! ```
//!
//! The checksum covers bytes 4 to the payload's end. An update writes copy 0, waits until it is
//! durable, then writes copy 1, and only then counts as made. With `n` the last update that was
//! made and `n + 1` one that was under way, a crash leaves:
//!
//! | crash                    | copy 0          | copy 1          | read back |
//! |--------------------------|-----------------|-----------------|-----------|
//! | before copy 0 is durable | n, torn or n+1  | n               | n or n+1  |
//! | between the two          | n+1             | n, torn or n+1  | n+1       |
//! | after copy 1 is durable  | n+1             | n+1             | n+1       |
//!
//! So what was made is never lost, and a rotten copy never brings an older value back, because once
//! an update has been made both copies hold it. What was under way may or may not survive;
//! whichever is read back, the repair makes it durable in both copies before anything is decided on
//! it.

use bytes::{BufMut, Bytes, BytesMut};

use super::op::{BLOCK_BYTES, BlockWrite, DiskOp, FileName};

/// The length of a twin file.
pub(super) const TWIN_BYTES: u64 = 2 * BLOCK_BYTES as u64;

const MAGIC: u32 = 0x6e77_746b; // "ktwn"
const HEADER_BYTES: usize = 20;
/// A copy fits a sector of 512 bytes, so that most disks write it whole or not at all.
const MAX_PAYLOAD_BYTES: usize = 512 - HEADER_BYTES;

/// Which record a file holds, so that one is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TwinKind {
    Identity = 1,
    HardState = 2,
}

/// The writing side: remembers how often the record was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twin {
    file: FileName,
    kind: TwinKind,
    /// Of the newest copy; the next update takes the number after it.
    sequence: u64,
}

/// What the two copies say.
#[derive(Debug)]
pub(super) struct TwinRead {
    pub(super) twin: Twin,
    pub(super) payload: Bytes,
    /// Brings both copies to the newest one. Runs before anything is decided on the payload.
    pub(super) repairs: Vec<DiskOp>,
    /// Whether a copy was older than the other, or damaged.
    pub(super) differed: bool,
}

impl Twin {
    /// A record that was never written.
    pub(super) fn new(file: FileName, kind: TwinKind) -> Twin {
        Twin { file, kind, sequence: 0 }
    }

    /// The same record in a file that was given another name.
    pub(super) fn renamed(self, file: FileName) -> Twin {
        Twin { file, ..self }
    }

    /// Makes `payload` the record: durable when all ops are done.
    pub(super) fn update(&mut self, payload: &[u8]) -> Vec<DiskOp> {
        self.sequence += 1;
        let copy = self.encode(payload);
        let write = if planted!(VoteNotSynced) { DiskOp::Write } else { DiskOp::WriteDurable };
        let copies = if planted!(OneCopyOfVote) { 1 } else { 2 };
        [0, BLOCK_BYTES as u64]
            .into_iter()
            .take(copies)
            .map(|at| write(BlockWrite::new(self.file, at, vec![copy.clone()])))
            .collect()
    }

    /// Reads a whole file; `None` when neither copy is sound.
    pub(super) fn read(file: FileName, kind: TwinKind, bytes: &[u8]) -> Option<TwinRead> {
        let copies = [0, BLOCK_BYTES].map(|at| bytes.get(at..).and_then(|b| decode(kind, b)));
        let differed = copies[0] != copies[1];
        let newest = copies.iter().flatten().max_by_key(|(sequence, _)| *sequence)?.clone();
        let (sequence, payload) = newest.clone();
        let twin = Twin { file, kind, sequence };
        // Even a sound copy may have been read from a cache: it becomes durable first.
        let mut repairs = vec![DiskOp::Sync { file }];
        for (copy, at) in copies.iter().zip([0, BLOCK_BYTES as u64]) {
            if copy.as_ref() != Some(&newest) {
                let bytes = twin.encode(&payload);
                repairs.push(DiskOp::WriteDurable(BlockWrite::new(file, at, vec![bytes])));
            }
        }
        Some(TwinRead { twin, payload, repairs, differed })
    }

    fn encode(&self, payload: &[u8]) -> Bytes {
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "a twin record of {} bytes", payload.len());
        let mut copy = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        copy.put_u32_le(0);
        copy.put_u32_le(MAGIC);
        copy.put_u16_le(self.kind as u16);
        copy.put_u16_le(payload.len() as u16);
        copy.put_u64_le(self.sequence);
        copy.put_slice(payload);
        let crc = crc32fast::hash(&copy[4..]);
        copy[0..4].copy_from_slice(&crc.to_le_bytes());
        copy.freeze()
    }
}

/// The sequence and payload of one copy, if it is sound.
fn decode(kind: TwinKind, copy: &[u8]) -> Option<(u64, Bytes)> {
    let header = copy.first_chunk::<HEADER_BYTES>()?;
    let u32_at = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("in header"));
    let u16_at = |at: usize| u16::from_le_bytes(*header[at..].first_chunk().expect("in header"));
    let len = usize::from(u16_at(10));
    let known = u32_at(4) == MAGIC && u16_at(8) == kind as u16 && len <= MAX_PAYLOAD_BYTES;
    let covered = copy.get(4..HEADER_BYTES + len)?;
    if !known || crc32fast::hash(covered) != u32_at(0) {
        return None;
    }
    let sequence = u64::from_le_bytes(*header[12..].first_chunk().expect("in header"));
    Some((sequence, Bytes::copy_from_slice(&copy[HEADER_BYTES..HEADER_BYTES + len])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: FileName = FileName::HardState;

    /// The file after the first `steps` ops of `ops`, which are all writes.
    fn after(mut bytes: Vec<u8>, ops: &[DiskOp]) -> Vec<u8> {
        for op in ops {
            let DiskOp::WriteDurable(write) = op else { continue };
            let mut at = write.offset as usize;
            for part in &write.parts {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<TwinRead> {
        Twin::read(FILE, TwinKind::HardState, bytes)
    }

    #[test]
    fn an_update_is_seen_from_its_first_copy_on_and_repaired_into_both() {
        let mut twin = Twin::new(FILE, TwinKind::HardState);
        let old = after(vec![0; TWIN_BYTES as usize], &twin.update(b"old"));
        let ops = twin.update(b"new");
        let half = after(old.clone(), &ops[..1]);
        let found = read(&half).expect("two sound copies");
        assert_eq!((&found.payload[..], found.differed), (&b"new"[..], true));
        let repaired = after(half, &found.repairs);
        assert_eq!(repaired, after(old, &ops));
        assert!(!read(&repaired).expect("two sound copies").differed);
    }

    #[test]
    fn one_rotten_copy_is_no_loss_and_two_are_nothing() {
        let mut twin = Twin::new(FILE, TwinKind::HardState);
        let mut bytes = after(vec![0; TWIN_BYTES as usize], &twin.update(b"old"));
        bytes = after(bytes, &twin.update(b"new"));
        bytes[BLOCK_BYTES + 13] ^= 1;
        assert_eq!(&read(&bytes).expect("copy 0 is sound").payload[..], b"new");
        bytes[21] ^= 1;
        assert!(read(&bytes).is_none());
        assert!(read(&[]).is_none());
    }

    #[test]
    fn a_record_of_another_kind_is_no_record() {
        let mut twin = Twin::new(FILE, TwinKind::Identity);
        let bytes = after(vec![0; TWIN_BYTES as usize], &twin.update(b"id"));
        assert!(read(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_spoils_a_copy(
            payload in proptest::collection::vec(any::<u8>(), 0..MAX_PAYLOAD_BYTES), bit: usize,
        ) {
            let twin = Twin { file: FILE, kind: TwinKind::HardState, sequence: 9 };
            let mut copy = twin.encode(&payload).to_vec();
            prop_assert_eq!(decode(TwinKind::HardState, &copy), Some((9, Bytes::from(payload))));
            let bit = bit % (copy.len() * 8);
            copy[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(TwinKind::HardState, &copy), None);
        }

        #[test]
        fn garbage_is_no_copy(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(TwinKind::HardState, &bytes), None);
        }
    }
}
