//! The real storage on a simulated disk: whatever was reported complete is found again, and each
//! lie gets the answer it was told with.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Answer, DiskFault, DiskPlan, Lie, SimDisk, Submitted, Told};
use crate::prng::Prng;
use crate::storage::{
    DiskOp, FileName, Identity, Recovered, RecoveryError, SnapshotEncoder, SnapshotSource, Storage,
    read_snapshot,
};
use crate::types::{
    ClusterId, Command, Configuration, Entry, EntryBuilder, EntryKind, HardState, Index, NodeId,
    Revision, SnapshotMeta, Term,
};

/// A header and six blocks, so that logs roll often.
const SEGMENT_BYTES: u64 = 7 * 4096;
const IDENTITY: Identity = Identity { node: NodeId(5), cluster: None };
const CLUSTER: ClusterId = ClusterId(9);

/// What must be found again: the newest snapshot and the entries after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    hard_state: HardState,
    /// Index and term.
    snapshot: (u64, u64),
    /// By index, what follows the snapshot.
    log: BTreeMap<u64, Entry>,
}

impl State {
    fn last(&self) -> u64 {
        self.log.keys().last().copied().unwrap_or(0).max(self.snapshot.0)
    }

    fn append(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            self.log.retain(|index, _| *index < first.index().0);
        }
        self.log.extend(entries.iter().map(|entry| (entry.index().0, entry.clone())));
    }

    /// Whether this is what recovery found.
    fn is(&self, found: &Recovered) -> bool {
        let snapshot = found.snapshot.as_ref().map_or((0, 0), |meta| (meta.index.0, meta.term.0));
        found.hard_state == self.hard_state
            && snapshot == self.snapshot
            && found.entries.iter().eq(self.log.values())
    }
}

/// Why a life ended early.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    Failed(DiskFault),
}

/// A storage, its disk, and what the disk has promised to keep.
struct Machine {
    disk: SimDisk,
    storage: Storage,
    /// The last one is the present state; the others are those that a crash may leave as well.
    states: Vec<State>,
    /// The state before a snapshot that is being installed: it is left only when the log has been
    /// restarted, until then the snapshot may as well be lost.
    before_install: Option<State>,
    prng: Prng,
    /// How many more ops complete before the process is killed.
    ops_left: u64,
}

impl Machine {
    /// A server after its first start, which nothing disturbs.
    fn start(seed: u64) -> Machine {
        let (storage, ops) = Storage::create(IDENTITY, SEGMENT_BYTES);
        let disk = SimDisk::new(seed, DiskPlan::default());
        let state =
            State { hard_state: HardState::default(), snapshot: (0, 0), log: BTreeMap::new() };
        let (states, prng) = (vec![state], Prng::new(!seed));
        let (before_install, ops_left) = (None, u64::MAX);
        let mut machine = Machine { disk, storage, states, before_install, prng, ops_left };
        machine.run(&ops).expect("a perfect disk");
        machine
    }

    fn state(&self) -> &State {
        self.states.last().expect("there is a present state")
    }

    /// Reaches the last of the states, unless something ends it on the way.
    fn run(&mut self, ops: &[DiskOp]) -> Result<(), End> {
        self.execute(ops)?;
        self.states.drain(..self.states.len() - 1);
        Ok(())
    }

    fn execute(&mut self, ops: &[DiskOp]) -> Result<(), End> {
        for op in ops {
            self.disk.submit(op);
            if self.ops_left == 0 {
                return Err(End::Killed);
            }
            self.ops_left -= 1;
            self.disk.complete(op).map_err(End::Failed)?;
        }
        Ok(())
    }

    /// Something that can happen to a server in this state.
    fn live(&mut self) -> Result<(), End> {
        match self.prng.below(10) {
            0 => self.vote(),
            1 => self.snapshot(),
            2 => self.truncate(),
            3 => self.install(),
            4 => {
                let Some(ops) = self.storage.prepare_spare() else { return Ok(()) };
                self.run(&ops)?;
                self.storage.spare_ready();
                Ok(())
            }
            5 => {
                let ops = self.storage.join_cluster(CLUSTER);
                self.run(&ops)
            }
            _ => self.append(),
        }
    }

