//! A server that crashes when it is told to.

use bytes::Bytes;

use super::model::Model;
use super::{CLUSTER, IDENTITY, SEGMENT_BYTES, entry, meta};
use crate::prng::Prng;
use crate::storage::op::{DiskOp, FileName, SnapshotSource};
use crate::storage::{CrashDisk, Recovered, SnapshotEncoder, Storage, read_snapshot};
use crate::types::{Entry, HardState, Index, NodeId, Revision, Term};

/// Something that happens to a server.
#[derive(Clone, Debug)]
pub(super) enum Event {
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

pub(super) struct Server {
    pub(super) disk: CrashDisk,
    storage: Storage,
    pub(super) model: Model,
    prng: Prng,
    /// How many more ops complete before the crash.
    pub(super) ops_left: u64,
}

/// What remains of a server that crashed: a disk, and what may be found on it.
pub(super) struct Wreck {
    pub(super) disk: CrashDisk,
    states: Vec<Model>,
    prng: Prng,
}

impl Server {
    /// A server at its first start; `Err` when it crashes on the way.
    pub(super) fn start(seed: u64, ops_left: u64) -> Result<Server, Box<Wreck>> {
        let (storage, ops) = Storage::create(IDENTITY, SEGMENT_BYTES);
        let (disk, model, prng) = (CrashDisk::default(), Model::new(), Prng::new(seed));
        let mut server = Server { disk, storage, model, prng, ops_left };
        let states = vec![Model::new()];
        server.run(Step { ops, states })?;
        Ok(server)
    }

    pub(super) fn live(&mut self, event: &Event) -> Result<(), Box<Wreck>> {
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
    pub(super) fn crash(self) -> Wreck {
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
    pub(super) fn recover(mut self) -> Option<Server> {
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
/// Everything a log goes through: appends, rolls, splits, conflicts, snapshots, truncation, reuse
/// of segments, and installed snapshots that are ahead of the log, conflict with it or agree with
/// it.
pub(super) fn history() -> Vec<Event> {
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
pub(super) fn live_through(seed: u64, ops_left: u64) -> Result<Server, Box<Wreck>> {
    let mut server = Server::start(seed, ops_left)?;
    for event in history() {
        server.live(&event)?;
    }
    Ok(server)
}
