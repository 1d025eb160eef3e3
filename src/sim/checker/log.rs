//! The log as the answers tell it: which write is which revision.
//!
//! ```text
//!   revision     1          2          3          4          5          6 ..
//!            +----------+----------+----------+----------+----------+ - - - -
//!            | set k1=7 | set k2=9 |   gap    | del k1   | set k1=8 |  beyond
//!            +----------+----------+----------+----------+----------+ - - - -
//!   known by   its own    a read of             its own    a list
//!              answer     k2, as the            answer     of all keys
//!                         set was lost
//! ```
//!
//! A write is placed by its own answer, or, if that was lost, by any read that found its value: no
//! value is written twice. Every revision belongs to some write that a client sent, so a gap is one
//! whose answer was lost and whose effect nobody saw. Beyond the last revision that anybody was told
//! there may be more of those.

use std::collections::BTreeMap;

use crate::sim::history::{Call, History, Key, Operation, Return, Value};
use crate::types::Revision;

use super::{Kind, Violation};

/// What a history tells about the log.
#[derive(Debug)]
pub(super) struct Log {
    /// The write of each revision; 0 has none, nor has a gap. The last one is not a gap.
    writes: Vec<Option<usize>>,
    /// The revision of each operation, if it is a write that is known to have taken effect.
    revisions: Vec<Option<Revision>>,
    /// Of every key that a write may have touched.
    keys: BTreeMap<Key, KeyLog>,
}

/// What is known of one key.
#[derive(Debug, Default)]
struct KeyLog {
    /// Its placed writes by revision, with what was there after each.
    writes: Vec<(Revision, Option<Value>)>,
    /// When the first delete was called that is not known to have taken effect, but may have.
    unknown_delete_us: Option<u64>,
}

/// A value with its revision, as a read found it.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    key: Key,
    value: Value,
    revision: Revision,
    /// The operation that read.
    reader: usize,
    /// When its answer came.
    at_us: u64,
}

impl Log {
    /// Puts all writes in their places.
    pub(super) fn of(history: &History) -> Result<Log, Violation> {
        let writers = writers(history);
        let mut revisions = vec![None; history.operations.len()];
        for (id, operation) in history.operations.iter().enumerate() {
            if let Some((_, Return::Written(revision))) = operation.answer() {
                revisions[id] = Some(*revision);
            }
        }
        for sighting in sightings(history) {
            let writer = sighting.writer(history, &writers)?;
            let placed = *revisions[writer].get_or_insert(sighting.revision);
            if placed != sighting.revision {
                let Sighting { key, value, revision, reader, .. } = sighting;
                let what = format!(
                    "{key} was read as {value} of revision {revision}, which is the write of revision {placed}"
                );
                let other = first_reader(history, value);
                let ids = [Some(writer), Some(reader), other].into_iter().flatten().collect();
                return Err(Violation::new(Kind::Numbering, what, history, ids));
            }
        }
        let writes = by_revision(history, &revisions)?;
        let mut log = Log { writes, revisions, keys: BTreeMap::new() };
        log.fill_keys(history);
        Ok(log)
    }

    fn fill_keys(&mut self, history: &History) {
        for id in self.writes.iter().flatten() {
            let operation = &history.operations[*id];
            let (key, after) = effect(&operation.call).expect("only writes are placed");
            let revision = self.revisions[*id].expect("it stands at its revision");
            self.keys.entry(key).or_default().writes.push((revision, after));
        }
        for (id, operation) in history.operations.iter().enumerate() {
            let Some((key, after)) = effect(&operation.call) else { continue };
            if self.revisions[id].is_none() && operation.may_have_written() && after.is_none() {
                let key_log = self.keys.entry(key).or_default();
                key_log.unknown_delete_us.get_or_insert(operation.invoked_us);
            }
        }
    }

    /// The write of a revision, if it is known.
    pub(super) fn write_of(&self, revision: Revision) -> Option<usize> {
        self.writes.get(revision.0 as usize).copied().flatten()
    }

    /// The revision of an operation, if it is a write that is known to have taken effect.
    pub(super) fn revision_of(&self, id: usize) -> Option<Revision> {
        self.revisions[id]
    }

