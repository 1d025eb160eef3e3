//! The promise of the room, tried at every step: what was acknowledged is read back after any crash,
//! what was superseded is not, and damage is never taken for a crash.
//!
//! A [`Server`] lives through a history of events on a [`CrashDisk`]. Beside it stands a [`Model`] of
//! what must be found again: while the ops of an event run, a crash may leave the state before it or
//! one of those that it passes through.

use bytes::Bytes;

use super::crash_disk::CrashDisk;
use super::op::{DiskOp, FileName, SnapshotSource};
use super::{Identity, Recovered, RecoveryError, SnapshotEncoder, Storage, read_snapshot};
use crate::prng::Prng;
use crate::types::{
    ClusterId, Command, Configuration, Entry, EntryBuilder, EntryKind, HardState, Index, NodeId,
    Revision, SnapshotMeta, Term,
};

/// A header and four blocks, so that logs roll often.
const SEGMENT_BYTES: u64 = 5 * 4096;
const IDENTITY: Identity = Identity { node: NodeId(11), cluster: None };
const CLUSTER: ClusterId = ClusterId(22);

/// What a server must find again.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    hard_state: HardState,
    /// Index and term; 0 and 0 for none.
    snapshot: (u64, u64),
    /// The index before the first of `log`.
    base: u64,
    log: Vec<Entry>,
}

impl Model {
    fn new() -> Model {
        Model { hard_state: HardState::default(), snapshot: (0, 0), base: 0, log: Vec::new() }
    }

    fn last(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        let at = index.checked_sub(self.base + 1)?;
        self.log.get(at as usize).map(|entry| entry.term().0)
    }

    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.log.truncate((first.index().0 - self.base - 1) as usize);
        self.log.extend_from_slice(entries);
    }

    /// What recovery does when log and snapshot don't join: the log starts after the snapshot.
    fn settle(&mut self) {
        let (index, term) = self.snapshot;
        if index > self.base && self.term_at(index) != Some(term) {
            (self.base, self.log) = (index, Vec::new());
        }
    }

    /// The entries after the snapshot, as recovery gives them.
    fn tail(&self) -> Vec<Entry> {
        let mut settled = self.clone();
        settled.settle();
        settled.log.split_off((self.snapshot.0 - settled.base) as usize)
    }

    fn is(&self, found: &Recovered) -> bool {
        let snapshot = found.snapshot.as_ref().map_or((0, 0), |meta| (meta.index.0, meta.term.0));
        found.hard_state == self.hard_state
            && snapshot == self.snapshot
            && found.entries == self.tail()
    }
}

/// Something that happens to a server.
#[derive(Clone, Debug)]
enum Event {
    Vote {
        term: u64,
    },
    /// Entries from `first` on, with values of these sizes.
    Append {
        first: u64,
        term: u64,
        sizes: Vec<usize>,
    },
    /// A snapshot of what was applied up to `index`.
    Snapshot {
        index: u64,
        term: u64,
    },
    Truncate {
        first_retained: u64,
    },
    /// A snapshot from the leader, after which the log starts anew.
    Install {
        index: u64,
        term: u64,
    },
    Spare,
    Join,
}

/// Ops, and the states that a crash among them may leave; the last one is that after them.
struct Step {
    ops: Vec<DiskOp>,
    states: Vec<Model>,
}

struct Server {
    disk: CrashDisk,
    storage: Storage,
    model: Model,
    prng: Prng,
    /// How many more ops complete before the crash.
    ops_left: u64,
}

/// What remains of a server that crashed: a disk, and what may be found on it.
struct Wreck {
    disk: CrashDisk,
    states: Vec<Model>,
    prng: Prng,
}

impl Server {
    /// A server at its first start; `Err` when it crashes on the way.
    fn start(seed: u64, ops_left: u64) -> Result<Server, Box<Wreck>> {
        let (storage, ops) = Storage::create(IDENTITY, SEGMENT_BYTES);
        let (disk, model, prng) = (CrashDisk::default(), Model::new(), Prng::new(seed));
        let mut server = Server { disk, storage, model, prng, ops_left };
        let states = vec![Model::new()];
        server.run(Step { ops, states })?;
        Ok(server)
    }

