//! What clients saw: every call with the time it began, and the answer with the time it came.
//!
//! ```text
//!   client 0   |---- set k1 = 7 ----|  revision 3
//!   client 1         |--- get k1 ------------|  7, of revision 3
//!   client 2              |- delete k1 ...............  never answered: unknown for ever
//!            --------------------------------------------> time
//! ```
//!
//! A history is all that the checker gets, as in Herlihy and Wing, "Linearizability" (1990): the
//! servers are not asked. Three kinds of write follow from its answer: one that is [`Written`] took
//! effect once, between call and return; one that is [`NotDone`] never does; one that is [`Unknown`]
//! or was not answered may take effect once, at any time after its call, or never.
//!
//! [`Written`]: Return::Written
//! [`NotDone`]: Return::NotDone
//! [`Unknown`]: Return::Unknown

mod edn;
mod json;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Revision;

pub use json::HistoryError;

/// A key of the workload; the store sees its `Display`, `k12`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub u16);

/// A value of the workload. Every `Set` of a run has one of its own, so a value names its write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub u64);

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Writes a value.
    Set {
        /// The key to write.
        key: Key,
        /// The value, which no other `Set` of this history has.
        value: Value,
    },
    /// Removes a key; of a missing key too this is a write with a revision.
    Delete {
        /// The key to remove.
        key: Key,
    },
    /// Reads a key, linearizably.
    Get {
        /// The key to read.
        key: Key,
    },
    /// Reads a key from one member's own map, however old that is.
    StaleGet {
        /// The key to read.
        key: Key,
    },
    /// Reads all keys at one moment, linearizably.
    List,
}

/// What a client learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Return {
    /// A `Set` or `Delete` took effect as this revision.
    Written(Revision),
    /// What a `Get` or `StaleGet` found, with the revision of the write that made it.
    Read(Option<(Value, Revision)>),
    /// What a `List` found.
    Listed(BTreeMap<Key, (Value, Revision)>),
    /// It surely had no effect and never will.
    NotDone,
    /// Nothing: a write may still take effect, once, at any later time.
    Unknown,
}

/// One call of one client, with its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who called.
    pub client: u32,
    /// What it asked for.
    pub call: Call,
    /// When it asked.
    pub invoked_us: u64,
    /// When it was answered, and what; never before `invoked_us`, and of a kind that fits `call`.
    /// `None`: not by the end of the run, which is as good as [`Return::Unknown`].
    pub returned: Option<(u64, Return)>,
}

/// The operations of one run, from an empty map on. It holds every write that any client sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// In the order of their invocations.
    pub operations: Vec<Operation>,
}

/// The position of an operation in its [`History`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OperationId(pub usize);

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// Notes that `client` has called. A client that was answered calls again later than that, since
    /// two operations that touch in time are taken to overlap.
    ///
    /// # Panics
    /// When `now_us` lies before the call before.
    pub fn begin(&mut self, client: u32, call: Call, now_us: u64) -> OperationId {
        let last_us = self.operations.last().map_or(0, |last| last.invoked_us);
        assert!(last_us <= now_us, "a call at {now_us} us is noted after one at {last_us} us");
        self.operations.push(Operation { client, call, invoked_us: now_us, returned: None });
        OperationId(self.operations.len() - 1)
    }

    /// Notes the answer to a call.
    ///
    /// # Panics
    /// When the call has an answer, began later than `now_us`, or cannot have this answer.
    pub fn finish(&mut self, id: OperationId, answer: Return, now_us: u64) {
        let operation = &mut self.operations[id.0];
        assert!(operation.returned.is_none(), "answered twice: {operation}");
        assert!(operation.invoked_us <= now_us, "answered at {now_us} us, before: {operation}");
        assert!(operation.call.may_return(&answer), "answered by {answer:?}: {operation}");
        operation.returned = Some((now_us, answer));
    }
}

impl Operation {
    /// When its result was known, and the result; nothing while its fate is unknown.
    #[must_use]
    pub fn answer(&self) -> Option<(u64, &Return)> {
        match &self.returned {
            None | Some((_, Return::Unknown)) => None,
            Some((at_us, answer)) => Some((*at_us, answer)),
        }
    }

    /// Whether it is a write that took effect or may do so.
    #[must_use]
    pub fn may_have_written(&self) -> bool {
        let surely_not = matches!(self.returned, Some((_, Return::NotDone)));
        self.call.is_write() && !surely_not
    }
}

impl Call {
    /// Whether it changes the map.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Call::Set { .. } | Call::Delete { .. } => true,
            Call::Get { .. } | Call::StaleGet { .. } | Call::List => false,
        }
    }

    /// The key it is about; a `List` is about all.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self {
            Call::Set { key, .. }
            | Call::Delete { key }
            | Call::Get { key }
            | Call::StaleGet { key } => Some(*key),
            Call::List => None,
        }
    }

    /// Whether `answer` is of a kind that this call can have.
    fn may_return(&self, answer: &Return) -> bool {
        match answer {
            Return::Written(_) => self.is_write(),
            Return::Read(_) => matches!(self, Call::Get { .. } | Call::StaleGet { .. }),
            Return::Listed(_) => matches!(self, Call::List),
            Return::NotDone | Return::Unknown => true,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Set { key, value } => write!(f, "set {key} = {value}"),
            Call::Delete { key } => write!(f, "delete {key}"),
            Call::Get { key } => write!(f, "get {key}"),
            Call::StaleGet { key } => write!(f, "stale get {key}"),
            Call::List => write!(f, "list"),
        }
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Return::Written(revision) => write!(f, "revision {revision}"),
            Return::Read(None) => write!(f, "none"),
            Return::Read(Some((value, revision))) => write!(f, "{value} of revision {revision}"),
            Return::Listed(entries) => {
                let entries = entries.iter();
                let shown =
                    entries.map(|(key, (value, revision))| format!("{key}={value}@{revision}"));
                write!(f, "{{{}}}", shown.collect::<Vec<_>>().join(" "))
            }
            Return::NotDone => write!(f, "not done"),
            Return::Unknown => write!(f, "unknown"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, call, invoked_us, returned } = self;
        write!(f, "client {client}: {call}, ")?;
        match returned {
            Some((at_us, answer)) => write!(f, "{invoked_us}..{at_us} us: {answer}"),
            None => write!(f, "{invoked_us}.. us: never answered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_reads_like_a_log() {
        let mut history = History::new();
        let (key, value) = (Key(12), Value(7));
        let set = history.begin(0, Call::Set { key, value }, 10);
        history.begin(1, Call::Delete { key }, 11);
        history.finish(set, Return::Written(Revision(3)), 20);
        let shown: Vec<_> = history.operations.iter().map(Operation::to_string).collect();
        assert_eq!(shown[0], "client 0: set k12 = v7, 10..20 us: revision 3");
        assert_eq!(shown[1], "client 1: delete k12, 11.. us: never answered");
    }

    #[test]
    #[should_panic(expected = "answered twice")]
    fn a_call_is_answered_once() {
        let mut history = History::new();
        let get = history.begin(0, Call::Get { key: Key(1) }, 1);
        history.finish(get, Return::Read(None), 2);
        history.finish(get, Return::Read(None), 3);
    }

    #[test]
    #[should_panic(expected = "answered by")]
    fn a_read_cannot_be_told_a_revision_of_its_own() {
        let mut history = History::new();
        let get = history.begin(0, Call::Get { key: Key(1) }, 1);
        history.finish(get, Return::Written(Revision(1)), 2);
    }
}
