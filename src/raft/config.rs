//! What a server is told at its start: its settings, its limits, and what its disk remembers.

use crate::types::{Entry, HardState, MAX_ENTRY_BYTES, NodeId, SnapshotMeta};

/// The most bytes of proposed entries a leader holds that are uncommitted, or not on its own disk;
/// beyond it, proposals are refused with [`ProposeError::Full`](super::ProposeError::Full).
pub const MAX_UNSETTLED_BYTES: usize = 64 << 20;

/// The most reads a server holds unconfirmed; beyond it, reads are refused with
/// [`ReadError::Full`](super::ReadError::Full).
pub const MAX_PENDING_READS: usize = 64 << 10;

/// The most bytes one part of a snapshot may have on its way to a follower.
pub const MAX_SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// The most bytes of committed entries in one [`Ready`](super::Ready); the rest comes in the next.
/// A single larger entry still comes alone.
pub const MAX_COMMITTED_BYTES: usize = 16 << 20;

/// The settings of one server. All servers of a cluster should have the same times.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this server is.
    pub id: NodeId,
    /// A follower campaigns after a silence of this long to twice this long, chosen anew each time;
    /// a leader steps down after this long without a majority.
    pub election_timeout_ms: u64,
    /// How often a leader shows that it is alive. A tenth of the election timeout is usual.
    pub heartbeat_interval_ms: u64,
    /// The most bytes of entries in one append; a single larger entry still goes alone.
    pub max_append_bytes: usize,
    /// The most unacknowledged appends on their way to one follower.
    pub max_inflight_appends: usize,
    /// The most bytes of unacknowledged entries on their way to one follower; a single larger entry
    /// still goes alone.
    pub max_inflight_bytes: usize,
    /// Seeds the election timeouts and the numbers of forwarded reads. It must differ at each start
    /// of a server: a late answer to a read of its former life must match none of this one.
    pub seed: u64,
}

/// What the disk holds when a server starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last durable term and vote.
    pub hard_state: HardState,
    /// The newest durable snapshot; index 0 where there is none. A cluster is bootstrapped by
    /// starting its first servers with a snapshot at index 0 that holds their configuration, or
    /// with a configuration as their first entry.
    pub snapshot: SnapshotMeta,
    /// The durable log: contiguous, reaching back at least to the entry after the snapshot. Entries
    /// at or before the snapshot are dropped.
    pub entries: Vec<Entry>,
}

impl Config {
    /// Settings for a network whose round trips stay well below 50 ms. An election begins 300 to
    /// 600 ms after a leader falls silent, so writes resume within a second of its death; a heartbeat
    /// every 50 ms leaves room for several to be late.
    #[must_use]
    pub fn lan(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            election_timeout_ms: 300,
            heartbeat_interval_ms: 50,
            max_append_bytes: 4 << 20,
            max_inflight_appends: 256,
            max_inflight_bytes: 16 << 20,
            seed,
        }
    }

    /// # Panics
    /// When a limit makes no sense; the driver has checked what a user may set.
    pub(super) fn check(&self) {
        assert!(self.id.0 != 0, "a server's id is never 0");
        assert!(self.heartbeat_interval_ms > 0, "the heartbeat interval must not be 0");
        assert!(
            self.election_timeout_ms > self.heartbeat_interval_ms,
            "the election timeout must be longer than the heartbeat interval"
        );
        assert!(
            (1..=MAX_ENTRY_BYTES).contains(&self.max_append_bytes),
            "an append holds 1 to {MAX_ENTRY_BYTES} bytes of entries"
        );
        assert!(self.max_inflight_appends > 0, "at least one append must be allowed in flight");
        assert!(self.max_inflight_bytes > 0, "at least one byte must be allowed in flight");
    }
}
