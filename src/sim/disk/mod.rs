//! The disk of one simulated machine: slow, failing, full or hung, killed with writes in flight, and
//! now and then a liar.
//!
//! ```text
//!  driver ── submit(op) ──> in flight ── complete(op) ──> done, as durable as the op promises
//!                               |              └────────> failed: any part of it is there
//!                               ├── kill ───────────────> any part of it is there, not durable
//!                               └── lose_power ─────────> the same, and what was not durable
//!                                                         before may be gone too
//! ```
//!
//! An op takes effect when it completes. Nobody could tell whether it did so before: whoever waits
//! for an op touches none of its files until then. Only a crash can see the middle of it, so the
//! middle is made up then.
//!
//! While a machine runs, its disk may fail but doesn't lie. Lies ([`Lie`]) change durable bytes
//! while it is down, because the log is read only at recovery. Which machines may be lied to at all
//! is for the [`Atlas`] to say.

mod atlas;
mod ledger;
mod lies;
mod plan;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use thiserror::Error;

pub use self::atlas::Atlas;
use self::ledger::Ledger;
pub use self::lies::{Answer, Lie, Told};
pub use self::plan::DiskPlan;
use self::plan::one_in;
use crate::prng::Prng;
use crate::storage::{BlockWrite, CrashDisk, Disk, DiskOp, FileName, SECTOR_BYTES};

/// How many ops may be in flight: one in each of storage's lanes, and some to spare.
const MAX_IN_FLIGHT: usize = 8;

/// One machine's disk.
#[derive(Debug)]
pub struct SimDisk {
    bytes: CrashDisk,
    prng: Prng,
    plan: DiskPlan,
    /// Where the blocks of the log are, learned from the ops alone.
    ledger: Ledger,
    /// Submitted and not completed, oldest first; no two of them touch the same place.
    in_flight: Vec<DiskOp>,
    hung: bool,
    full: bool,
    /// How many times as long everything takes; at least 1.
    slow_factor: u64,
    /// Whether a lie was told that recovery may refuse, and no op has come since.
    lied: bool,
    /// Files whose last write was broken off, or lied about: two copies in one may differ.
    unsettled: BTreeSet<FileName>,
}

/// When an op will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// Complete it after this time.
    Done {
        /// Microseconds from now on.
        after_us: u64,
    },
    /// The disk hangs: the op stays in flight until the disk goes on or the process is killed.
    Hung,
}

/// Why a change failed. Any part of it may be there.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DiskFault {
    /// The device said so.
    #[error("the device failed")]
    Failed,
    /// Only the front of a write was written.
    #[error("only {written_bytes} bytes were written")]
    Short {
        /// How much was.
        written_bytes: usize,
    },
    /// There is no room.
    #[error("the disk is full")]
    Full,
}

impl SimDisk {
    /// An empty disk; `seed` decides everything that `plan` leaves open.
    #[must_use]
    pub fn new(seed: u64, plan: DiskPlan) -> SimDisk {
        SimDisk {
            bytes: CrashDisk::default(),
            prng: Prng::new(seed),
            plan,
            ledger: Ledger::default(),
            in_flight: Vec::new(),
            hung: false,
            full: false,
            slow_factor: 1,
            lied: false,
            unsettled: BTreeSet::new(),
        }
    }

    /// Gives it other habits from now on.
    pub fn set_plan(&mut self, plan: DiskPlan) {
        self.plan = plan;
    }

    /// Takes an op into flight.
    ///
    /// # Panics
    /// When more ops are in flight than storage has lanes.
    pub fn submit(&mut self, op: &DiskOp) -> Submitted {
        assert!(self.in_flight.len() < MAX_IN_FLIGHT, "too many ops are in flight");
        self.lied = false;
        self.in_flight.push(op.clone());
        if self.hung { Submitted::Hung } else { Submitted::Done { after_us: self.delay_us(op) } }
    }

