//! The one task that writes to the log: what waits while the disk is busy becomes the next write.
//!
//! ```text
//!  queue: P1 P2 P3 T P4     P: persist   T: truncate
//!         \_____/            one write, one sync; then the node learns that 3 is durable
//! ```
//!
//! A failed write or sync ends the process: see [`fence`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::disk::GlommioDisk;
use super::fence;
use super::metrics::Metrics;
use super::mind::Mind;
use super::snapshots::Snapshotter;
use crate::node::Persist;
use crate::raft::{ReadyNumber, SnapshotWrite};
use crate::rpc::wait::Signal;
use crate::storage::{DiskOp, SnapshotSource, Storage};
use crate::types::{ClusterId, Entry, HardState, Index, SnapshotMeta};

/// One thing to make durable, in its turn.
#[derive(Debug)]
pub(super) enum LogWork {
    /// Term, vote, entries, parts of a received snapshot.
    Persist(Persist),
    /// A snapshot covers the log before this index.
    Truncate { first_retained: Index },
    /// The first entry of a new cluster, then its id.
    Create { cluster: ClusterId, entry: Entry, hard_state: HardState },
    /// The id of the cluster to join.
    Join { cluster: ClusterId },
}

/// The queue of the log. It is bounded by what consensus lets be in flight.
pub(super) struct LogLane {
    queue: RefCell<VecDeque<LogWork>>,
    signal: Signal,
    mind: Rc<Mind>,
    snapshotter: Rc<Snapshotter>,
    storage: Rc<RefCell<Storage>>,
    disk: Rc<GlommioDisk>,
    metrics: Arc<Metrics>,
}

/// Consecutive entries, and the newest term and vote, that one write makes durable.
#[derive(Default)]
struct Group {
    number: Option<ReadyNumber>,
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
}

impl LogLane {
    pub(super) fn new(
        mind: Rc<Mind>,
        snapshotter: Rc<Snapshotter>,
        storage: Rc<RefCell<Storage>>,
        disk: Rc<GlommioDisk>,
        metrics: Arc<Metrics>,
    ) -> LogLane {
        let (queue, signal) = (RefCell::default(), Signal::default());
        LogLane { queue, signal, mind, snapshotter, storage, disk, metrics }
    }

    pub(super) fn push(&self, work: LogWork) {
        self.queue.borrow_mut().push_back(work);
        self.signal.raise();
    }

    /// Works for as long as the process lives.
    pub(super) async fn run(&self) {
        loop {
            let Some(work) = self.next() else {
                self.signal.wait().await;
                continue;
            };
            match work {
                LogWork::Persist(persist) => self.persist(persist).await,
                LogWork::Truncate { first_retained } => {
                    let ops = self.storage.borrow_mut().truncate_before(first_retained);
                    self.execute(ops).await;
                }
                LogWork::Create { cluster, entry, hard_state } => {
                    let ops = self.storage.borrow_mut().append(Some(hard_state), &[entry]);
                    self.execute(ops).await;
                    self.enter(cluster).await;
                }
                LogWork::Join { cluster } => self.enter(cluster).await,
            }
            self.prepare_spare();
        }
    }

    fn next(&self) -> Option<LogWork> {
        self.queue.borrow_mut().pop_front()
    }

    /// Makes `first` durable together with all that follows it and can be written with it.
    async fn persist(&self, first: Persist) {
        let mut group = Group::default();
        let mut snapshot_writes = group.take_in(first);
        while snapshot_writes.is_empty()
            && let Some(next) = self.next_that_fits(&group)
        {
            snapshot_writes = group.take_in(next);
        }
        let number = group.number.expect("a group has at least one member");
        if group.hard_state.is_some() || !group.entries.is_empty() {
            let ops = self.storage.borrow_mut().append(group.hard_state, &group.entries);
            let started = Instant::now();
            self.execute(ops).await;
            self.metrics.log_written(started);
        }
        let mut complete = None;
        for write in snapshot_writes {
            complete = self.receive_snapshot(write).await.or(complete);
        }
        self.mind.tell(|node, now_ms| node.persisted(number, now_ms));
        if let Some(meta) = complete {
            self.install(meta).await;
        }
    }

