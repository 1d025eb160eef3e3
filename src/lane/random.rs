//! Random work beside a model of the log: whatever is grouped, what is acknowledged is on the disk,
//! and nothing beyond it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{LogLane, LogWork, Step, Told};
use crate::node::Persist;
use crate::prng::Prng;
use crate::raft::{ReadyNumber, SnapshotWrite};
use crate::storage::{BLOCK_BYTES, DiskOp, Identity, SnapshotSource, Storage};
use crate::types::{Entry, HardState, Index, NodeId, SnapshotMeta, Term};

const SEEDS: u64 = 200;
const TURNS: u64 = 500;
/// A header and three blocks, so that logs roll often.
const SEGMENT_BYTES: u64 = 4 * BLOCK_BYTES as u64;

#[test]
fn what_is_acknowledged_is_what_is_on_the_disk() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..TURNS {
            world.turn();
        }
        world.finish();
    }
}

#[test]
#[should_panic(expected = "waits for its verdict")]
fn a_step_is_not_taken_before_the_snapshot_has_its_verdict() {
    let mut world = World::new(1);
    world.push_snapshot();
    while world.lane.next(&mut world.storage).is_some() {}
}

#[test]
#[should_panic(expected = "a verdict answers")]
fn a_verdict_that_nobody_asked_for_is_a_bug_of_the_driver() {
    LogLane::new().verified(true);
}

/// The entries behind a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    base: Index,
    terms: BTreeMap<Index, Term>,
}