    fn vote(&mut self) -> Result<(), End> {
        let mut next = self.state().clone();
        let term = next.hard_state.term.next();
        next.hard_state = HardState { term, vote: Some(NodeId(term.0)) };
        let ops = self.storage.append(Some(next.hard_state), &[]);
        self.states.push(next);
        self.run(&ops)
    }

    /// At the end of the log, or in conflict with it, but never with what a snapshot stands for.
    fn append(&mut self) -> Result<(), End> {
        let state = self.state().clone();
        let conflict = self.prng.below(4) == 0;
        let behind =
            if conflict { self.prng.below(state.last() - state.snapshot.0 + 1) } else { 0 };
        let term = state.hard_state.term.0 + u64::from(conflict);
        let first = state.last() - behind + 1;
        let entries: Vec<Entry> = (first..=first + self.prng.below(4))
            .map(|index| {
                let value_bytes = [1, 200, 3000, 9000][self.prng.below(4) as usize];
                entry(index, term, value_bytes, self.prng.next_u64())
            })
            .collect();
        let hard_state = conflict.then_some(HardState { term: Term(term), vote: None });
        let ops = self.storage.append(hard_state, &entries);
        for count in 0..=entries.len() {
            let mut next =
                State { hard_state: hard_state.unwrap_or(state.hard_state), ..state.clone() };
            next.append(&entries[..count]);
            self.states.push(next);
        }
        self.run(&ops)
    }

    fn snapshot(&mut self) -> Result<(), End> {
        let (old, last) = (self.state().snapshot.0, self.state().last());
        if last == old {
            return Ok(());
        }
        let index = old + 1 + self.prng.below(last - old);
        let term = self.state().log[&index].term().0;
        self.write_snapshot(SnapshotSource::Local, index, term)
    }

    fn truncate(&mut self) -> Result<(), End> {
        let first_retained = Index(self.state().snapshot.0).next();
        let ops = self.storage.truncate_before(first_retained);
        self.run(&ops)
    }

    /// A snapshot that is ahead of the log.
    fn install(&mut self) -> Result<(), End> {
        let index = self.state().last() + 1 + self.prng.below(9);
        let term = self.state().hard_state.term.0;
        self.before_install = Some(self.state().clone());
        self.write_snapshot(SnapshotSource::Received, index, term)?;
        let ops = self.storage.reset_after(&meta(index, term));
        self.run(&ops)?;
        self.before_install = None;
        Ok(())
    }

    fn write_snapshot(&mut self, source: SnapshotSource, index: u64, term: u64) -> Result<(), End> {
        let mut encoder = SnapshotEncoder::new(CLUSTER, &meta(index, term));
        assert!(encoder.push(b"index", &index.to_le_bytes(), Revision(index)).is_none());
        let mut ops = self.storage.snapshot_begin(source, Index(index));
        let bytes = encoder.finish();
        ops.extend(self.storage.snapshot_write(source, 0, bytes).expect("it was begun"));
        ops.extend(self.storage.snapshot_finish(source));
        let mut next = self.state().clone();
        next.snapshot = (index, term);
        next.log.retain(|at, _| *at > index);
        self.states.push(next);
        self.run(&ops)?;
        let ops = self.storage.snapshot_durable(source);
        self.run(&ops)
    }

    /// Kills the process or takes its power.
    fn crash(&mut self) {
        if self.prng.below(2) == 0 { self.disk.kill() } else { self.disk.lose_power() }
    }

    fn recover(&mut self) -> Result<Recovered, RecoveryError> {
        let found = Storage::recover(&self.disk.view(), SEGMENT_BYTES)?;
        let found = found.expect("a server with an identity");
        if let Some(meta) = &found.snapshot {
            read_snapshot(&self.disk.view(), FileName::Snapshot(meta.index), drop)?;
        }
        Ok(found)
    }