    /// Ends an op that is in flight.
    ///
    /// # Errors
    /// By plan, or when the disk is full. Any part of the op may then be there.
    ///
    /// # Panics
    /// When the op is not in flight, names a file that doesn't exist, or the disk hangs.
    pub fn complete(&mut self, op: &DiskOp) -> Result<(), DiskFault> {
        assert!(!self.hung, "nothing completes on a disk that hangs");
        let at = self.in_flight.iter().position(|flying| is_same_place(flying, op));
        self.in_flight.remove(at.expect("an op completes that was submitted"));
        if let Some(fault) = self.fault_of(op) {
            self.unsettled.extend(written(op).map(|write| write.file));
            self.fail(op, fault);
            return Err(fault);
        }
        self.begin(op);
        self.bytes.finish(op);
        self.ledger.finished(op);
        if let Some(write) = written(op) {
            self.unsettled.remove(&write.file);
        }
        Ok(())
    }

    /// How long an op takes this time: for those that a disk which hung has still to do.
    pub fn delay_us(&mut self, op: &DiskOp) -> u64 {
        self.plan.change_us(op, &mut self.prng) * self.slow_factor
    }

    /// How long a read takes this time.
    pub fn read_delay_us(&mut self) -> u64 {
        self.plan.read_us(&mut self.prng) * self.slow_factor
    }

    /// Reads up to `len_bytes` at `offset`, fewer only where the file ends.
    ///
    /// # Errors
    /// By plan, or when there is no such file.
    pub fn read(&mut self, file: FileName, offset: u64, len_bytes: usize) -> io::Result<Bytes> {
        if one_in(self.plan.read_error_one_in, &mut self.prng) {
            return Err(unreadable());
        }
        self.bytes.read_at(file, offset, len_bytes).map(Bytes::from)
    }

    /// What recovery reads: by plan, one of its reads may fail.
    pub fn view(&mut self) -> ReadView<'_> {
        // Recovery makes few reads, so which of them fails is drawn once.
        let fails_in = self.plan.read_error_one_in.map(|odds| self.prng.below(odds));
        ReadView { bytes: &self.bytes, fails_in: Cell::new(fails_in) }
    }

    /// The process dies. What it saw stays; of what was in flight any part has landed.
    pub fn kill(&mut self) {
        for op in std::mem::take(&mut self.in_flight) {
            self.unsettled.extend(written(&op).map(|write| write.file));
            self.land_partly(&op);
        }
    }

    /// The machine loses its power, and its process with it.
    pub fn lose_power(&mut self) {
        self.kill();
        self.bytes.lose_power(&mut self.prng);
        self.ledger.keep_only(self.bytes.files());
    }

    /// An empty disk takes this one's place. The machine must be down.
    ///
    /// # Panics
    /// When ops are in flight.
    pub fn wipe(&mut self) {
        assert!(self.in_flight.is_empty(), "the disk of a running machine is never wiped");
        self.bytes = CrashDisk::default();
        self.ledger = Ledger::default();
        self.lied = false;
        self.unsettled.clear();
    }

    /// Lets all ops hang that are submitted from now on and those in flight, or lets them go on:
    /// then each that was `Hung` is to be completed after a new [`delay_us`](SimDisk::delay_us).
    pub fn set_hung(&mut self, hung: bool) {
        self.hung = hung;
    }

    /// Whether it hangs; an op whose time comes then has to wait.
    #[must_use]
    pub fn is_hung(&self) -> bool {
        self.hung
    }

    /// Makes everything that is submitted from now on take `factor` times as long; 1 is normal.
    pub fn set_slow(&mut self, factor: u64) {
        self.slow_factor = factor.max(1);
    }

    /// Fills the disk up with things that are not ours, or makes room again.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// How many bytes the files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.bytes.used_bytes()
    }

    fn fault_of(&mut self, op: &DiskOp) -> Option<DiskFault> {
        let growth_bytes = self.growth_bytes(op);
        if growth_bytes > 0 && growth_bytes > self.room_bytes() {
            return Some(DiskFault::Full);
        }
        if one_in(self.plan.error_one_in, &mut self.prng) {
            return Some(DiskFault::Failed);
        }
        let write = written(op)?;
        one_in(self.plan.short_write_one_in, &mut self.prng).then(|| {
            let sectors = (write.padded_bytes / SECTOR_BYTES) as u64;
            let written_bytes = self.prng.below(sectors.max(1)) as usize * SECTOR_BYTES;
            DiskFault::Short { written_bytes }
        })
    }

    fn growth_bytes(&self, op: &DiskOp) -> u64 {
        match op {
            DiskOp::Create { len_bytes, .. } => *len_bytes,
            DiskOp::Write(write) | DiskOp::WriteDurable(write) => {
                let len_bytes = self.bytes.len_bytes(write.file).expect("the file exists");
                write.end().saturating_sub(len_bytes)
            }
            DiskOp::Sync { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::SyncDir => 0,
        }
    }

    fn room_bytes(&self) -> u64 {
        if self.full {
            return 0;
        }
        let capacity_bytes = self.plan.capacity_bytes.unwrap_or(u64::MAX);
        capacity_bytes.saturating_sub(self.bytes.used_bytes())
    }

    fn fail(&mut self, op: &DiskOp, fault: DiskFault) {
        match (fault, written(op)) {
            (DiskFault::Short { written_bytes }, Some(write)) => {
                self.begin(&DiskOp::Write(front_of(write, written_bytes)));
            }
            (DiskFault::Full, Some(write)) => {
                let len_bytes = self.bytes.len_bytes(write.file).expect("the file exists");
                let end = len_bytes.saturating_add(self.room_bytes());
                let fits = end.saturating_sub(write.offset) as usize;
                self.begin(&DiskOp::Write(front_of(write, fits)));
            }
            (DiskFault::Failed, _) | (DiskFault::Short { .. } | DiskFault::Full, None) => {
                self.land_partly(op);
            }
        }
    }

    /// What an op that was broken off has done.
    fn land_partly(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Create { file, len_bytes } => {
                let sectors = (*len_bytes).min(self.room_bytes()) / SECTOR_BYTES as u64;
                let len_bytes = self.prng.below(sectors + 1) * SECTOR_BYTES as u64;
                if self.prng.below(2) == 0 {
                    self.begin(&DiskOp::Create { file: *file, len_bytes });
                }
            }
            DiskOp::Rename { .. } | DiskOp::Remove { .. } => {
                if self.prng.below(2) == 0 {
                    self.begin(op);
                }
            }
            DiskOp::Write(_) | DiskOp::WriteDurable(_) | DiskOp::Sync { .. } => {
                self.begin(op);
                self.bytes.tear(op, &mut self.prng);
            }
            DiskOp::SyncDir => {}
        }
    }

    fn begin(&mut self, op: &DiskOp) {
        self.bytes.begin(op);
        self.ledger.begun(op);
    }
}