    fn live(&mut self, event: &Event) -> Result<(), Box<Wreck>> {
        match event {
            Event::Vote { term } => {
                let next = HardState { term: Term(*term), vote: Some(NodeId(*term)) };
                let ops = self.storage.append(Some(next), &[]);
                let after = Model { hard_state: next, ..self.model.clone() };
                self.run(Step { ops, states: vec![after] })
            }
            Event::Append { first, term, sizes } => self.append(*first, *term, sizes),
            Event::Snapshot { index, term } => self.snapshot(SnapshotSource::Local, *index, *term),
            Event::Truncate { first_retained } => {
                let ops = self.storage.truncate_before(Index(*first_retained));
                self.run(Step { ops, states: vec![self.model.clone()] })
            }
            Event::Install { index, term } => {
                self.snapshot(SnapshotSource::Received, *index, *term)?;
                let ops = self.storage.reset_after(&meta(*index, *term));
                let after = Model { base: *index, log: Vec::new(), ..self.model.clone() };
                self.run(Step { ops, states: vec![after] })
            }
            Event::Spare => {
                let Some(ops) = self.storage.prepare_spare() else { return Ok(()) };
                self.run(Step { ops, states: vec![self.model.clone()] })?;
                self.storage.spare_ready();
                Ok(())
            }
            Event::Join => {
                let ops = self.storage.join_cluster(CLUSTER);
                self.run(Step { ops, states: vec![self.model.clone()] })
            }
        }
    }

    fn append(&mut self, first: u64, term: u64, sizes: &[usize]) -> Result<(), Box<Wreck>> {
        let entries: Vec<Entry> =
            (first..).zip(sizes).map(|(index, size)| entry(index, term, *size)).collect();
        let hard_state = (self.model.hard_state.term < Term(term))
            .then_some(HardState { term: Term(term), vote: None });
        let ops = self.storage.append(hard_state, &entries);
        let mut states = Vec::new();
        let hard_state = hard_state.unwrap_or(self.model.hard_state);
        for count in 0..=entries.len() {
            let mut state = Model { hard_state, ..self.model.clone() };
            state.append(&entries[..count]);
            states.push(state);
        }
        self.run(Step { ops, states })
    }

    fn snapshot(
        &mut self,
        source: SnapshotSource,
        index: u64,
        term: u64,
    ) -> Result<(), Box<Wreck>> {
        let mut encoder = SnapshotEncoder::new(CLUSTER, &meta(index, term));
        let none = encoder.push(b"index", &index.to_le_bytes(), Revision(index));
        assert!(none.is_none(), "one item makes no full frame");
        let mut ops = self.storage.snapshot_begin(source, Index(index));
        let bytes = encoder.finish();
        let (front, back) = (bytes.slice(..4096), bytes.slice(4096..));
        ops.extend(self.storage.snapshot_write(source, 0, front).expect("in order"));
        ops.extend(self.storage.snapshot_write(source, 4096, back).expect("in order"));
        ops.extend(self.storage.snapshot_finish(source));
        let after = Model { snapshot: (index, term), ..self.model.clone() };
        self.run(Step { ops, states: vec![after] })?;
        let ops = self.storage.snapshot_durable(source);
        self.run(Step { ops, states: vec![self.model.clone()] })
    }

    fn run(&mut self, step: Step) -> Result<(), Box<Wreck>> {
        for op in &step.ops {
            if self.ops_left == 0 {
                self.disk.begin(op);
                return Err(Box::new(self.wreck(step.states)));
            }
            self.ops_left -= 1;
            self.disk.execute(op);
        }
        self.model = step.states.last().expect("a step ends in a state").clone();
        Ok(())
    }

    /// Crashes between two events.
    fn crash(self) -> Wreck {
        let states = Vec::new();
        self.wreck(states)
    }