struct World {
    lane: LogLane,
    storage: Storage,
    prng: Prng,
    number: ReadyNumber,
    term: Term,
    /// Once all that was pushed is done.
    pushed: Log,
    /// After each Persist that is not acknowledged.
    expected: VecDeque<(ReadyNumber, Log)>,
    on_disk: Log,
    /// Consensus appends nothing while a received snapshot is being installed.
    is_installing: bool,
    is_sparing: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let identity = Identity { node: NodeId(1), cluster: None };
        let (storage, _) = Storage::create(identity, SEGMENT_BYTES);
        World {
            lane: LogLane::new(),
            storage,
            prng: Prng::new(seed),
            number: ReadyNumber(0),
            term: Term(1),
            pushed: Log::default(),
            expected: VecDeque::new(),
            on_disk: Log::default(),
            is_installing: false,
            is_sparing: false,
        }
    }

    fn turn(&mut self) {
        match self.prng.below(16) {
            0..6 => self.step(),
            6 => self.truncate(),
            7 => self.take_snapshot(),
            8 => self.spare(),
            _ if self.is_installing => self.step(),
            9 => self.push_snapshot(),
            10 => self.push(None, 0..0),
            11 => self.supersede(),
            12 => {
                self.term = self.term.next();
                self.push(Some(self.term), 0..0);
            }
            _ => {
                let first = self.pushed.last().0 + 1;
                let count = 1 + self.prng.below(3);
                self.push(None, first..first + count);
            }
        }
    }

    fn finish(&mut self) {
        while !self.lane.is_idle() {
            self.step();
        }
        assert!(self.expected.is_empty(), "each Persist is acknowledged");
        assert_eq!(self.on_disk, self.pushed);
        assert_eq!(self.storage.last_index(), self.pushed.last());
    }

    fn step(&mut self) {
        match self.lane.next(&mut self.storage) {
            None => assert!(self.lane.is_idle()),
            Some(Step::Append(ops)) => self.on_disk.write(&ops),
            Some(Step::Execute(ops)) => assert!(!ops.is_empty()),
            Some(Step::PrepareSpare(_)) => self.is_sparing = true,
            Some(Step::Verify(_)) => self.lane.verified(self.prng.below(3) > 0),
            Some(Step::Load(index)) => assert_eq!(index, self.storage.snapshot_index()),
            Some(Step::Tell(Told::Persisted(number))) => self.acknowledge(number),
            Some(Step::Tell(Told::SnapshotRejected(_))) => self.is_installing = false,
            Some(Step::Tell(Told::SnapshotInstalled(meta))) => {
                assert!(self.expected.is_empty(), "it was acknowledged before it was installed");
                self.is_installing = false;
                self.pushed = Log { base: meta.index, ..Log::default() };
                self.on_disk = self.pushed.clone();
            }
            Some(Step::Tell(Told::Entered(_))) => unreachable!("no cluster is entered"),
        }
    }

    fn acknowledge(&mut self, number: ReadyNumber) {
        let covered = self.expected.partition_point(|(expected, _)| *expected <= number);
        let (last, log) = self.expected.drain(..covered).next_back().expect("each is told once");
        assert_eq!(last, number, "the number is that of a Persist");
        assert_eq!(log, self.on_disk);
    }

    /// Pushes a Persist of a new term, if there is one, and of entries of the present term.
    fn push(&mut self, term: Option<Term>, indexes: std::ops::Range<u64>) {
        let entries = indexes.map(|index| Entry::noop(Index(index), self.term)).collect();
        let hard_state = term.map(|term| HardState { term, vote: None });
        self.push_persist(hard_state, entries, Vec::new());
    }

    fn supersede(&mut self) {
        let kept = self.pushed.base.max(self.storage.snapshot_index());
        let last = self.pushed.last();
        if kept < last {
            let first = kept.0 + 1 + self.prng.below(last.0 - kept.0);
            let count = 1 + self.prng.below(2);
            self.term = self.term.next();
            self.push(Some(self.term), first..first + count);
        }
    }

    /// Pushes all parts of a snapshot that is ahead of the log.
    fn push_snapshot(&mut self) {
        let index = Index(self.pushed.last().0 + 1 + self.prng.below(5));
        let meta = SnapshotMeta { index, term: self.term, ..SnapshotMeta::default() };
        let parts = 1 + self.prng.below(3);
        for part in 0..parts {
            let offset = part * BLOCK_BYTES as u64;
            let data = Bytes::from(vec![0; BLOCK_BYTES]);
            let last = part + 1 == parts;
            let write = SnapshotWrite { meta: meta.clone(), offset, data, last };
            self.push_persist(None, Vec::new(), vec![write]);
        }
        self.is_installing = true;
    }

    fn push_persist(
        &mut self,
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        snapshot_writes: Vec<SnapshotWrite>,
    ) {
        self.number = ReadyNumber(self.number.0 + 1);
        entries.iter().for_each(|entry| self.pushed.append(entry));
        self.expected.push_back((self.number, self.pushed.clone()));
        let persist = Persist { number: self.number, hard_state, entries, snapshot_writes };
        self.lane.push(LogWork::Persist(persist));
    }

    fn truncate(&mut self) {
        let first_retained = Index(1 + self.prng.below(self.storage.snapshot_index().0 + 1));
        self.lane.push(LogWork::Truncate { first_retained });
    }

    /// Takes a snapshot of its own, of what no leader can supersede any more.
    fn take_snapshot(&mut self) {
        let index = self.on_disk.last();
        if self.expected.is_empty() && !self.is_installing && index > self.storage.snapshot_index()
        {
            // Its ops count as done: the model knows no files.
            let _ = self.storage.snapshot_begin(SnapshotSource::Local, index);
            let _ = self.storage.snapshot_finish(SnapshotSource::Local);
            let _ = self.storage.snapshot_durable(SnapshotSource::Local);
        }
    }

    fn spare(&mut self) {
        if std::mem::take(&mut self.is_sparing) {
            self.storage.spare_ready();
        }
    }
}

impl Log {
    fn last(&self) -> Index {
        self.terms.last_key_value().map_or(self.base, |(index, _)| *index)
    }

    /// Whatever was at the entry's index or behind it is superseded.
    fn append(&mut self, entry: &Entry) {
        self.terms.split_off(&entry.index());
        self.terms.insert(entry.index(), entry.term());
    }

    fn write(&mut self, ops: &[DiskOp]) {
        for op in ops {
            let DiskOp::WriteDurable(write) = op else { continue };
            let parts = write.parts.iter();
            let entries = parts.filter_map(|part| Entry::decode(&mut part.clone()).ok());
            entries.for_each(|entry| self.append(&entry));
        }
    }
}
