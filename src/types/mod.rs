//! The nouns every room shares: identities, Raft's counters, and the bytes of a log entry.
//!
//! Nothing here decides anything. A type lives in this room when two rooms that may not import each
//! other must agree on it: `raft` orders [`Entry`]s that `storage` writes, and `storage` keeps the
//! [`HardState`] and [`SnapshotMeta`] that `raft` trusts after a restart.

mod command;
mod configuration;
mod entry;
mod id;

pub use command::{Command, CommandError, Commands, MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use configuration::{Configuration, ConfigurationError, Member};
pub use entry::{Entry, EntryBuilder, EntryError, EntryKind, HEADER_BYTES, MAX_ENTRY_BYTES};
pub use id::{ClusterId, Index, NodeId, Revision, SLOT_COUNT, Slot, Term};

/// Raft's term and vote: what a server must remember across a crash before it answers (Raft §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term this server has seen; it never decreases.
    pub term: Term,
    /// The candidate that got this server's vote in `term`, at most one a term.
    pub vote: Option<NodeId>,
}

/// The position of a snapshot in the log and what must survive the log's truncation (Raft §7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry whose effects the snapshot holds; 0 is the empty state before any entry.
    pub index: Index,
    /// The term of that entry.
    pub term: Term,
    /// How many commands were applied up to `index`: the revision of the last write.
    pub revision: Revision,
    /// The configuration in force at `index`; without it a restored server would not know its peers.
    pub configuration: Configuration,
}