    fn wreck(&self, under_way: Vec<Model>) -> Wreck {
        let states = std::iter::once(self.model.clone()).chain(under_way).collect();
        Wreck { disk: self.disk.clone(), states, prng: self.prng.clone() }
    }
}

impl Wreck {
    /// Loses power or only the process, recovers, and checks what was found. `None` when the crash
    /// came before the server had an identity.
    fn recover(mut self) -> Option<Server> {
        if self.prng.below(4) > 0 {
            self.disk.lose_power(&mut self.prng);
        }
        let recovered = Storage::recover(&self.disk, SEGMENT_BYTES)
            .unwrap_or_else(|error| panic!("{error}\n{:#?}", self.states));
        let Some(found) = recovered else {
            let fresh = self.states.iter().all(|state| *state == Model::new());
            assert!(fresh, "a server with a history was taken for a new one");
            return None;
        };
        self.check(&found);
        // The repairs may crash too; what is found then must still be one of the same states.
        if self.prng.below(3) == 0 {
            let steps = self.prng.below(found.repairs.len() as u64) as usize;
            found.repairs[..steps].iter().for_each(|op| self.disk.execute(op));
            self.disk.begin(&found.repairs[steps]);
            return self.recover();
        }
        found.repairs.iter().for_each(|op| self.disk.execute(op));
        let mut model = self.state_of(&found).clone();
        model.settle();
        Some(Server {
            disk: self.disk,
            storage: found.storage,
            model,
            prng: self.prng,
            ops_left: u64::MAX,
        })
    }

    fn state_of(&self, found: &Recovered) -> &Model {
        self.states.iter().find(|state| state.is(found)).unwrap_or_else(|| {
            panic!(
                "found {:?} {:?} {:?}, which is none of {:#?}",
                found.hard_state, found.snapshot, found.entries, self.states
            )
        })
    }

