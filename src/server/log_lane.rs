//! The one task that writes to the log: it carries out what the [`lane`](crate::lane) decides.
//!
//! A failed write or sync ends the process: see [`fence`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::disk::GlommioDisk;
use super::fence;
use super::journal;
use super::metrics::{Metrics, written_bytes};
use super::mind::Mind;
use super::snapshots::Snapshotter;
use crate::lane::{LogLane, LogWork, Step, Told};
use crate::rpc::wait::Signal;
use crate::storage::{DiskOp, Storage};

/// The log's lane, with all that its steps act through.
pub(super) struct LogDriver {
    lane: RefCell<LogLane>,
    /// Work was pushed.
    signal: Signal,
    mind: Rc<Mind>,
    snapshotter: Rc<Snapshotter>,
    storage: Rc<RefCell<Storage>>,
    disk: Rc<GlommioDisk>,
    metrics: Arc<Metrics>,
}

impl LogDriver {
    pub(super) fn new(
        mind: Rc<Mind>,
        snapshotter: Rc<Snapshotter>,
        storage: Rc<RefCell<Storage>>,
        disk: Rc<GlommioDisk>,
        metrics: Arc<Metrics>,
    ) -> LogDriver {
        let (lane, signal) = (RefCell::new(LogLane::new()), Signal::default());
        LogDriver { lane, signal, mind, snapshotter, storage, disk, metrics }
    }

    pub(super) fn push(&self, work: LogWork) {
        self.lane.borrow_mut().push(work);
        self.signal.raise();
    }

    /// Makes visible how much the log takes.
    pub(super) fn publish(&self) {
        self.metrics.storage.observe_log(&self.storage.borrow());
    }

    /// Works for as long as the process lives.
    pub(super) async fn run(&self) {
        loop {
            match self.next() {
                Some(step) => self.carry_out(step).await,
                None => self.signal.wait().await,
            }
        }
    }

    fn next(&self) -> Option<Step> {
        self.lane.borrow_mut().next(&mut self.storage.borrow_mut())
    }

    async fn carry_out(&self, step: Step) {
        match step {
            Step::Append(ops) => {
                let (bytes, started) = (written_bytes(&ops), Instant::now());
                fence::execute(&self.disk, ops).await;
                self.metrics.storage.log_written(bytes, started.elapsed());
            }
            Step::Execute(ops) => fence::execute(&self.disk, ops).await,
            Step::PrepareSpare(ops) => self.prepare_spare(ops),
            Step::Verify(meta) => {
                let is_sound = self.snapshotter.verify_received(&meta).await;
                self.lane.borrow_mut().verified(is_sound);
            }
            Step::Load(index) => self.snapshotter.load(index).await,
            Step::Tell(told) => {
                journal::record_told(&told);
                if matches!(told, Told::SnapshotInstalled(_)) {
                    self.metrics.storage.snapshot_installed();
                }
                self.mind.tell(|node, now_ms| told.tell(node, now_ms));
            }
        }
    }

    /// Zeroing a segment takes long, and the log needs none of it yet.
    fn prepare_spare(&self, ops: Vec<DiskOp>) {
        let (storage, disk) = (Rc::clone(&self.storage), Rc::clone(&self.disk));
        glommio::spawn_local(async move {
            fence::execute(&disk, ops).await;
            storage.borrow_mut().spare_ready();
        })
        .detach();
    }
}