    /// Recovers as promised, and makes the repairs, which may be broken off as well.
    fn go_on(&mut self) {
        loop {
            let found = self.recover().expect("nothing was damaged");
            let states = &self.states;
            let state = states.iter().find(|state| state.is(&found)).cloned();
            let state = state.unwrap_or_else(|| panic!("{found:?} is none of {states:#?}"));
            self.ops_left = if self.prng.below(3) == 0 { self.prng.below(5) } else { u64::MAX };
            if self.execute(&found.repairs).is_ok() {
                // Until the repairs are made, what was found may be lost again.
                (self.storage, self.states) = (found.storage, vec![state]);
                self.before_install = None;
                return;
            }
            self.crash();
        }
    }
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        index: Index(index),
        term: Term(term),
        revision: Revision(index),
        configuration: Configuration::default(),
    }
}

/// An entry that shares no sector with another one, or a torn write over a torn one could mend it.
fn entry(index: u64, term: u64, value_bytes: usize, salt: u64) -> Entry {
    let mut builder = EntryBuilder::new(EntryKind::Commands, value_bytes);
    let value = salt.to_le_bytes().into_iter().cycle().take(value_bytes).collect();
    builder.push(&Command::Set { key: Bytes::from_static(b"key"), value });
    builder.seal(Index(index), Term(term))
}

/// A machine that crashed a few times and is down, recovered each time but the last.
fn crashed_machine(seed: u64) -> Machine {
    let mut machine = Machine::start(seed);
    for life in 0..4 {
        if life > 0 {
            machine.go_on();
        }
        // Short lives put the crashes close together, where a torn write is written over.
        machine.ops_left = [4, 15, 60][machine.prng.below(3) as usize];
        machine.ops_left = machine.prng.below(machine.ops_left);
        while machine.live().is_ok() {}
        machine.crash();
    }
    machine
}

#[test]
fn what_was_reported_complete_is_found_after_any_crash() {
    for seed in 0..800 {
        crashed_machine(seed).go_on();
    }
}

#[test]
fn a_failing_disk_loses_nothing_that_it_has_not_failed_on() {
    let mut faults = BTreeMap::new();
    for seed in 0..300 {
        let mut machine = Machine::start(seed);
        for _ in 0..4 {
            machine.disk.plan.error_one_in = Some(60);
            machine.disk.plan.short_write_one_in = Some(60);
            machine.disk.plan.capacity_bytes = Some(8 * SEGMENT_BYTES);
            machine.ops_left = 200;
            let end = loop {
                if let Err(end) = machine.live() {
                    break end;
                }
            };
            *faults.entry(format!("{end:?}").chars().take(12).collect::<String>()).or_insert(0) +=
                1;
            machine.crash();
            machine.disk.plan = DiskPlan::default();
            machine.go_on();
        }
    }
    assert!(faults.len() >= 4, "{faults:?}");
}

/// Recovers after some lies, and compares the answer with what was told.
fn check(machine: &mut Machine, told: &[Told], seed: u64) {
    let states: Vec<State> =
        machine.states.iter().chain(&machine.before_install).cloned().collect();
    let answer = told.iter().map(|told| told.answer).max().expect("a lie was told");
    match (answer, machine.recover()) {
        (Answer::Detect | Answer::Either, Err(_)) => {}
        (Answer::Detect, Ok(found)) => {
            panic!("seed {seed}: {told:?} was not noticed: {:?}, {states:#?}", found.entries)
        }
        (Answer::Repair, Err(error)) => panic!("seed {seed}: {told:?}: {error}"),
        (Answer::Repair, Ok(found)) => {
            assert!(states.iter().any(|state| state.is(&found)), "seed {seed}: {told:?}");
            machine.go_on();
        }
        (Answer::Either, Ok(found)) => {
            let same = states.iter().any(|state| holds_all_of(&found, state));
            assert!(same, "seed {seed}: {told:?}: found {found:?}, not one of {states:#?}");
        }
    }
}

/// Whether what was found is this state, though it may stand on an older snapshot and a longer log.
fn holds_all_of(found: &Recovered, state: &State) -> bool {
    let snapshot = found.snapshot.as_ref().map_or(0, |meta| meta.index.0);
    let entries = found.entries.iter();
    let after = entries.filter(|entry| entry.index().0 > state.snapshot.0);
    let last = found.entries.last().map_or(snapshot, |entry| entry.index().0);
    found.hard_state == state.hard_state
        && snapshot <= state.snapshot.0
        && last == state.last()
        && after.eq(state.log.values())
}

