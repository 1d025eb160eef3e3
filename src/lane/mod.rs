//! The log lane: what the node wants durable becomes steps, one after another.
//!
//! A server has one log, and everything that changes it waits in one line: term and vote, entries,
//! a snapshot from the leader, truncation, the cluster's id. The lane decides what is written
//! together and what follows what; it does nothing itself. A driver takes a [`Step`], does all of
//! it, and asks for the next one.
//!
//! ```text
//!            push                                 next
//!  node ─── LogWork ──> queue ──> work at hand ─── Step ──> driver ──> disk, map, node
//!                                      ^                       |
//!                                      └────── verified ───────┘
//!
//!  work        its steps
//!  Persist     append > parts of a snapshot > tell Persisted > install what is complete
//!  Truncate    drop the front of the log
//!  Create      append > cluster id > tell Entered
//!  Join        cluster id > tell Entered
//!  ... each    > prepare a spare segment
//!
//!  install     verify ── sound ──> name it > rely on it > restart the log > load > tell Installed
//!                └────── unsound > remove it > tell Rejected
//! ```
//!
//! What waits while the disk is busy becomes the next write: `group.rs`. A follower's
//! acknowledgement is told only after the ops of its Persist are done, which is what lets Raft count
//! it (Raft §5.3, thesis §10.2.1). A received snapshot gets its name before the log restarts behind
//! it (Raft §7), so a crash between any two steps leaves one whole history.
//!
//! # Call order
//! [`next`](LogLane::next) says that the step before is done. After a [`Step::Verify`] comes
//! [`verified`](LogLane::verified) first. [`push`](LogLane::push) may come at any time.
//!
//! # Not here
//! No queue limit of its own: what consensus lets be in flight bounds it. No error: a driver never
//! goes on after a failed op.

mod group;
#[cfg(test)]
mod random;
#[cfg(test)]
mod scripts;

use std::collections::VecDeque;

use thiserror::Error;

use crate::node::{Node, Persist};
use crate::raft::{ReadyNumber, SnapshotWrite};
use crate::storage::{DiskOp, SnapshotSource, SnapshotWriteError, Storage};
use crate::types::{ClusterId, Entry, HardState, Index, SnapshotMeta};
use group::Group;

/// Whose snapshot passes through the lane. This server's own has a lane of its own.
const SOURCE: SnapshotSource = SnapshotSource::Received;

/// One thing to make durable, in its turn.
#[derive(Debug)]
pub enum LogWork {
    /// Term, vote, entries, parts of a snapshot that the leader sends.
    Persist(Persist),
    /// A durable snapshot covers the log before this index.
    Truncate {
        /// The first index that must stay.
        first_retained: Index,
    },
    /// The first entry of a new cluster, then its id.
    Create {
        /// The new cluster.
        cluster: ClusterId,
        /// Its first entry.
        entry: Entry,
        /// The term of that entry.
        hard_state: HardState,
    },
    /// The id of the cluster to join.
    Join {
        /// That cluster.
        cluster: ClusterId,
    },
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Execute these ops in order. They write to the log; how long they take is worth measuring.
    Append(Vec<DiskOp>),
    /// Execute these ops in order. There is at least one.
    Execute(Vec<DiskOp>),
    /// Begin these ops beside the lane, and go on at once; when they are done, call
    /// [`Storage::spare_ready`].
    PrepareSpare(Vec<DiskOp>),
    /// Read the temporary file of the received snapshot, and say by [`LogLane::verified`] whether it
    /// is whole, sound and this one.
    Verify(SnapshotMeta),
    /// Make the map hold what the durable snapshot at this index holds, and nothing else.
    Load(Index),
    /// Tell the node.
    Tell(Told),
}

/// What the node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything up to this Persist is durable.
    Persisted(ReadyNumber),
    /// The snapshot from the leader was dropped; nothing changed.
    SnapshotRejected(Rejection),
    /// The snapshot from the leader is durable and in the map, and the log goes on behind it.
    SnapshotInstalled(SnapshotMeta),
    /// The cluster's id is durable.
    Entered(ClusterId),
}

/// Why a snapshot from the leader was dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// A part does not go on where the part before it ended.
    #[error("a part of it does not fit: {0}")]
    Part(SnapshotWriteError),
    /// All of it came, and does not pass its checks.
    #[error("it is damaged, or not the one that was announced")]
    Unsound,
}

/// The line of what waits for the log, and how far the work at hand has come.
#[derive(Debug, Default)]
pub struct LogLane {
    queue: VecDeque<LogWork>,
    /// What is left of the work at hand. What an item asks of the storage is worked out only when
    /// its turn has come, because it may depend on the ops before it being done.
    agenda: VecDeque<Item>,
    /// A snapshot whose last part was written; it is installed once that is acknowledged.
    received: Option<SnapshotMeta>,
    /// The snapshot that the driver is looking at; until it has said what it found, nothing goes on.
    verifying: Option<SnapshotMeta>,
}

/// One item of the agenda; it becomes a step, or nothing.
#[derive(Debug)]
enum Item {
    Append { hard_state: Option<HardState>, entries: Vec<Entry> },
    Truncate { first_retained: Index },
    JoinCluster(ClusterId),
    BeginSnapshot(Index),
    WriteSnapshot(SnapshotWrite),
    VerifySnapshot,
    AbortSnapshot,
    FinishSnapshot,
    RelyOnSnapshot,
    RestartLog(SnapshotMeta),
    Load(Index),
    Tell(Told),
    PrepareSpare,
}

impl LogLane {
    /// A lane in which nothing waits.
    #[must_use]
    pub fn new() -> LogLane {
        LogLane::default()
    }

    /// Puts `work` at the end of the line.
    pub fn push(&mut self, work: LogWork) {
        self.queue.push_back(work);
    }

