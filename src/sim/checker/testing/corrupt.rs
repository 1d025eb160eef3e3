//! One fault in a history that was right.
//!
//! A fault is built so that it should be visible: a read goes back behind a write that had been
//! answered before it began, and so on. Whether the history could be right all the same, because of a
//! write of unknown fate, is for the other checker to say. A key goes missing only where no delete of
//! unknown fate could be the reason: there our checker may leave undecided what the other decides.

use crate::prng::Prng;
use crate::sim::history::{Call, History, Key, Operation, Return, Value};
use crate::types::Revision;

/// A value with its revision.
type Found = (Value, Revision);

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fault {
    /// A read finds what had been overwritten before it began.
    StaleRead,
    /// A write that was answered is found by nobody; its readers find what was there before.
    LostWrite,
    /// A read finds what is written after its end.
    FutureRead,
    /// A write takes up two revisions.
    DuplicatedEffect,
    /// A value comes back with a new revision after it was overwritten.
    Resurrection,
    /// Two writes, one after the other, have each other's revisions.
    SwappedWrites,
    /// A read finds what is under another key.
    OtherKey,
    /// A read finds what nobody wrote.
    PhantomValue,
    /// A read finds a key missing.
    PhantomDelete,
    /// A list has one entry as it was at another moment.
    MixedCut,
    /// A list misses a key.
    ListMissesKey,
    /// After a delete, the value is still there.
    LostDelete,
    /// Two writes have one revision.
    RevisionReused,
    /// A read finds the right value with a wrong revision.
    WrongRevision,
    /// A write that was found is said not to be done.
    NotDoneIsRead,
}

impl Fault {
    pub(super) const ALL: [Fault; 15] = [
        Fault::StaleRead,
        Fault::LostWrite,
        Fault::FutureRead,
        Fault::DuplicatedEffect,
        Fault::Resurrection,
        Fault::SwappedWrites,
        Fault::OtherKey,
        Fault::PhantomValue,
        Fault::PhantomDelete,
        Fault::MixedCut,
        Fault::ListMissesKey,
        Fault::LostDelete,
        Fault::RevisionReused,
        Fault::WrongRevision,
        Fault::NotDoneIsRead,
    ];

    /// `history` with this fault in it; nothing if it has no place for it.
    pub(super) fn put_into(self, history: &History, prng: &mut Prng) -> Option<History> {
        let mut corrupted = history.clone();
        let editor = Editor { history: &mut corrupted };
        let done = match self {
            Fault::StaleRead => editor.stale_read(prng),
            Fault::LostWrite => editor.lost_write(prng),
            Fault::FutureRead => editor.future_read(prng),
            Fault::DuplicatedEffect => editor.duplicated_effect(prng),
            Fault::Resurrection => editor.resurrection(prng),
            Fault::SwappedWrites => editor.swapped_writes(prng),
            Fault::OtherKey => editor.other_key(prng),
            Fault::PhantomValue => editor.phantom_value(prng),
            Fault::PhantomDelete => editor.phantom_delete(prng),
            Fault::MixedCut => editor.mixed_cut(prng),
            Fault::ListMissesKey => editor.list_misses_key(prng),
            Fault::LostDelete => editor.lost_delete(prng),
            Fault::RevisionReused => editor.revision_reused(prng),
            Fault::WrongRevision => editor.wrong_revision(prng),
            Fault::NotDoneIsRead => editor.not_done_is_read(prng),
        };
        done.map(|()| corrupted)
    }
}

struct Editor<'a> {
    history: &'a mut History,
}

/// A write that was answered.
#[derive(Clone, Copy)]
struct Write {
    id: usize,
    key: Key,
    value: Option<Value>,
    revision: Revision,
    called_us: u64,
    answered_us: u64,
}

/// A `Get` that was answered.
#[derive(Clone, Copy)]
struct Read {
    id: usize,
    key: Key,
    found: Option<Found>,
    called_us: u64,
    answered_us: u64,
}

