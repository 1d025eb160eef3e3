//! What the tests of the whole room share: a server that lives on a disk that forgets.
//!
//! A [`Server`](server::Server) lives through [`Event`](server::Event)s on a
//! [`CrashDisk`](super::CrashDisk). Beside it stands a [`Model`](model::Model) of what must be
//! found again: while the ops of an event run, a crash may leave the state before it or one of
//! those that it passes through.

mod crash_tests;
mod damage_tests;
mod model;
mod scripts;
mod server;

use bytes::Bytes;

use super::Identity;
use crate::types::{
    ClusterId, Command, Configuration, Entry, EntryBuilder, EntryKind, Index, NodeId, Revision,
    SnapshotMeta, Term,
};

/// A header and four blocks, so that logs roll often.
const SEGMENT_BYTES: u64 = 5 * 4096;
const IDENTITY: Identity = Identity { node: NodeId(11), cluster: None };
const CLUSTER: ClusterId = ClusterId(22);

fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        index: Index(index),
        term: Term(term),
        revision: Revision(index),
        configuration: Configuration::default(),
    }
}

fn entry(index: u64, term: u64, value_bytes: usize) -> Entry {
    let mut builder = EntryBuilder::new(EntryKind::Commands, value_bytes);
    let value = Bytes::from(vec![index as u8 ^ term as u8; value_bytes]);
    builder.push(&Command::Set { key: Bytes::from_static(b"key"), value });
    builder.seal(Index(index), Term(term))
}
