//! The part of the map that lives on one executor, and the stream of work that changes it.
//!
//! Each executor owns one shard and handles its work in the order it arrives. Committed entries come
//! from the node's executor alone, so they come in the order of the log; a [`ShardWork::Freeze`] sent
//! to all shards between two entries is a consistent cut of the whole map. Lists and snapshots are
//! both such cuts, read page by page: nothing is copied but the slots that change meanwhile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::envelope::{Answer, ShardWork};
use super::mesh::Post;
use crate::node::Ticket;
use crate::storage::{FrozenShard, Item, ScanCursor, Shard, SnapshotItem};
use crate::types::{Entry, Revision};

/// The payload of one page of a frozen view.
const PAGE_BYTES: usize = 64 << 10;

/// A view being read.
struct Frozen {
    shard: FrozenShard,
    /// Where the next page begins; `None` after the last.
    cursor: Option<ScanCursor>,
}

/// The shard of one executor.
pub(super) struct ShardHost {
    post: Rc<Post>,
    shard: RefCell<Shard>,
    frozen: RefCell<BTreeMap<Ticket, Frozen>>,
    hash_seed: u64,
}

impl ShardHost {
    pub(super) fn new(post: Rc<Post>, hash_seed: u64) -> ShardHost {
        let shard = RefCell::new(empty_shard(&post, hash_seed));
        ShardHost { post, shard, frozen: RefCell::default(), hash_seed }
    }

    /// Keys in this shard.
    pub(super) fn keys(&self) -> u64 {
        self.shard.borrow().len() as u64
    }

    /// The bytes of its keys and values.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.shard.borrow().payload_bytes() as u64
    }

    pub(super) fn handle(&self, work: ShardWork) {
        match work {
            ShardWork::Apply { entry, first_revision } => self.apply(&entry, first_revision),
            ShardWork::Get(ticket, key) => self.get(ticket, &key),
            ShardWork::Freeze(ticket) => {
                let shard = self.shard.borrow().freeze();
                let frozen = Frozen { shard, cursor: Some(ScanCursor::default()) };
                self.frozen.borrow_mut().insert(ticket, frozen);
                self.post.answer(ticket, Answer::Frozen);
            }
            ShardWork::NextPage(ticket) => self.next_page(ticket),
            ShardWork::Thaw(ticket) => {
                self.frozen.borrow_mut().remove(&ticket);
            }
            ShardWork::Clear => {
                *self.shard.borrow_mut() = empty_shard(&self.post, self.hash_seed);
            }
            ShardWork::Load(items) => {
                let mut shard = self.shard.borrow_mut();
                for SnapshotItem { key, value, revision } in &items {
                    shard.restore(Item { key, value, revision: *revision });
                }
            }
        }
    }

    fn apply(&self, entry: &Entry, first_revision: Revision) {
        let mut shard = self.shard.borrow_mut();
        let mut revision = first_revision;
        for command in entry.commands() {
            let command = command.expect("an entry's commands were checked before it was proposed");
            if shard.owns(command.key()) {
                shard.apply(&command, revision);
            }
            revision = Revision(revision.0 + 1);
        }
        let counted = revision.0 - first_revision.0;
        assert!(counted == u64::from(entry.count()), "an entry holds as many commands as it says");
    }

    fn get(&self, ticket: Ticket, key: &[u8]) {
        let shard = self.shard.borrow();
        let found = shard.get(key);
        let value = found.map(|(value, revision)| (Bytes::copy_from_slice(value), revision));
        drop(shard);
        self.post.answer(ticket, Answer::Value(value));
    }

    fn next_page(&self, ticket: Ticket) {
        let page = match self.frozen.borrow_mut().get_mut(&ticket) {
            Some(frozen) => frozen.next_page(),
            None => return,
        };
        self.post.answer(ticket, Answer::Page(page));
    }
}

impl Frozen {
    /// The next items; none after the last page.
    fn next_page(&mut self) -> Vec<SnapshotItem> {
        let Some(cursor) = &self.cursor else { return Vec::new() };
        let (items, next) = self.shard.scan(cursor, PAGE_BYTES);
        let owned = |item: Item<'_>| SnapshotItem {
            key: Bytes::copy_from_slice(item.key),
            value: Bytes::copy_from_slice(item.value),
            revision: item.revision,
        };
        let page = items.into_iter().map(owned).collect();
        self.cursor = next;
        page
    }
}

fn empty_shard(post: &Post, hash_seed: u64) -> Shard {
    let number = |n: usize| u16::try_from(n).expect("there are fewer executors than slots");
    Shard::new(number(post.local()), number(post.executors()), hash_seed)
}