#[test]
fn every_lie_gets_its_answer() {
    const LIES: [Lie; 4] = [Lie::BitRot, Lie::LostWrite, Lie::MisdirectedWrite, Lie::LostFile];
    let mut kinds = BTreeMap::new();
    for seed in 0..2000 {
        let mut machine = crashed_machine(seed);
        let tries = [1, 1, 3][machine.prng.below(3) as usize];
        let told: Vec<Told> = (0..tries)
            .filter_map(|_| machine.disk.lie(LIES[machine.prng.below(4) as usize]))
            .collect();
        for told in &told {
            *kinds.entry(format!("{:?}, {:?}", told.lie, told.answer)).or_insert(0) += 1;
        }
        if !told.is_empty() {
            check(&mut machine, &told, seed);
        }
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn no_lie_is_told_about_a_server_that_never_started() {
    let mut disk = SimDisk::new(1, DiskPlan::default());
    let (_, ops) = Storage::create(IDENTITY, SEGMENT_BYTES);
    for op in &ops[..ops.len() - 2] {
        disk.submit(op);
        disk.complete(op).expect("a perfect disk");
    }
    for lie in [Lie::BitRot, Lie::LostWrite, Lie::MisdirectedWrite, Lie::LostFile] {
        assert_eq!(disk.lie(lie), None);
    }
}

#[test]
fn the_same_seed_is_the_same_disk() {
    for seed in 0..20 {
        let bytes = |mut machine: Machine| {
            let told = machine.disk.lie(Lie::BitRot);
            (told, format!("{:?}", machine.disk.bytes))
        };
        assert!(bytes(crashed_machine(seed)) == bytes(crashed_machine(seed)));
    }
}

#[test]
fn a_read_that_fails_is_told_from_damage_and_the_next_start_may_succeed() {
    let mut machine = crashed_machine(3);
    let (mut failed, mut succeeded) = (false, false);
    machine.disk.plan.read_error_one_in = Some(8);
    while !(failed && succeeded) {
        match machine.recover() {
            Ok(_) => succeeded = true,
            Err(RecoveryError::Read { .. }) => failed = true,
            Err(error) => panic!("nothing was damaged: {error}"),
        }
    }
}

#[test]
fn a_full_disk_takes_what_needs_no_room() {
    let mut machine = Machine::start(1);
    machine.disk.set_full(true);
    let small = machine.storage.append(None, &[entry(1, 1, 10, 0)]);
    assert_eq!(machine.execute(&small), Ok(()));
    let large: Vec<Entry> = (2..6).map(|index| entry(index, 1, 9000, index)).collect();
    let large = machine.storage.append(None, &large);
    assert_eq!(machine.execute(&large), Err(End::Failed(DiskFault::Full)));
}

#[test]
fn a_plan_says_how_long_things_take() {
    let plan = DiskPlan {
        write_us: (10, 20),
        sync_us: (100, 200),
        read_us: (5, 5),
        slow_one_in: Some(4),
        slow_factor: 50,
        ..DiskPlan::default()
    };
    let mut disk = SimDisk::new(1, plan);
    let slow = (0..100).filter(|_| match disk.delay_us(&DiskOp::SyncDir) {
        100..=200 => false,
        5000..=10_000 => true,
        other => panic!("a sync took {other} us"),
    });
    assert!((10..50).contains(&slow.count()));
    disk.set_slow(3);
    assert!([15, 750].contains(&disk.read_delay_us()));
}

#[test]
fn a_hung_disk_completes_nothing_until_it_goes_on() {
    let mut machine = Machine::start(1);
    machine.disk.set_hung(true);
    let ops = machine.storage.append(None, &[entry(1, 1, 10, 0)]);
    assert_eq!(machine.disk.submit(&ops[0]), Submitted::Hung);
    machine.disk.set_hung(false);
    assert_eq!(machine.disk.complete(&ops[0]), Ok(()));
    assert_eq!(machine.recover().expect("nothing was damaged").entries.len(), 1);
}