    /// The step before is done: what comes next, or `None` until more work is pushed.
    ///
    /// # Panics
    /// When the step before was [`Step::Verify`] and nobody said what came of it.
    pub fn next(&mut self, storage: &mut Storage) -> Option<Step> {
        assert!(self.verifying.is_none(), "a received snapshot waits for its verdict");
        loop {
            let Some(item) = self.agenda.pop_front() else {
                let work = self.queue.pop_front()?;
                self.begin(work);
                continue;
            };
            if let Some(step) = self.step(item, storage) {
                return Some(step);
            }
        }
    }

    /// What the driver found of the snapshot that it was to verify.
    ///
    /// # Panics
    /// When it was not asked to.
    pub fn verified(&mut self, is_sound: bool) {
        let meta = self.verifying.take().expect("a verdict answers a Step::Verify");
        if is_sound {
            self.do_first([
                Item::FinishSnapshot,
                Item::RelyOnSnapshot,
                Item::RestartLog(meta.clone()),
                Item::Load(meta.index),
                Item::Tell(Told::SnapshotInstalled(meta)),
            ]);
            if planted!(InstalledBeforeNamed)
                && let Some(told) = self.agenda.remove(4)
            {
                self.agenda.push_front(told);
            }
        } else {
            let rejected = Told::SnapshotRejected(Rejection::Unsound);
            self.do_first([Item::AbortSnapshot, Item::Tell(rejected)]);
        }
    }

    /// Whether everything that was pushed is done. That the last step is done is known here only
    /// when [`next`](LogLane::next) was called after it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.agenda.is_empty() && self.verifying.is_none()
    }

    /// Draws up the agenda of the next work.
    fn begin(&mut self, work: LogWork) {
        match work {
            LogWork::Persist(persist) => self.persist(persist),
            LogWork::Truncate { first_retained } => {
                self.agenda.push_back(Item::Truncate { first_retained });
            }
            LogWork::Create { cluster, entry, hard_state } => self.agenda.extend([
                Item::Append { hard_state: Some(hard_state), entries: vec![entry] },
                Item::JoinCluster(cluster),
                Item::Tell(Told::Entered(cluster)),
            ]),
            LogWork::Join { cluster } => {
                self.agenda.extend([Item::JoinCluster(cluster), Item::Tell(Told::Entered(cluster))])
            }
        }
        self.agenda.push_back(Item::PrepareSpare);
    }

    /// Makes `first` durable together with all that follows it and can be written with it.
    fn persist(&mut self, first: Persist) {
        let group = Group::take(first, &mut self.queue);
        let Group { number, hard_state, entries, snapshot_writes } = group;
        if planted!(TellsBeforeWriting) {
            self.agenda.push_back(Item::Tell(Told::Persisted(number)));
        }
        self.agenda.push_back(Item::Append { hard_state, entries });
        for write in snapshot_writes {
            if write.offset == 0 {
                self.agenda.push_back(Item::BeginSnapshot(write.meta.index));
            }
            self.agenda.push_back(Item::WriteSnapshot(write));
        }
        self.agenda.extend([Item::Tell(Told::Persisted(number)), Item::VerifySnapshot]);
    }

    fn step(&mut self, item: Item, storage: &mut Storage) -> Option<Step> {
        match item {
            Item::Append { hard_state, entries } => {
                let ops = storage.append(hard_state, &entries);
                (!ops.is_empty()).then_some(Step::Append(ops))
            }
            Item::Truncate { first_retained } => execute(storage.truncate_before(first_retained)),
            Item::JoinCluster(cluster) => execute(storage.join_cluster(cluster)),
            Item::BeginSnapshot(index) => execute(storage.snapshot_begin(SOURCE, index)),
            Item::WriteSnapshot(write) => self.write_snapshot(write, storage),
            Item::VerifySnapshot => {
                self.verifying = self.received.take();
                self.verifying.clone().map(Step::Verify)
            }
            Item::AbortSnapshot => execute(storage.snapshot_abort(SOURCE)),
            Item::FinishSnapshot => execute(storage.snapshot_finish(SOURCE)),
            Item::RelyOnSnapshot => execute(storage.snapshot_durable(SOURCE)),
            Item::RestartLog(meta) => execute(storage.reset_after(&meta)),
            Item::Load(index) => Some(Step::Load(index)),
            Item::Tell(told) => Some(Step::Tell(told)),
            Item::PrepareSpare => storage.prepare_spare().map(Step::PrepareSpare),
        }
    }

    fn write_snapshot(&mut self, write: SnapshotWrite, storage: &mut Storage) -> Option<Step> {
        match storage.snapshot_write(SOURCE, write.offset, write.data) {
            Ok(ops) => {
                self.received = write.last.then_some(write.meta).or(self.received.take());
                execute(ops)
            }
            Err(error) => Some(Step::Tell(Told::SnapshotRejected(Rejection::Part(error)))),
        }
    }

    /// Puts `items` before all that is left of the work at hand.
    fn do_first<const N: usize>(&mut self, items: [Item; N]) {
        for item in items.into_iter().rev() {
            self.agenda.push_front(item);
        }
    }
}

impl Told {
    /// Tells `node`.
    pub fn tell(self, node: &mut Node, now_ms: u64) {
        match self {
            Told::Persisted(number) => node.persisted(number, now_ms),
            Told::SnapshotRejected(_) => node.snapshot_rejected(now_ms),
            Told::SnapshotInstalled(meta) => node.snapshot_installed(meta, now_ms),
            Told::Entered(cluster) => node.cluster_entered(cluster, now_ms),
        }
    }
}

fn execute(ops: Vec<DiskOp>) -> Option<Step> {
    (!ops.is_empty()).then_some(Step::Execute(ops))
}