    fn check(&self, found: &Recovered) {
        assert_eq!(found.identity.node, IDENTITY.node);
        let state = self.state_of(found);
        if let Some(meta) = &found.snapshot {
            let mut items = 0;
            let file = FileName::Snapshot(meta.index);
            let summary = read_snapshot(&self.disk, file, |item| {
                assert_eq!(item.value, Bytes::copy_from_slice(&meta.index.0.to_le_bytes()));
                items += 1;
            });
            assert_eq!(summary.expect("a durable snapshot reads back").items, items);
        }
        assert!(found.storage.last_index().0 >= state.snapshot.0);
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

fn entry(index: u64, term: u64, value_bytes: usize) -> Entry {
    let mut builder = EntryBuilder::new(EntryKind::Commands, value_bytes);
    let value = Bytes::from(vec![index as u8 ^ term as u8; value_bytes]);
    builder.push(&Command::Set { key: Bytes::from_static(b"key"), value });
    builder.seal(Index(index), Term(term))
}

/// Everything a log goes through: appends, rolls, splits, conflicts, snapshots, truncation, reuse of
/// segments, and installed snapshots that are ahead of the log, conflict with it or agree with it.
fn history() -> Vec<Event> {
    let append =
        |first, term, sizes: &[usize]| Event::Append { first, term, sizes: sizes.to_vec() };
    vec![
        Event::Vote { term: 1 },
        append(1, 1, &[10, 20]),
        Event::Join,
        append(3, 1, &[5000]),
        append(4, 1, &[100, 9000, 100]),
        Event::Spare,
        Event::Vote { term: 2 },
        // Supersedes 5 and 6, across a segment's end.
        append(5, 2, &[3000, 3000, 3000, 3000, 3000]),
        Event::Snapshot { index: 5, term: 2 },
        Event::Truncate { first_retained: 4 },
        append(10, 2, &[9000, 9000]),
        Event::Snapshot { index: 10, term: 2 },
        Event::Truncate { first_retained: 11 },
        append(12, 3, &[9000, 50, 9000]),
        Event::Spare,
        // Applied before this server's own disk had it: a quorum of others did.
        Event::Snapshot { index: 16, term: 3 },
        append(15, 3, &[10, 6000, 6000]),
        Event::Truncate { first_retained: 15 },
        // Ahead of the log.
        Event::Install { index: 30, term: 4 },
        append(31, 4, &[10, 10, 7000]),
        append(34, 4, &[9000, 9000, 9000]),
        // Of another history than entries 33 to 36.
        Event::Install { index: 33, term: 5 },
        append(34, 5, &[10, 8000]),
        // Agrees with the log.
        Event::Install { index: 34, term: 5 },
        append(35, 6, &[12_000, 12_000, 12_000]),
        Event::Snapshot { index: 36, term: 6 },
        Event::Truncate { first_retained: 37 },
        append(38, 6, &[1]),
    ]
}

/// Lives through the history; `Err` when it crashed on the way.
fn live_through(seed: u64, ops_left: u64) -> Result<Server, Box<Wreck>> {
    let mut server = Server::start(seed, ops_left)?;
    for event in history() {
        server.live(&event)?;
    }
    Ok(server)
}

#[test]
fn a_crash_at_any_op_loses_nothing_acknowledged_and_brings_nothing_superseded_back() {
    let mut crash_at = 0;
    loop {
        let mut finished = false;
        for seed in 0..24 {
            match live_through(seed, crash_at) {
                Err(wreck) => live_on_after(*wreck),
                Ok(server) => {
                    finished = true;
                    live_on_after(server.crash());
                }
            }
        }
        if finished {
            break;
        }
        crash_at += 1;
    }
    assert!(crash_at > 150, "the history has only {crash_at} ops");
}

/// Recovers, and shows that the recovered server can go on and crash again.
fn live_on_after(wreck: Wreck) {
    let Some(mut server) = wreck.recover() else { return };
    for (at, size) in [100, 9000, 9000].into_iter().enumerate() {
        let first = server.model.last() + 1;
        let append = Event::Append { first, term: 90 + at as u64, sizes: vec![size] };
        server.live(&append).unwrap_or_else(|_| panic!("no crash was planned"));
    }
    let model = server.model.clone();
    let server = server.crash().recover().expect("a server with a history");
    assert_eq!(server.model, model);
}

/// An event that can happen to a server in this state.
fn any_event(model: &Model, prng: &mut Prng) -> Event {
    let term = model.hard_state.term.0.max(1);
    let (snapshot, last) = (model.snapshot.0, model.last());
    match prng.below(12) {
        0 => Event::Vote { term: term + 1 },
        1 => Event::Spare,
        2 => Event::Join,
        3 if last > snapshot => {
            let index = snapshot + 1 + prng.below(last - snapshot);
            let term = model.term_at(index).expect("the log holds what follows the snapshot");
            Event::Snapshot { index, term }
        }
        4 | 5 => Event::Truncate { first_retained: snapshot + 1 - prng.below(snapshot.min(3) + 1) },
        6 => Event::Install { index: snapshot + 1 + prng.below(12), term },
        _ => {
            let conflict = prng.below(4) == 0;
            let after = if conflict { snapshot + prng.below(last - snapshot + 1) } else { last };
            let count = 1 + prng.below(4);
            let sizes = (0..count).map(|_| [1, 200, 3000, 9000, 15_000][prng.below(5) as usize]);
            Event::Append {
                first: after + 1,
                term: term + u64::from(conflict),
                sizes: sizes.collect(),
            }
        }
    }
}

#[test]
fn random_histories_survive_crash_after_crash() {
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let Ok(mut server) = Server::start(seed, u64::MAX) else { panic!("no crash was planned") };
        for _ in 0..6 {
            server.ops_left = prng.below(80);
            let wreck = loop {
                let event = any_event(&server.model, &mut prng);
                if let Err(wreck) = server.live(&event) {
                    break wreck;
                }
            };
            server = wreck.recover().expect("a server with an identity");
        }
    }
}

/// What recovery makes of a disk that was changed behind its back.
fn recovered(disk: &CrashDisk) -> Result<Recovered, RecoveryError> {
    Storage::recover(disk, SEGMENT_BYTES).map(|found| found.expect("there is an identity"))
}

/// A server after its whole history and some more, and all its segments. The last block of its log
/// holds one entry.
fn whole() -> (Server, Vec<FileName>) {
    let Ok(mut server) = live_through(1, u64::MAX) else { panic!("no crash was planned") };
    for size in [9000, 10, 3000, 9000, 3000, 10, 15_000, 100, 9000, 3000] {
        let first = server.model.last() + 1;
        let append = Event::Append { first, term: 7, sizes: vec![size] };
        server.live(&append).unwrap_or_else(|_| panic!("no crash was planned"));
    }
    let segments: Vec<FileName> =
        server.disk.files().filter(|file| matches!(file, FileName::Segment(_))).collect();
    assert!(segments.len() > 3, "a log of some segments is wanted");
    (server, segments)
}

#[test]
fn a_damaged_sector_is_an_error_or_no_loss_except_in_the_last_block() {
    let (server, segments) = whole();
    let tail = server.model.tail();
    for file in &segments {
        let is_last = Some(file) == segments.last();
        let mut forgiven = Vec::new();
        for sector in 0..SEGMENT_BYTES as usize / 512 {
            for offset in [0, 60, 511] {
                let mut disk = server.disk.clone();
                disk.corrupt(*file, |bytes| bytes[sector * 512 + offset] ^= 4);
                match recovered(&disk) {
                    Err(error) => assert!(error.to_string().contains(&file.to_string())),
                    Ok(found) if found.entries == tail => {}
                    Ok(found) => {
                        // Nothing can tell it from a torn write.
                        assert_eq!(found.entries, tail[..tail.len() - 1]);
                        forgiven.push(sector / 8);
                    }
                }
            }
        }
        forgiven.dedup();
        assert_eq!(forgiven.len(), usize::from(is_last), "{file}: blocks {forgiven:?}");
    }
}

#[test]
fn a_lost_or_misdirected_write_is_an_error() {
    let (server, segments) = whole();
    let blocks: Vec<(FileName, usize)> =
        segments.iter().flat_map(|file| (1..5).map(|block| (*file, block * 4096))).collect();
    let tail = server.model.tail();
    let mut errors = 0;
    for (file, at) in &blocks {
        for (other_file, other_at) in &blocks {
            let mut disk = server.disk.clone();
            let mut stray = Vec::new();
            disk.corrupt(*other_file, |bytes| stray = bytes[*other_at..other_at + 4096].to_vec());
            disk.corrupt(*file, |bytes| bytes[*at..at + 4096].copy_from_slice(&stray));
            match recovered(&disk) {
                Err(_) => errors += 1,
                Ok(found) => assert!(
                    found.entries == tail || found.entries == tail[..tail.len() - 1],
                    "{file} at {at} overwritten from {other_file} at {other_at}: {:?}",
                    found.entries
                ),
            }
        }
    }
    assert!(errors > blocks.len(), "only {errors} were noticed");
}

#[test]
fn a_missing_file_is_named_unless_nothing_is_lost_with_it() {
    let (server, segments) = whole();
    let files: Vec<FileName> = server.disk.files().collect();
    for file in files {
        let mut disk = server.disk.clone();
        disk.lose(file);
        match recovered(&disk) {
            Err(error) => assert!(error.to_string().contains("missing"), "{error}"),
            // No other file says that the newest segment was there.
            Ok(found) if Some(&file) == segments.last() => {
                let shorter = found.entries.len();
                assert_eq!(found.entries, server.model.tail()[..shorter]);
            }
            Ok(found) => {
                assert!(server.model.is(&found), "{file} is gone and nobody noticed");
                let needed = [FileName::Identity, FileName::HardState];
                assert!(!needed.contains(&file), "{file} is needed");
            }
        }
    }
}
