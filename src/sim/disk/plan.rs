//! How a disk behaves while it is honest: how long it takes, and how often it fails.

use crate::prng::Prng;
use crate::storage::DiskOp;

/// The habits of one disk. The default is a perfect one that takes no time.
///
/// Odds are given as "one in so many"; `None` is never. Ranges are in microseconds, both ends
/// included.
#[derive(Clone, Debug, Default)]
pub struct DiskPlan {
    /// How long a write takes to be seen, and a change of names.
    pub write_us: (u64, u64),
    /// How long what was written takes to be durable. A durable write takes both.
    pub sync_us: (u64, u64),
    /// How long a read takes.
    pub read_us: (u64, u64),
    /// How often an op is slow.
    pub slow_one_in: Option<u64>,
    /// How many times as long a slow op takes; less than 1 counts as 1.
    pub slow_factor: u64,
    /// How often a change fails.
    pub error_one_in: Option<u64>,
    /// How often a read fails.
    pub read_error_one_in: Option<u64>,
    /// How often a write ends early.
    pub short_write_one_in: Option<u64>,
    /// How much the files may take together; `None` is no limit.
    pub capacity_bytes: Option<u64>,
}

impl DiskPlan {
    /// How long `op` takes this time.
    pub(super) fn change_us(&self, op: &DiskOp, prng: &mut Prng) -> u64 {
        let took_us = match op {
            DiskOp::Create { .. }
            | DiskOp::Write(_)
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. } => between(self.write_us, prng),
            DiskOp::WriteDurable(_) => between(self.write_us, prng) + between(self.sync_us, prng),
            DiskOp::Sync { .. } | DiskOp::SyncDir => between(self.sync_us, prng),
        };
        self.slowed(took_us, prng)
    }

    /// How long a read takes this time.
    pub(super) fn read_us(&self, prng: &mut Prng) -> u64 {
        let took_us = between(self.read_us, prng);
        self.slowed(took_us, prng)
    }

    fn slowed(&self, took_us: u64, prng: &mut Prng) -> u64 {
        if one_in(self.slow_one_in, prng) { took_us * self.slow_factor.max(1) } else { took_us }
    }
}

/// Whether it happens this time.
pub(super) fn one_in(odds: Option<u64>, prng: &mut Prng) -> bool {
    odds.is_some_and(|odds| prng.below(odds) == 0)
}

fn between((least, most): (u64, u64), prng: &mut Prng) -> u64 {
    assert!(least <= most, "a range from {least} to {most} us");
    least + prng.below(most - least + 1)
}