/// A disk as recovery reads it.
#[derive(Debug)]
pub struct ReadView<'a> {
    bytes: &'a CrashDisk,
    /// How many more reads succeed before one fails; `None` when none will.
    fails_in: Cell<Option<u64>>,
}

impl Disk for ReadView<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.bytes.list()
    }

    fn len_bytes(&self, file: FileName) -> io::Result<u64> {
        self.bytes.len_bytes(file)
    }

    fn read_at(&self, file: FileName, offset: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
        let fails_in = self.fails_in.get();
        self.fails_in.set(fails_in.and_then(|reads| reads.checked_sub(1)));
        if fails_in == Some(0) {
            Err(unreadable())
        } else {
            self.bytes.read_at(file, offset, len_bytes)
        }
    }
}

fn unreadable() -> io::Error {
    io::Error::other("the device would not read")
}

fn written(op: &DiskOp) -> Option<&BlockWrite> {
    match op {
        DiskOp::Write(write) | DiskOp::WriteDurable(write) => Some(write),
        DiskOp::Create { .. }
        | DiskOp::Sync { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Remove { .. }
        | DiskOp::SyncDir => None,
    }
}

/// The front of a write, as far as whole sectors of `most_bytes` go.
fn front_of(write: &BlockWrite, most_bytes: usize) -> BlockWrite {
    let padded_bytes = most_bytes.min(write.padded_bytes) / SECTOR_BYTES * SECTOR_BYTES;
    let mut bytes = write.parts.concat();
    bytes.truncate(padded_bytes);
    BlockWrite { parts: vec![bytes.into()], padded_bytes, ..*write }
}

/// Whether two ops are one, given that no two in flight touch the same place.
fn is_same_place(a: &DiskOp, b: &DiskOp) -> bool {
    match (written(a), written(b)) {
        (Some(a), Some(b)) => (a.file, a.offset) == (b.file, b.offset),
        (None, None) => a == b,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
