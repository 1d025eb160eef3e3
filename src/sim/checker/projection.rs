//! One key's part of a history, made ready for the search: linearizability is local, so each key can
//! be searched alone (Herlihy and Wing 1990, §3.1; Lowe 2017).
//!
//! ```text
//!   operation           what the search gets
//!   set, delete, get    a step, from its call to its answer
//!   list                on each key a read, from its call to its answer
//!   not done            nothing
//!   stale get           nothing: it has no place in the order
//!   unknown set         a step that ends when the first read that found its value was answered;
//!                       nothing, if no read did
//!   unknown delete      one of a number of deletes that may be spent, each once, after its call
//! ```
//!
//! The last two keep the search small, where a textbook one would let each unknown write end at
//! infinity. They lose nothing. A set that no read found may as well have never happened: what stood
//! between it and the next write did not read. A set that was found must have happened before that
//! answer. And a delete of unknown fate is needed only just before a read of nothing; as it has no
//! end, those that have been called are as good as each other.

use std::collections::BTreeMap;

use crate::sim::history::{Call, History, Key, Operation, Return, Value};
use crate::types::Revision;

use super::log::{Log, effect};

/// A history of one register.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    /// The register's key.
    pub(super) key: Key,
    /// All that must find a place in the order.
    pub(super) steps: Vec<Step>,
    /// When each delete was called that may or may not take effect, ascending.
    pub(super) unknown_deletes_us: Vec<u64>,
}

/// An operation on one register that must take effect between its call and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The operation in the history.
    pub(super) id: usize,
    /// What it does.
    pub(super) effect: Effect,
    /// When it was called.
    pub(super) called_us: u64,
    /// By when it took effect.
    pub(super) answered_us: u64,
}

/// What a step does to the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Leaves this behind, nothing if it deletes.
    Write {
        /// What is there afterwards.
        after: Option<Value>,
        /// Its place in the log: which of several writes to try first. No verdict depends on it.
        revision: Revision,
    },
    /// Finds this.
    Read(Option<Value>),
}

impl Projection {
    /// The projections on all keys that were ever written.
    pub(super) fn of_all_keys(history: &History, log: &Log) -> Vec<Projection> {
        let empty = |key| Projection { key, steps: Vec::new(), unknown_deletes_us: Vec::new() };
        let mut projections: BTreeMap<Key, Projection> =
            log.keys().map(|key| (key, empty(key))).collect();
        let found_us = first_found_us(history);
        for (id, operation) in history.operations.iter().enumerate() {
            let called_us = operation.invoked_us;
            let value_of = |found: Option<&(Value, Revision)>| found.map(|(value, _)| *value);
            if let Some((key, after)) = effect(&operation.call) {
                let projection = projections.get_mut(&key);
                projection
                    .into_iter()
                    .for_each(|p| p.add_write(id, operation, after, log, &found_us));
            } else if let Some((answered_us, Return::Listed(listed))) = operation.answer() {
                for (key, projection) in &mut projections {
                    projection.add_read(id, called_us, answered_us, value_of(listed.get(key)));
                }
            } else if let Call::Get { key } = operation.call
                && let Some((answered_us, Return::Read(found))) = operation.answer()
                && let Some(projection) = projections.get_mut(&key)
            {
                projection.add_read(id, called_us, answered_us, value_of(found.as_ref()));
            }
        }
        projections.into_values().collect()
    }

    fn add_write(
        &mut self,
        id: usize,
        operation: &Operation,
        after: Option<Value>,
        log: &Log,
        found_us: &BTreeMap<Value, u64>,
    ) {
        let called_us = operation.invoked_us;
        let answered_us = match operation.answer() {
            Some((at_us, Return::Written(_))) => Some(at_us),
            Some(_) => return,
            None => after.and_then(|value| found_us.get(&value).copied()),
        };
        match (answered_us, after) {
            (Some(answered_us), _) => {
                let revision = log.revision_of(id).expect("what is answered or found is placed");
                let effect = Effect::Write { after, revision };
                self.steps.push(Step { id, effect, called_us, answered_us });
            }
            (None, None) => self.unknown_deletes_us.push(called_us),
            (None, Some(_)) => {}
        }
    }

    fn add_read(&mut self, id: usize, called_us: u64, answered_us: u64, found: Option<Value>) {
        self.steps.push(Step { id, effect: Effect::Read(found), called_us, answered_us });
    }

    /// The projection without those steps that are not `kept`, but with every write that the others
    /// need. If this cannot be linearized, nor can the whole: without a read, or without a write that
    /// no read found, an order of the whole is still an order.
    pub(super) fn reduced_to(&self, kept: impl Fn(usize) -> bool) -> Projection {
        let steps = self.steps.iter().enumerate();
        let reads = steps.clone().filter_map(|(at, step)| match step.effect {
            Effect::Read(found) if kept(at) => Some(found),
            Effect::Read(_) | Effect::Write { .. } => None,
        });
        let mut found: Vec<_> = reads.collect();
        found.sort_unstable();
        let is_needed = |step: &Step| match step.effect {
            Effect::Write { after, .. } => found.binary_search(&after).is_ok(),
            Effect::Read(_) => false,
        };
        let steps = steps.filter(|(at, step)| kept(*at) || is_needed(step));
        Projection {
            key: self.key,
            steps: steps.map(|(_, step)| *step).collect(),
            unknown_deletes_us: self.unknown_deletes_us.clone(),
        }
    }
}

/// When it was first answered that a value was found, by reads that have a place in the order.
fn first_found_us(history: &History) -> BTreeMap<Value, u64> {
    let mut first: BTreeMap<Value, u64> = BTreeMap::new();
    let mut note = |value: Value, at_us: u64| {
        first.entry(value).and_modify(|first| *first = at_us.min(*first)).or_insert(at_us);
    };
    for operation in &history.operations {
        match operation.answer() {
            Some((at_us, Return::Read(Some((value, _))))) if is_get(operation) => {
                note(*value, at_us);
            }
            Some((at_us, Return::Listed(listed))) => {
                listed.values().for_each(|(value, _)| note(*value, at_us));
            }
            Some((_, Return::Read(_) | Return::Written(_) | Return::NotDone | Return::Unknown))
            | None => {}
        }
    }
    first
}

fn is_get(operation: &Operation) -> bool {
    matches!(operation.call, Call::Get { .. })
}
