//! Whether a history could come from one map that does one operation at a time.
//!
//! That is linearizability (Herlihy and Wing, "Linearizability", 1990): every operation must appear
//! to take effect at one moment between its call and its answer. Deciding it is NP-complete in
//! general (Gibbons and Korach 1997), but mökv tells more than a plain register does: each write has
//! its revision, its place in the one log, and each read names the revision of what it found. So
//! there are two arguments, and neither trusts the verdict of the other:
//!
//! ```text
//!  history ──> log        which write is which revision, as answers and reads tell       log.rs
//!               |          fails: two writes of one revision, a value that none wrote ..
//!               v
//!              revisions  the real-time order of all operations on all keys agrees       revisions.rs
//!               |          with the log; a List is one cut through it; O(n log n)        list.rs
//!               v
//!              gaps       revisions that nobody was told of are writes that were lost    gaps.rs
//!
//!          ──> register   key by key, revisions forgotten: is there an order of calls    projection.rs
//!                          that explains the values? Wing & Gong's search                register.rs
//! ```
//!
//! A stale read has no place in either order. It must name a write that was neither undone nor yet to
//! come, with its revision, which `log` demands of every read; and what it found was committed, so
//! that later operations may not miss it.
//!
//! Nothing is rejected that a linearizable store could have produced, so every violation is a bug.
//! The other way, the first argument is complete if the fate of every write is known. Of writes of
//! unknown fate, the search decides what lost deletes can explain, key by key, and `gaps` that each
//! revision has a write. What is not decided is whether the same lost write was needed for both, or
//! for several keys of a list: of 30,000 histories that were corrupted for the tests, about 20 are
//! accepted for this reason.

mod gaps;
mod list;
mod log;
mod projection;
mod register;
mod revisions;
mod shrink;
#[cfg(test)]
mod testing;

use std::fmt;

use super::history::{History, Key, Operation};

use self::log::Log;
use self::projection::Projection;
use self::register::Verdict;

/// The most steps of one key that are searched. A hotter key is checked by its revisions alone; that
/// is complete but for reads of nothing that only a delete of unknown fate could explain.
const MAX_SEARCHED_STEPS: usize = 10_000;

/// Why a history is not linearizable, or that it could not be decided.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Violation {
    /// What kind of contradiction it is.
    pub kind: Kind,
    /// What contradicts what, in a sentence.
    pub explanation: String,
    /// The operations that are enough to see it, in the order of their calls.
    pub operations: Vec<Operation>,
}

/// What kind of contradiction a history holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A read found what no write can have put there.
    Phantom,
    /// The revisions of writes do not number them 1, 2, 3 and so on.
    Numbering,
    /// An operation does not see what had happened before it began, or sees what had not.
    RealTime,
    /// A `List` is not the map at any one moment.
    List,
    /// No order of the operations of this key explains the values that were read.
    Register(Key),
    /// The search for an order of this key's operations was given up: neither right nor wrong.
    Undecided(Key),
}

/// Checks that `history` is linearizable, and that its stale reads tell of the past.
///
/// # Errors
/// The first contradiction that was found; or, as [`Kind::Undecided`], that a key's search took too
/// long and nothing else was wrong.
///
/// # Panics
/// When two `Set`s of the history have the same value.
pub fn check(history: &History) -> Result<(), Violation> {
    let log = Log::of(history)?;
    let moments = revisions::check(history, &log)?;
    gaps::check(history, &log, &moments)?;
    let mut undecided = None;
    for projection in Projection::of_all_keys(history, &log) {
        if projection.steps.len() > MAX_SEARCHED_STEPS {
            continue;
        }
        match register::search(&projection, register::MAX_CONFIGURATIONS) {
            Verdict::Linearizable => {}
            Verdict::Stuck { .. } => return Err(shrink::explain(history, projection)),
            Verdict::GaveUp => {
                undecided.get_or_insert_with(|| gave_up(projection.key));
            }
        }
    }
    undecided.map_or(Ok(()), Err)
}

fn gave_up(key: Key) -> Violation {
    let limit = register::MAX_CONFIGURATIONS;
    let explanation = format!("gave up on {key} after {limit} configurations");
    Violation { kind: Kind::Undecided(key), explanation, operations: Vec::new() }
}

impl Violation {
    /// A violation that shows some operations of `history`.
    fn new(kind: Kind, explanation: String, history: &History, mut ids: Vec<usize>) -> Violation {
        ids.sort_unstable();
        ids.dedup();
        let operations = ids.into_iter().map(|id| history.operations[id].clone()).collect();
        Violation { kind, explanation, operations }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.explanation)?;
        self.operations.iter().try_for_each(|operation| write!(f, "\n  {operation}"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Phantom => write!(f, "phantom"),
            Kind::Numbering => write!(f, "numbering"),
            Kind::RealTime => write!(f, "real time"),
            Kind::List => write!(f, "list"),
            Kind::Register(key) => write!(f, "register {key}"),
            Kind::Undecided(key) => write!(f, "undecided {key}"),
        }
    }
}