    fn next_that_fits(&self, group: &Group) -> Option<Persist> {
        let mut queue = self.queue.borrow_mut();
        let fits = match queue.front()? {
            LogWork::Persist(persist) => group.fits(persist),
            LogWork::Truncate { .. } | LogWork::Create { .. } | LogWork::Join { .. } => false,
        };
        match fits.then(|| queue.pop_front())?? {
            LogWork::Persist(persist) => Some(persist),
            LogWork::Truncate { .. } | LogWork::Create { .. } | LogWork::Join { .. } => None,
        }
    }

    /// Writes a part of the snapshot that the leader sends; returns what it is when it is complete.
    async fn receive_snapshot(&self, write: SnapshotWrite) -> Option<SnapshotMeta> {
        let source = SnapshotSource::Received;
        if write.offset == 0 {
            let ops = self.storage.borrow_mut().snapshot_begin(source, write.meta.index);
            self.execute(ops).await;
        }
        let ops = self.storage.borrow_mut().snapshot_write(source, write.offset, write.data);
        match ops {
            Ok(ops) => self.execute(ops).await,
            Err(error) => {
                tracing::warn!(%error, "a part of a received snapshot does not fit; starting over");
                self.mind.tell(|node, now_ms| node.snapshot_rejected(now_ms));
                return None;
            }
        }
        write.last.then_some(write.meta)
    }

    /// Makes a received snapshot the state of this server, if it is whole and sound.
    async fn install(&self, meta: SnapshotMeta) {
        let source = SnapshotSource::Received;
        if !self.snapshotter.verify_received(&meta).await {
            let ops = self.storage.borrow_mut().snapshot_abort(source);
            self.execute(ops).await;
            self.mind.tell(|node, now_ms| node.snapshot_rejected(now_ms));
            return;
        }
        let ops = self.storage.borrow_mut().snapshot_finish(source);
        self.execute(ops).await;
        let ops = self.storage.borrow_mut().snapshot_durable(source);
        self.execute(ops).await;
        let ops = self.storage.borrow_mut().reset_after(&meta);
        self.execute(ops).await;
        tracing::info!(index = meta.index.0, "installed a snapshot from the leader");
        self.snapshotter.load(meta.index).await;
        self.mind.tell(|node, now_ms| node.snapshot_installed(meta, now_ms));
    }

    async fn enter(&self, cluster: ClusterId) {
        let ops = self.storage.borrow_mut().join_cluster(cluster);
        self.execute(ops).await;
        self.mind.tell(|node, now_ms| node.cluster_entered(cluster, now_ms));
    }

    /// Has a zeroed segment at hand before the log needs it.
    fn prepare_spare(&self) {
        let Some(ops) = self.storage.borrow_mut().prepare_spare() else { return };
        let (storage, disk) = (Rc::clone(&self.storage), Rc::clone(&self.disk));
        glommio::spawn_local(async move {
            fence::execute(&disk, ops).await;
            storage.borrow_mut().spare_ready();
        })
        .detach();
    }

    async fn execute(&self, ops: Vec<DiskOp>) {
        fence::execute(&self.disk, ops).await;
    }
}

impl Group {
    /// Whether `next` can be written together with what is here: its entries follow without a gap.
    fn fits(&self, next: &Persist) -> bool {
        match (self.entries.last(), next.entries.first()) {
            (Some(last), Some(first)) => first.index() == last.index().next(),
            (None, _) | (_, None) => true,
        }
    }

    /// Takes `next` in, and returns its parts of a snapshot, which are written after the group.
    fn take_in(&mut self, mut next: Persist) -> Vec<SnapshotWrite> {
        self.number = Some(next.number);
        self.hard_state = next.hard_state.or(self.hard_state);
        self.entries.append(&mut next.entries);
        next.snapshot_writes
    }
}
