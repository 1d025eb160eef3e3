//! One slot: a hash table of items, each one allocation.

use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::types::Revision;

/// A key, its value, and the revision of the write that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// 1 to [`MAX_KEY_BYTES`](crate::types::MAX_KEY_BYTES) bytes.
    pub key: &'a [u8],
    /// 0 to [`MAX_VALUE_BYTES`](crate::types::MAX_VALUE_BYTES) bytes.
    pub value: &'a [u8],
    /// Of the write that set it.
    pub revision: Revision,
}

/// A number that two maps share when they hold the same items, and else almost surely don't: the
/// sum, in any order, of a 64-bit hash of each item. It is the same in every version and on every
/// server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash(pub u64);

#[derive(Clone, Debug, Default)]
pub(super) struct SlotTable {
    items: HashTable<Stored>,
}

/// Key and value in one allocation, which copies of the slot share.
#[derive(Clone, Debug)]
struct Stored {
    bytes: Rc<[u8]>,
    key_bytes: u16,
    revision: Revision,
}

impl StateHash {
    /// The hash of both sets of items together.
    #[must_use]
    pub fn plus(self, other: StateHash) -> StateHash {
        StateHash(self.0.wrapping_add(other.0))
    }
}

impl Item<'_> {
    /// The bytes of key and value.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    fn state_hash(&self) -> StateHash {
        // The key's length tells apart items whose key and value join to the same bytes; mixing
        // keeps the hashes of similar items from cancelling out in a sum.
        let mut crc = crc32fast::Hasher::new();
        crc.update(&(self.key.len() as u32).to_le_bytes());
        crc.update(self.key);
        crc.update(self.value);
        let content = (u64::from(crc.finalize()) << 32) | (self.len_bytes() as u64 & 0xffff_ffff);
        StateHash(mix(mix(content).wrapping_add(self.revision.0)))
    }
}

impl SlotTable {
    pub(super) fn get(&self, hasher: &FixedState, key: &[u8]) -> Option<Item<'_>> {
        let found = self.items.find(hasher.hash_one(key), |stored| stored.key() == key);
        found.map(Stored::item)
    }

    /// Sets a key and returns the payload bytes and revision of what it held before.
    pub(super) fn set(&mut self, hasher: &FixedState, item: Item<'_>) -> Option<(usize, Revision)> {
        let stored = Stored::new(item);
        let hash = hasher.hash_one(item.key);
        let same_key = |other: &Stored| other.key() == item.key;
        match self.items.entry(hash, same_key, |other| hasher.hash_one(other.key())) {
            Entry::Occupied(mut occupied) => {
                let old = std::mem::replace(occupied.get_mut(), stored);
                Some((old.bytes.len(), old.revision))
            }
            Entry::Vacant(vacant) => {
                vacant.insert(stored);
                None
            }
        }
    }

    /// Removes a key and returns the payload bytes and revision of what it held.
    pub(super) fn remove(&mut self, hasher: &FixedState, key: &[u8]) -> Option<(usize, Revision)> {
        let found = self.items.find_entry(hasher.hash_one(key), |stored| stored.key() == key);
        let (stored, _) = found.ok()?.remove();
        Some((stored.bytes.len(), stored.revision))
    }

    /// All items whose key is above `after`, in the order of their keys.
    pub(super) fn sorted_after(&self, after: Option<&[u8]>) -> Vec<Item<'_>> {
        let mut items: Vec<Item<'_>> = self
            .items
            .iter()
            .map(Stored::item)
            .filter(|item| after.is_none_or(|after| item.key > after))
            .collect();
        items.sort_unstable_by_key(|item| item.key);
        items
    }

    pub(super) fn state_hash(&self) -> StateHash {
        self.items
            .iter()
            .fold(StateHash::default(), |sum, stored| sum.plus(stored.item().state_hash()))
    }
}

impl Stored {
    fn new(item: Item<'_>) -> Stored {
        let key_bytes = u16::try_from(item.key.len()).expect("a key has at most MAX_KEY_BYTES");
        let bytes = [item.key, item.value].concat().into();
        Stored { bytes, key_bytes, revision: item.revision }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_bytes)]
    }

    fn item(&self) -> Item<'_> {
        let (key, value) = self.bytes.split_at(usize::from(self.key_bytes));
        Item { key, value, revision: self.revision }
    }
}

/// SplitMix64's finalizer: each bit of the input moves half the bits of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<'a>(key: &'a [u8], value: &'a [u8], revision: u64) -> Item<'a> {
        Item { key, value, revision: Revision(revision) }
    }

    #[test]
    fn the_state_hash_tells_items_apart_by_key_value_revision_and_their_border() {
        let items = [
            item(b"ab", b"c", 1),
            item(b"a", b"bc", 1),
            item(b"ab", b"c", 2),
            item(b"ab", b"d", 1),
            item(b"abc", b"", 1),
        ];
        for (at, one) in items.iter().enumerate() {
            for other in &items[..at] {
                assert_ne!(one.state_hash(), other.state_hash(), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_state_hash_of_an_item_never_changes_between_versions() {
        assert_eq!(
            item(b"greeting", b"hello", 7).state_hash(),
            StateHash(3_661_539_903_579_992_506)
        );
    }
}
