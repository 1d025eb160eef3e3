//! The slots that one executor owns, and the only place where they change.

use std::rc::Rc;

use foldhash::fast::FixedState;

use super::frozen::FrozenShard;
use super::table::{Item, SlotTable, StateHash};
use crate::types::{Command, Revision, SLOT_COUNT, Slot};

/// One of `shard_count` parts of the map: the slots that leave the remainder `shard_id` when
/// divided by `shard_count`.
#[derive(Debug)]
pub struct Shard {
    shard_id: u16,
    shard_count: u16,
    /// The slots in order: at `i` the one with number `i * shard_count + shard_id`.
    slots: Vec<Rc<SlotTable>>,
    hasher: FixedState,
    /// How many keys there are in all slots.
    len: usize,
    /// The bytes of all keys and values, without what it takes to keep them.
    payload_bytes: usize,
}

impl Shard {
    /// An empty shard. `hash_seed` decides where items lie in memory and nothing else; a seed that
    /// clients don't know keeps them from crowding one place.
    ///
    /// # Panics
    /// When `shard_count` is 0 or above [`SLOT_COUNT`], or `shard_id` not below it.
    #[must_use]
    pub fn new(shard_id: u16, shard_count: u16, hash_seed: u64) -> Shard {
        assert!((1..=SLOT_COUNT).contains(&shard_count), "{shard_count} shards");
        assert!(shard_id < shard_count, "shard {shard_id} of {shard_count}");
        let count = (shard_id..SLOT_COUNT).step_by(usize::from(shard_count)).count();
        let slots = (0..count).map(|_| Rc::new(SlotTable::default())).collect();
        let hasher = FixedState::with_seed(hash_seed);
        Shard { shard_id, shard_count, slots, hasher, len: 0, payload_bytes: 0 }
    }

    /// Whether `key` belongs to this shard.
    #[must_use]
    pub fn owns(&self, key: &[u8]) -> bool {
        Slot::of(key).0 % self.shard_count == self.shard_id
    }

