//! The map of a process, and how the workload's keys and values lie in it.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::sim::history::{Key, Value};
use crate::storage::{FrozenShard, Item, ScanCursor, Shard, SnapshotItem, StateHash};
use crate::types::{Entry, Revision};

/// The payload of one page of a list: a few items, so that most lists have several pages.
const PAGE_BYTES: usize = 512;

/// The real map, as one shard.
#[derive(Debug)]
pub(in crate::sim) struct Map(Shard);

impl Map {
    pub(in crate::sim) fn new() -> Map {
        Map(Shard::new(0, 1, 1))
    }

    /// Applies a committed entry whose first command has `first_revision`.
    pub(super) fn apply(&mut self, entry: &Entry, first_revision: Revision) {
        let mut revision = first_revision;
        for command in entry.commands() {
            let command = command.expect("an entry's commands were checked before it was proposed");
            assert!(self.0.owns(command.key()), "one shard owns every key");
            self.0.apply(&command, revision);
            revision = Revision(revision.0 + 1);
        }
        let counted = revision.0 - first_revision.0;
        assert!(counted == u64::from(entry.count()), "an entry holds as many commands as it says");
    }

    /// Puts an item of a snapshot back.
    pub(in crate::sim) fn restore(&mut self, item: &SnapshotItem) {
        let SnapshotItem { key, value, revision } = item;
        self.0.restore(Item { key, value, revision: *revision });
    }

    pub(super) fn freeze(&self) -> FrozenShard {
        self.0.freeze()
    }

    pub(in crate::sim) fn state_hash(&self) -> StateHash {
        self.0.state_hash()
    }

    /// What a key holds, and since which write.
    pub(in crate::sim) fn get(&self, key: Key) -> Option<(Value, Revision)> {
        let (value, revision) = self.0.get(key.to_string().as_bytes())?;
        Some((decode_value(value), revision))
    }

    /// All keys with what they hold, read page by page from a frozen view.
    pub(super) fn list(&self) -> BTreeMap<Key, (Value, Revision)> {
        let frozen = self.0.freeze();
        let mut listed = BTreeMap::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            let (items, next) = frozen.scan(&from, PAGE_BYTES);
            for item in items {
                let held = (decode_value(item.value), item.revision);
                listed.insert(decode_key(item.key), held);
            }
            cursor = next;
        }
        assert!(listed.len() == self.0.len(), "a list has every key once");
        listed
    }
}

/// The bytes of a key.
pub(in crate::sim) fn encode_key(key: Key) -> Bytes {
    Bytes::from(key.to_string())
}

/// The bytes of a value, filled up to `len_bytes`.
pub(in crate::sim) fn encode_value(value: Value, len_bytes: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(len_bytes.max(8));
    bytes.put_u64_le(value.0);
    bytes.resize(len_bytes.max(8), 0x76);
    bytes.freeze()
}

fn decode_value(bytes: &[u8]) -> Value {
    Value(bytes.first_chunk().map_or(0, |id| u64::from_le_bytes(*id)))
}

/// A key that no client wrote reads as one that no client uses.
fn decode_key(bytes: &[u8]) -> Key {
    let number =
        std::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix('k')?.parse().ok());
    Key(number.unwrap_or(u16::MAX))
}
