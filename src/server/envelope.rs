//! What one executor asks of another, or of itself: plain values that may cross a core.

use bytes::Bytes;

use crate::node::{Failure, ServerView, Status, Ticket};
use crate::storage::SnapshotItem;
use crate::types::{Command, Entry, Revision};

/// One thing to do, on the executor it is sent to.
#[derive(Debug)]
pub(super) enum Envelope {
    /// For the node.
    Question(Question),
    /// For the shard of an executor.
    Shard(ShardWork),
    /// For the frontend that took the request.
    Answer(Ticket, Answer),
}

/// What a frontend asks of the node.
#[derive(Debug)]
pub(super) enum Question {
    Write(Ticket, Command),
    Get(Ticket, Bytes),
    List(Ticket),
    Servers(Ticket),
    Status(Ticket),
    Leave(Ticket),
    Transfer(Ticket, String),
}

/// What a frontend is told.
#[derive(Debug)]
pub(super) enum Answer {
    Written(Revision),
    Value(Option<(Bytes, Revision)>),
    /// One shard holds a frozen view under this ticket.
    Frozen,
    /// Part of a frozen view; the last part is empty.
    Page(Vec<SnapshotItem>),
    Servers(Vec<ServerView>),
    Status(Box<Status>, Vec<ServerView>),
    Done,
    Failed(Failure),
    /// Only the leader can do that; clients reach it here, if it is known.
    NotLeader(String),
    /// Refused for a reason that only words can tell; nothing happened.
    Refused(String),
}

/// One thing for a shard to do.
#[derive(Clone, Debug)]
pub(super) enum ShardWork {
    /// Apply the commands of a committed entry that belong to this shard.
    Apply { entry: Entry, first_revision: Revision },
    /// Look a key up and answer.
    Get(Ticket, Bytes),
    /// Keep the map as it is now under this ticket, until `Thaw`; answer that it is kept.
    Freeze(Ticket),
    /// Answer with the next page of a frozen view.
    NextPage(Ticket),
    /// Forget a frozen view.
    Thaw(Ticket),
    /// Forget everything: a snapshot follows.
    Clear,
    /// Take these items of a snapshot.
    Load(Vec<SnapshotItem>),
}