impl Editor<'_> {
    fn stale_read(mut self, prng: &mut Prng) -> Option<()> {
        let (writes, reads) = (self.writes(), self.reads());
        let old_for = |read: &Read| {
            let before =
                writes.iter().filter(|w| w.key == read.key && w.answered_us < read.called_us);
            let newest = before.clone().map(|write| write.revision).max()?;
            let old = before.filter(|write| write.revision < newest && write.value.is_some());
            pick(old.copied().collect(), prng)
        };
        let mut pairs: Vec<(Read, Write)> = Vec::new();
        let mut old_for = old_for;
        for read in &reads {
            pairs.extend(old_for(read).map(|old| (*read, old)));
        }
        let (read, old) = pick(pairs, prng)?;
        self.set_read(read.id, old.found());
        Some(())
    }

    fn lost_write(mut self, prng: &mut Prng) -> Option<()> {
        let (writes, reads) = (self.writes(), self.reads());
        let is_missed = |write: &Write| {
            let found = write.found();
            reads
                .iter()
                .any(|r| found.is_some() && r.found == found && write.answered_us < r.called_us)
        };
        let lost = pick(writes.iter().copied().filter(is_missed).collect(), prng)?;
        let before = writes.iter().filter(|w| w.key == lost.key && w.revision < lost.revision);
        let previous = before.max_by_key(|write| write.revision).and_then(Write::found);
        for read in reads.iter().filter(|read| read.found == lost.found()) {
            self.set_read(read.id, previous);
        }
        Some(())
    }

    fn future_read(mut self, prng: &mut Prng) -> Option<()> {
        let writes = self.writes();
        let (read, write) = self.pair(prng, |read| {
            let (key, answered_us) = (read.key, read.answered_us);
            let later = writes.iter().copied();
            later
                .filter(|w| w.key == key && w.value.is_some() && answered_us < w.called_us)
                .collect()
        })?;
        self.set_read(read.id, write.found());
        Some(())
    }

    fn duplicated_effect(mut self, prng: &mut Prng) -> Option<()> {
        let last = self.writes().iter().map(|write| write.revision).max()?;
        let twice = prng.below(last.0) + 1;
        self.renumber(|at| if at.0 > twice { Revision(at.0 + 1) } else { at });
        Some(())
    }

    fn resurrection(mut self, prng: &mut Prng) -> Option<()> {
        let (writes, reads) = (self.writes(), self.reads());
        let victim = pick(reads.into_iter().filter(|read| read.found.is_some()).collect(), prng)?;
        let (_, found_at) = victim.found?;
        let older = writes
            .into_iter()
            .filter(|w| w.key == victim.key && w.value.is_some() && w.revision < found_at);
        let (value, _) = pick(older.collect(), prng)?.found()?;
        self.renumber(|at| if at > found_at { Revision(at.0 + 1) } else { at });
        self.set_read(victim.id, Some((value, Revision(found_at.0 + 1))));
        Some(())
    }

    fn swapped_writes(mut self, prng: &mut Prng) -> Option<()> {
        let writes = self.writes();
        let first = pick(writes.clone(), prng)?;
        let later = writes.into_iter().filter(|w| first.answered_us < w.called_us).collect();
        let second = pick(later, prng)?;
        self.renumber(|at| match at {
            at if at == first.revision => second.revision,
            at if at == second.revision => first.revision,
            at => at,
        });
        Some(())
    }

    fn other_key(mut self, prng: &mut Prng) -> Option<()> {
        let writes = self.writes();
        let (read, write) = self.pair(prng, |read| {
            writes.iter().copied().filter(|w| w.key != read.key && w.value.is_some()).collect()
        })?;
        self.set_read(read.id, write.found());
        Some(())
    }

    fn phantom_value(mut self, prng: &mut Prng) -> Option<()> {
        let read = pick(self.reads(), prng)?;
        let revision = read.found.map_or(Revision(1), |(_, revision)| revision);
        self.set_read(read.id, Some((Value(1_000_000), revision)));
        Some(())
    }

    fn phantom_delete(mut self, prng: &mut Prng) -> Option<()> {
        let found = self.reads().into_iter().filter(|read| read.found.is_some());
        let certain = found.filter(|read| !self.may_have_lost_delete(read.key));
        let read = pick(certain.collect(), prng)?;
        self.set_read(read.id, None);
        Some(())
    }

    fn mixed_cut(mut self, prng: &mut Prng) -> Option<()> {
        let writes = self.writes();
        let list = pick(self.lists(), prng)?;
        let other = pick(writes, prng)?;
        let listed = self.listed_mut(list);
        match other.found() {
            Some(found) => (listed.insert(other.key, found) != Some(found)).then_some(()),
            None => {
                listed.remove(&other.key)?;
                (!self.may_have_lost_delete(other.key)).then_some(())
            }
        }
    }

    fn list_misses_key(mut self, prng: &mut Prng) -> Option<()> {
        let list = pick(self.lists(), prng)?;
        let listed = self.listed_mut(list);
        let key = pick(listed.keys().copied().collect(), prng)?;
        listed.remove(&key)?;
        (!self.may_have_lost_delete(key)).then_some(())
    }

    fn lost_delete(mut self, prng: &mut Prng) -> Option<()> {
        let (writes, reads) = (self.writes(), self.reads());
        let missing = reads.into_iter().filter(|read| read.found.is_none());
        let read = pick(missing.collect(), prng)?;
        let before = writes.iter().filter(|w| w.key == read.key && w.answered_us < read.called_us);
        let delete = before.max_by_key(|write| write.revision).filter(|w| w.value.is_none())?;
        let older = writes.iter().filter(|w| w.key == read.key && w.revision < delete.revision);
        let set = older.max_by_key(|write| write.revision).filter(|w| w.value.is_some())?;
        self.set_read(read.id, set.found());
        Some(())
    }

    fn revision_reused(self, prng: &mut Prng) -> Option<()> {
        let writes = self.writes();
        let (one, other) = (pick(writes.clone(), prng)?, pick(writes, prng)?);
        let (_, answer) = self.history.operations[one.id].returned.as_mut()?;
        *answer = Return::Written(other.revision);
        (one.id != other.id).then_some(())
    }

    fn wrong_revision(mut self, prng: &mut Prng) -> Option<()> {
        let found = self.reads().into_iter().filter(|read| read.found.is_some());
        let read = pick(found.collect(), prng)?;
        let (value, Revision(at)) = read.found?;
        self.set_read(read.id, Some((value, Revision(at + 1 + prng.below(2)))));
        Some(())
    }

    fn not_done_is_read(self, prng: &mut Prng) -> Option<()> {
        let (writes, reads) = (self.writes(), self.reads());
        let is_found = |w: &Write| w.value.is_some() && reads.iter().any(|r| r.found == w.found());
        let write = pick(writes.into_iter().filter(is_found).collect(), prng)?;
        let (_, answer) = self.history.operations[write.id].returned.as_mut()?;
        *answer = Return::NotDone;
        Some(())
    }

    /// A read with one of the writes that suit it.
    fn pair(&self, prng: &mut Prng, suits: impl Fn(&Read) -> Vec<Write>) -> Option<(Read, Write)> {
        let reads = self.reads().into_iter();
        let pairs = reads.flat_map(|read| suits(&read).into_iter().map(move |write| (read, write)));
        pick(pairs.collect(), prng)
    }

    /// Whether a delete of `key` may have taken effect without an answer.
    fn may_have_lost_delete(&self, key: Key) -> bool {
        self.history
            .operations
            .iter()
            .any(|operation| operation.call == Call::Delete { key } && operation.answer().is_none())
    }

    fn writes(&self) -> Vec<Write> {
        let operations = self.history.operations.iter().enumerate();
        operations.filter_map(|(id, operation)| Write::of(id, operation)).collect()
    }

    fn reads(&self) -> Vec<Read> {
        let operations = self.history.operations.iter().enumerate();
        operations.filter_map(|(id, operation)| Read::of(id, operation)).collect()
    }

    fn lists(&self) -> Vec<usize> {
        let operations = self.history.operations.iter().enumerate();
        let lists = operations
            .filter(|(_, operation)| matches!(operation.returned, Some((_, Return::Listed(_)))));
        lists.map(|(id, _)| id).collect()
    }

    fn listed_mut(&mut self, id: usize) -> &mut std::collections::BTreeMap<Key, Found> {
        match &mut self.history.operations[id].returned {
            Some((_, Return::Listed(listed))) => listed,
            other => unreachable!("a list returned {other:?}"),
        }
    }

    fn set_read(&mut self, id: usize, found: Option<Found>) {
        let (_, answer) = self.history.operations[id].returned.as_mut().expect("it was read");
        *answer = Return::Read(found);
    }

    /// Changes revisions wherever they are told.
    fn renumber(&mut self, change: impl Fn(Revision) -> Revision) {
        for operation in &mut self.history.operations {
            match &mut operation.returned {
                Some((_, Return::Written(at) | Return::Read(Some((_, at))))) => *at = change(*at),
                Some((_, Return::Listed(listed))) => {
                    listed.values_mut().for_each(|(_, at)| *at = change(*at));
                }
                Some((_, Return::Read(None) | Return::NotDone | Return::Unknown)) | None => {}
            }
        }
    }
}

impl Write {
    fn of(id: usize, operation: &Operation) -> Option<Write> {
        let (answered_us, Return::Written(revision)) = operation.answer()? else { return None };
        let (key, value) = match operation.call {
            Call::Set { key, value } => (key, Some(value)),
            Call::Delete { key } => (key, None),
            Call::Get { .. } | Call::StaleGet { .. } | Call::List => return None,
        };
        let (revision, called_us) = (*revision, operation.invoked_us);
        Some(Write { id, key, value, revision, called_us, answered_us })
    }

    /// What a read of it finds.
    fn found(&self) -> Option<Found> {
        self.value.map(|value| (value, self.revision))
    }
}

impl Read {
    fn of(id: usize, operation: &Operation) -> Option<Read> {
        let Call::Get { key } = operation.call else { return None };
        let (answered_us, Return::Read(found)) = operation.answer()? else { return None };
        Some(Read { id, key, found: *found, called_us: operation.invoked_us, answered_us })
    }
}

fn pick<T: Clone>(items: Vec<T>, prng: &mut Prng) -> Option<T> {
    let at = (!items.is_empty()).then(|| prng.below(items.len() as u64) as usize)?;
    items.into_iter().nth(at)
}
