//! A server's disk and state machine, as simple as they can be.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::raft::{Ready, Recovered, SnapshotWrite};
use crate::types::{Configuration, Entry, EntryKind, HardState, Index, Revision, SnapshotMeta};

/// The bytes of a snapshot's file: the digest, repeated so that it takes several parts.
const FILE_BYTES: usize = 40;
/// The bytes of a part.
pub(super) const CHUNK_BYTES: usize = 16;

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
    /// Snapshots by index; the newest is in use.
    pub(super) snapshots: BTreeMap<Index, (SnapshotMeta, Bytes)>,
    /// The file of a snapshot being received.
    temporary: BytesMut,
}

/// What the committed entries made. It is lost in a crash, and made anew.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) applied: Index,
    term: crate::types::Term,
    revision: Revision,
    configuration: Configuration,
    /// A hash over everything applied.
    pub(super) digest: u64,
}

impl Disk {
    pub(super) fn store_hard_state(&mut self, ready: &Ready) {
        self.hard_state = ready.hard_state.unwrap_or(self.hard_state);
    }

    /// Entries supersede those at or behind their first index.
    pub(super) fn store_entries(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index() < first.index());
            self.entries.extend_from_slice(entries);
        }
    }

    /// Writes a part of a snapshot; returns the whole file's bytes when it was the last.
    pub(super) fn store_chunk(&mut self, write: &SnapshotWrite) -> Option<Bytes> {
        if write.offset == 0 {
            self.temporary.clear();
        }
        assert_eq!(write.offset, self.temporary.len() as u64, "parts come in order");
        self.temporary.put_slice(&write.data);
        write.last.then(|| self.temporary.split().freeze())
    }

    /// A snapshot becomes the one in use; entries up to it are dropped where they are not `kept`.
    pub(super) fn store_snapshot(&mut self, meta: SnapshotMeta, file: Bytes, first_kept: Index) {
        self.entries.retain(|entry| entry.index() >= first_kept);
        self.snapshots.insert(meta.index, (meta, file));
        while self.snapshots.len() > 2 {
            self.snapshots.pop_first();
        }
    }

    pub(super) fn newest_snapshot(&self) -> SnapshotMeta {
        self.snapshots.last_key_value().map(|(_, (meta, _))| meta.clone()).unwrap_or_default()
    }

    /// A part of a snapshot's file, and whether it is the last.
    pub(super) fn read_chunk(&self, index: Index, offset: u64) -> Option<(Bytes, bool)> {
        let (_, file) = self.snapshots.get(&index)?;
        let start = usize::try_from(offset).ok().filter(|&start| start < file.len())?;
        let end = file.len().min(start + CHUNK_BYTES);
        Some((file.slice(start..end), end == file.len()))
    }

    pub(super) fn recover(&self) -> Recovered {
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.newest_snapshot(),
            entries: self.entries.clone(),
        }
    }

    /// Whether it holds the entry, itself or in a snapshot.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        entry.index() <= self.newest_snapshot().index || self.entries.contains(entry)
    }
}

impl State {
    /// The state that the disk's snapshot holds.
    pub(super) fn load(disk: &Disk) -> State {
        let Some((_, (meta, file))) = disk.snapshots.last_key_value() else {
            return State::default();
        };
        let mut digest = [0; 8];
        let stored = file.get(..8).unwrap_or(&[0; 8]);
        digest.copy_from_slice(stored);
        State {
            applied: meta.index,
            term: meta.term,
            revision: meta.revision,
            configuration: meta.configuration.clone(),
            digest: u64::from_le_bytes(digest),
        }
    }

    pub(super) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index(), self.applied.next(), "entries are applied in order, once");
        self.applied = entry.index();
        self.term = entry.term();
        self.revision = Revision(self.revision.0 + u64::from(entry.count()));
        let crc = u64::from(crc32fast::hash(entry.record()));
        self.digest = (self.digest ^ crc).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        if entry.kind() == EntryKind::Configuration {
            self.configuration = Configuration::decode(entry.body()).expect("it was proposed");
        }
    }

    /// The snapshot of this state.
    pub(super) fn snapshot(&self) -> (SnapshotMeta, Bytes) {
        let mut file = BytesMut::new();
        while file.len() < FILE_BYTES {
            file.put_u64_le(self.digest);
        }
        let meta = SnapshotMeta {
            index: self.applied,
            term: self.term,
            revision: self.revision,
            configuration: self.configuration.clone(),
        };
        (meta, file.freeze())
    }
}
