//! A shard at one moment, for reading at leisure.

use std::rc::Rc;

use bytes::Bytes;

use super::table::{Item, SlotTable, StateHash};

/// A shard as it was when it was frozen. It keeps the memory of whatever has changed since.
#[derive(Clone, Debug)]
pub struct FrozenShard {
    slots: Vec<Rc<SlotTable>>,
}

/// Where a scan goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCursor {
    /// The slot, by its place within the shard.
    position: usize,
    /// The last key of that slot that was given out.
    after: Option<Bytes>,
}

impl FrozenShard {
    pub(super) fn new(slots: Vec<Rc<SlotTable>>) -> FrozenShard {
        FrozenShard { slots }
    }

    /// The hash of all items.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        self.slots.iter().fold(StateHash::default(), |sum, slot| sum.plus(slot.state_hash()))
    }

    /// The next items from `cursor` on, slot by slot and by key within a slot, until they hold
    /// `max_bytes` of keys and values; the last one may go beyond. Also where to go on, `None` at
    /// the end.
    ///
    /// The default cursor is the beginning. A scan in chunks gives each item exactly once.
    #[must_use]
    pub fn scan(
        &self,
        cursor: &ScanCursor,
        max_bytes: usize,
    ) -> (Vec<Item<'_>>, Option<ScanCursor>) {
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut after = cursor.after.as_deref();
        for (position, table) in self.slots.iter().enumerate().skip(cursor.position) {
            for item in table.sorted_after(after.take()) {
                bytes += item.len_bytes();
                items.push(item);
                if bytes >= max_bytes {
                    let after = Some(Bytes::copy_from_slice(item.key));
                    return (items, Some(ScanCursor { position, after }));
                }
            }
        }
        (items, None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Shard;
    use super::*;
    use crate::types::Revision;

    fn filled(keys: u16, hash_seed: u64) -> Shard {
        let mut shard = Shard::new(0, 1, hash_seed);
        for n in 0..keys {
            let (key, value) = (n.to_be_bytes(), [n as u8; 3]);
            shard.restore(Item { key: &key, value: &value, revision: Revision(u64::from(n)) });
        }
        shard
    }

    fn scan_all(shard: &FrozenShard, max_bytes: usize) -> Vec<Item<'_>> {
        let mut all = Vec::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            let (items, next) = shard.scan(&from, max_bytes);
            all.extend(items);
            cursor = next;
        }
        all
    }

    #[test]
    fn the_order_of_a_scan_does_not_depend_on_hashing() {
        let (one, other) = (filled(5000, 1).freeze(), filled(5000, 2).freeze());
        assert_eq!(scan_all(&one, 1000), scan_all(&other, usize::MAX));
    }

    #[test]
    fn a_chunk_is_as_large_as_asked_and_always_goes_on() {
        let shard = filled(100, 1).freeze();
        let (items, next) = shard.scan(&ScanCursor::default(), 12);
        assert_eq!(items.len(), 3);
        assert!(next.is_some());
        // Even a bound of nothing moves forward by one item.
        assert_eq!(scan_all(&shard, 0).len(), 100);
    }

    proptest! {
        #[test]
        fn a_scan_in_chunks_gives_each_item_once(keys in 0u16..3000, max_bytes in 0usize..4000) {
            let shard = filled(keys, 3).freeze();
            let items = scan_all(&shard, max_bytes);
            let mut seen: Vec<&[u8]> = items.iter().map(|item| item.key).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq((0..keys).map(u16::to_be_bytes).collect::<Vec<_>>().iter()));
        }
    }
}
