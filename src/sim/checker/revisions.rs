//! The real-time order of all operations must agree with the order of revisions.
//!
//! One sweep over calls and answers in the order of time. It gives every operation its moment in the
//! log, named by the last revision before it, as early as can be: not before any operation that had
//! been answered when it was called. That is the `floor`, the greatest moment of all answers so far.
//!
//! ```text
//!   time ->      |-- set k1 = 7 --| revision 4          floor 4
//!                                    |-- get k1 --| 6 of revision 3, which revision 4 overwrote:
//!                                    ^ floor 4        moments 3 to 3 < floor: too late
//! ```
//!
//! A write's moment is its own revision, and the floor must lie before it. A read may have any moment
//! at which its key (or, for a list, every key) was as it found it. All constraints are lower bounds,
//! so the earliest moments are a solution if there is any: for writes of known fate this decides
//! linearizability, as with unique values and known write order it is easy (Gibbons and Korach,
//! "Testing shared memories", 1997).
//!
//! A stale read is not held back by the floor, but it raises it: what any member had applied was
//! committed, and nothing later may have missed it.

use crate::sim::history::{Call, History, Return};
use crate::types::Revision;

use super::list;
use super::log::Log;
use super::{Kind, Violation};

/// Where in the log operations may stand, as early as can be.
#[derive(Debug)]
pub(super) struct Moments {
    /// Of every operation the earliest moment, if it has to have one.
    pub(super) earliest: Vec<Option<Revision>>,
    /// Of every operation the greatest moment of all that was answered before its call.
    pub(super) floors: Vec<Revision>,
}

/// Finds the moments of all operations; fails if one has none.
pub(super) fn check(history: &History, log: &Log) -> Result<Moments, Violation> {
    let count = history.operations.len();
    let moments = Moments { earliest: vec![None; count], floors: vec![Revision(0); count] };
    Sweep { history, log, floor: Revision(0), shown_by: None, moments }.run()
}

/// At equal times a call comes before an answer: the two operations may have overlapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call,
    Answer,
}

struct Sweep<'a> {
    history: &'a History,
    log: &'a Log,
    /// The greatest moment of all operations that have been answered.
    floor: Revision,
    /// The operation whose moment that is.
    shown_by: Option<usize>,
    moments: Moments,
}

impl Sweep<'_> {
    fn run(mut self) -> Result<Moments, Violation> {
        let mut events = Vec::with_capacity(2 * self.history.operations.len());
        for (id, operation) in self.history.operations.iter().enumerate() {
            events.push((operation.invoked_us, Event::Call, id));
            if let Some((at_us, _)) = operation.answer() {
                events.push((at_us, Event::Answer, id));
            }
        }
        events.sort_unstable();
        for (_, event, id) in events {
            match event {
                Event::Call => {
                    self.moments.floors[id] = self.floor;
                    self.moments.earliest[id] = self.first_moment_of(id)?;
                }
                Event::Answer => self.raise_floor(id),
            }
        }
        Ok(self.moments)
    }

    fn raise_floor(&mut self, id: usize) {
        if let Some(moment) = self.moments.earliest[id].filter(|moment| *moment > self.floor) {
            self.floor = moment;
            self.shown_by = Some(id);
        }
    }

    /// The earliest moment of an operation; none if it may have any.
    fn first_moment_of(&self, id: usize) -> Result<Option<Revision>, Violation> {
        let operation = &self.history.operations[id];
        if let Some(revision) = self.log.revision_of(id) {
            return if self.floor < revision {
                Ok(Some(revision))
            } else {
                Err(self.too_early(id, revision))
            };
        }
        let Some((at_us, answer)) = operation.answer() else { return Ok(None) };
        match (&operation.call, answer) {
            (Call::Get { key }, Return::Read(found)) => {
                let found = found.map(|(_, revision)| revision);
                let moment = self.log.first_moment_of(*key, found, self.floor, at_us);
                moment.map(Some).ok_or_else(|| self.too_late(id, found))
            }
            (Call::List, Return::Listed(listed)) => list::first_moment_of(
                self.log, listed, self.floor, at_us,
            )
            .map(Some)
            .map_err(|key| {
                let floor = self.floor;
                let what = format!(
                    "no moment after revision {floor} has all that was listed; {key} fits last"
                );
                let found = listed.get(&key).map(|(_, revision)| *revision);
                self.violation(Kind::List, what, id, found)
            }),
            (Call::StaleGet { .. }, Return::Read(found)) => Ok(found.map(|(_, revision)| revision)),
            (_, Return::NotDone) => Ok(None),
            (call, answer) => unreachable!("{call} returned {answer}"),
        }
    }

    fn too_early(&self, id: usize, revision: Revision) -> Violation {
        let floor = self.floor;
        let what = format!(
            "a write has revision {revision}, but when it was called revision {floor} had passed"
        );
        self.violation(Kind::RealTime, what, id, None)
    }

    fn too_late(&self, id: usize, found: Option<Revision>) -> Violation {
        let floor = self.floor;
        let what = match found {
            Some(found) => format!("revision {found} was read after revision {floor}, overwritten"),
            None => format!("nothing was read after revision {floor}, where something was"),
        };
        self.violation(Kind::RealTime, what, id, found)
    }

    /// A violation by operation `id`, shown with what set the floor, with the write that it found,
    /// and with the next one of the same key.
    fn violation(&self, kind: Kind, what: String, id: usize, found: Option<Revision>) -> Violation {
        let key = self.history.operations[id].call.key();
        let overwritten_by = found.and_then(|found| {
            let key = key.or_else(|| self.history.operations[self.log.write_of(found)?].call.key());
            self.log.next_write(key?, found)
        });
        let writes = [found, overwritten_by].into_iter().flatten();
        let mut ids: Vec<_> = writes.filter_map(|at| self.log.write_of(at)).collect();
        ids.extend(self.shown_by);
        ids.push(id);
        Violation::new(kind, what, self.history, ids)
    }
}