    /// What `key` holds.
    ///
    /// # Panics
    /// When `key` belongs to another shard.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], Revision)> {
        let table = &self.slots[self.position(key)];
        table.get(&self.hasher, key).map(|item| (item.value, item.revision))
    }

    /// Does what `command` says, as the write with this revision; returns the revision of the write
    /// that it replaced, if the key held anything.
    ///
    /// # Panics
    /// When the key belongs to another shard.
    pub fn apply(&mut self, command: &Command, revision: Revision) -> Option<Revision> {
        match command {
            Command::Set { key, value } => self.set(Item { key, value, revision }),
            Command::Delete { key } => self.remove(key),
        }
    }

    /// Puts an item of a snapshot back as it was.
    ///
    /// # Panics
    /// When the key belongs to another shard.
    pub fn restore(&mut self, item: Item<'_>) {
        self.set(item);
    }

    /// The shard as it is now, for whoever reads it while writes go on.
    #[must_use]
    pub fn freeze(&self) -> FrozenShard {
        FrozenShard::new(self.slots.clone())
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of its keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The hash of all its items. It reads every byte.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        self.slots.iter().fold(StateHash::default(), |sum, slot| sum.plus(slot.state_hash()))
    }

    fn position(&self, key: &[u8]) -> usize {
        let slot = Slot::of(key);
        assert!(slot.0 % self.shard_count == self.shard_id, "slot {slot} is another shard's");
        usize::from(slot.0 / self.shard_count)
    }

    fn set(&mut self, item: Item<'_>) -> Option<Revision> {
        let position = self.position(item.key);
        let table = Rc::make_mut(&mut self.slots[position]);
        let replaced = table.set(&self.hasher, item);
        self.payload_bytes += item.len_bytes();
        match replaced {
            Some((old_bytes, old_revision)) => {
                self.payload_bytes -= old_bytes;
                Some(old_revision)
            }
            None => {
                self.len += 1;
                None
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Revision> {
        let position = self.position(key);
        // A slot that a cut shares is copied only when there is something to remove.
        self.slots[position].get(&self.hasher, key)?;
        let table = Rc::make_mut(&mut self.slots[position]);
        let (old_bytes, old_revision) = table.remove(&self.hasher, key)?;
        self.payload_bytes -= old_bytes;
        self.len -= 1;
        Some(old_revision)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::frozen::ScanCursor;
    use super::*;

    fn any_command() -> impl Strategy<Value = Command> {
        let key = (0u8..20).prop_map(|n| Bytes::from(vec![b'k', n]));
        let value = proptest::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from);
        prop_oneof![
            3 => (key.clone(), value).prop_map(|(key, value)| Command::Set { key, value }),
            1 => key.prop_map(|key| Command::Delete { key }),
        ]
    }

    fn items(shard: &Shard) -> BTreeMap<Vec<u8>, (Vec<u8>, Revision)> {
        let frozen = shard.freeze();
        let (items, _) = frozen.scan(&ScanCursor::default(), usize::MAX);
        let items = items.into_iter();
        items.map(|item| (item.key.to_vec(), (item.value.to_vec(), item.revision))).collect()
    }

    #[test]
    fn every_key_has_exactly_one_owner_and_every_slot_has_a_place() {
        for shard_count in [1, 2, 3, 7, SLOT_COUNT] {
            let shards: Vec<Shard> =
                (0..shard_count).map(|id| Shard::new(id, shard_count, 1)).collect();
            let slots: usize = shards.iter().map(|shard| shard.slots.len()).sum();
            assert_eq!(slots, usize::from(SLOT_COUNT), "{shard_count} shards");
            for key in (0..200u16).map(u16::to_be_bytes) {
                let owners = shards.iter().filter(|shard| shard.owns(&key)).count();
                assert_eq!(owners, 1, "{shard_count} shards");
            }
        }
    }

    proptest! {
        #[test]
        fn a_shard_is_a_map_and_a_frozen_one_stays_as_it_was(
            before in proptest::collection::vec(any_command(), 0..40),
            after in proptest::collection::vec(any_command(), 0..40),
            hash_seed: u64,
        ) {
            let mut shard = Shard::new(0, 1, hash_seed);
            let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Revision)> = BTreeMap::new();
            let mut revision = Revision(0);
            let mut frozen = None;
            for (at, command) in before.iter().chain(&after).enumerate() {
                if at == before.len() {
                    frozen = Some((shard.freeze(), shard.state_hash(), shard.len()));
                }
                revision = Revision(revision.0 + 1);
                let replaced = shard.apply(command, revision);
                let expected = match command {
                    Command::Set { key, value } => {
                        model.insert(key.to_vec(), (value.to_vec(), revision))
                    }
                    Command::Delete { key } => model.remove(&key[..]),
                };
                prop_assert_eq!(replaced, expected.map(|(_, revision)| revision));
            }
            let sizes = model.iter().map(|(key, (value, _))| key.len() + value.len());
            let payload: usize = sizes.sum();
            prop_assert_eq!((shard.len(), shard.payload_bytes()), (model.len(), payload));
            for (key, (value, revision)) in &model {
                prop_assert_eq!(shard.get(key), Some((&value[..], *revision)));
            }
            prop_assert_eq!(items(&shard), model);
            if let Some((frozen, hash, len)) = frozen {
                prop_assert_eq!(frozen.state_hash(), hash);
                prop_assert_eq!(frozen.scan(&ScanCursor::default(), usize::MAX).0.len(), len);
            }
        }

        #[test]
        fn replicas_agree_on_the_state_hash_whatever_their_seeds_and_shards(
            commands in proptest::collection::vec(any_command(), 0..60),
        ) {
            let mut one = [Shard::new(0, 1, 7)];
            let mut three = [0, 1, 2].map(|id| Shard::new(id, 3, 8));
            for (revision, command) in (1..).map(Revision).zip(&commands) {
                let shards = one.iter_mut().chain(&mut three);
                for shard in shards.filter(|shard| shard.owns(command.key())) {
                    shard.apply(command, revision);
                }
            }
            let sum = |shards: &[Shard]| {
                shards.iter().fold(StateHash::default(), |sum, shard| sum.plus(shard.state_hash()))
            };
            prop_assert_eq!(sum(&one), sum(&three));
        }
    }
}