    /// Every key that a write may have touched.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.keys().copied()
    }

    /// The revisions up to the last one whose writes are not known.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Revision> {
        let numbered = (0..).zip(&self.writes).skip(1);
        numbered.filter(|(_, write)| write.is_none()).map(|(revision, _)| Revision(revision))
    }

    /// The first write of `key` that is known to come after `revision`.
    pub(super) fn next_write(&self, key: Key, revision: Revision) -> Option<Revision> {
        let writes = &self.keys.get(&key)?.writes;
        let next = writes.partition_point(|(at, _)| *at <= revision);
        writes.get(next).map(|(at, _)| *at)
    }

    /// The last write of `key` that is known to come before `revision`.
    pub(super) fn last_write(&self, key: Key, revision: Revision) -> Option<Revision> {
        let writes = &self.keys.get(&key)?.writes;
        let next = writes.partition_point(|(at, _)| *at < revision);
        writes[..next].last().map(|(at, _)| *at)
    }

    /// The first moment, none before the write of `floor`, at which `key` may have held `found`. A
    /// moment is named by the last revision before it. `None` if there is none; `answered_us` is when
    /// this was known.
    pub(super) fn first_moment_of(
        &self,
        key: Key,
        found: Option<Revision>,
        floor: Revision,
        answered_us: u64,
    ) -> Option<Revision> {
        match found {
            Some(revision) => {
                let moment = revision.max(floor);
                let overwritten = self.next_write(key, revision).is_some_and(|next| next <= moment);
                (!overwritten).then_some(moment)
            }
            None => self.first_moment_without(key, floor, answered_us),
        }
    }

    fn first_moment_without(
        &self,
        key: Key,
        floor: Revision,
        answered_us: u64,
    ) -> Option<Revision> {
        let Some(KeyLog { writes, unknown_delete_us }) = self.keys.get(&key) else {
            return Some(floor);
        };
        let before = writes.partition_point(|(at, _)| *at <= floor);
        let may_be_deleted = unknown_delete_us.is_some_and(|called_us| called_us <= answered_us);
        let mut moment = floor;
        let mut held = before.checked_sub(1).map(|last| writes[last]);
        let mut later = writes[before..].iter();
        loop {
            let Some((set_at, Some(_))) = held else { return Some(moment) };
            let next = later.next().copied();
            let gap = may_be_deleted.then(|| self.first_gap_after(set_at));
            if let Some(gap) = gap.filter(|gap| next.is_none_or(|(at, _)| *gap < at)) {
                return Some(moment.max(gap));
            }
            moment = next?.0;
            held = next;
        }
    }

    /// The first revision after `revision` whose write is not known, if need be beyond the last.
    fn first_gap_after(&self, revision: Revision) -> Revision {
        let after = (revision.0..).skip(1).find(|at| self.write_of(Revision(*at)).is_none());
        Revision(after.expect("revisions beyond the last have no known write"))
    }
}

/// What a write does: the key, and what is there after it.
pub(super) fn effect(call: &Call) -> Option<(Key, Option<Value>)> {
    match call {
        Call::Set { key, value } => Some((*key, Some(*value))),
        Call::Delete { key } => Some((*key, None)),
        Call::Get { .. } | Call::StaleGet { .. } | Call::List => None,
    }
}

/// The `Set` of every value.
fn writers(history: &History) -> BTreeMap<Value, usize> {
    let mut writers = BTreeMap::new();
    for (id, operation) in history.operations.iter().enumerate() {
        if let Call::Set { value, .. } = operation.call {
            let other = writers.insert(value, id);
            assert!(other.is_none(), "{value} is set twice: {operation}");
        }
    }
    writers
}

/// All that all reads found, stale ones too.
fn sightings(history: &History) -> impl Iterator<Item = Sighting> {
    history.operations.iter().enumerate().flat_map(|(reader, operation)| {
        let answer = operation.answer();
        let at_us = answer.map_or(0, |(at_us, _)| at_us);
        found(operation).into_iter().map(move |(key, value, revision)| Sighting {
            key,
            value,
            revision,
            reader,
            at_us,
        })
    })
}

/// What a read found.
fn found(operation: &Operation) -> Vec<(Key, Value, Revision)> {
    match operation.answer() {
        Some((_, Return::Read(Some((value, revision))))) => {
            let key = operation.call.key().expect("a read is of one key");
            vec![(key, *value, *revision)]
        }
        Some((_, Return::Listed(entries))) => {
            let entries = entries.iter();
            entries.map(|(key, (value, revision))| (*key, *value, *revision)).collect()
        }
        Some((_, Return::Read(None) | Return::Written(_) | Return::NotDone | Return::Unknown))
        | None => Vec::new(),
    }
}

/// Some operation that read `value`.
fn first_reader(history: &History, value: Value) -> Option<usize> {
    sightings(history).find(|sighting| sighting.value == value).map(|sighting| sighting.reader)
}

impl Sighting {
    /// The `Set` whose value this is, if it can have been seen.
    fn writer(
        &self,
        history: &History,
        writers: &BTreeMap<Value, usize>,
    ) -> Result<usize, Violation> {
        let Sighting { key, value, .. } = self;
        let phantom = |why: String, ids| {
            let what = format!("{key} was read as {value}, {why}");
            Violation::new(Kind::Phantom, what, history, ids)
        };
        let Some(&writer) = writers.get(value) else {
            return Err(phantom("which nobody wrote".to_owned(), vec![self.reader]));
        };
        let write = &history.operations[writer];
        let ids = vec![writer, self.reader];
        if write.call.key() != Some(*key) {
            return Err(phantom("which was written to another key".to_owned(), ids));
        }
        if !write.may_have_written() {
            return Err(phantom("whose write was said not to be done".to_owned(), ids));
        }
        if self.at_us < write.invoked_us {
            return Err(phantom("which was written later".to_owned(), ids));
        }
        Ok(writer)
    }
}

/// The write of each revision, if no two writes have the same and there are enough writes for all.
fn by_revision(
    history: &History,
    revisions: &[Option<Revision>],
) -> Result<Vec<Option<usize>>, Violation> {
    let possible = history.operations.iter().filter(|op| op.may_have_written()).count() as u64;
    let mut writes = vec![None];
    for (id, revision) in revisions.iter().enumerate() {
        let Some(revision) = revision else { continue };
        if revision.0 == 0 || revision.0 > possible {
            let what = format!("revision {revision} of {possible} writes, numbered from 1");
            return Err(Violation::new(Kind::Numbering, what, history, vec![id]));
        }
        let at = revision.0 as usize;
        writes.resize(writes.len().max(at + 1), None);
        if let Some(other) = writes[at].replace(id) {
            let what = format!("two writes have revision {revision}");
            return Err(Violation::new(Kind::Numbering, what, history, vec![other, id]));
        }
    }
    Ok(writes)
}
