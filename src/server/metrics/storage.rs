//! The log, snapshots, the map, and the room on the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::register::{Register, set};
use crate::storage::{DiskOp, Storage};

/// Seconds: from a disk with a cache that survives power cuts to one that is about to fail.
const FSYNC_BOUNDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];
/// Seconds: a snapshot leaves the disk to the log most of the time.
const SNAPSHOT_BOUNDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of what is kept.
pub(in crate::server) struct StorageMetrics {
    fsync_duration: Histogram,
    written_bytes: IntCounter,
    log_bytes: IntGauge,
    log_segments: IntGauge,
    snapshot_duration: Histogram,
    snapshot_bytes: IntGauge,
    snapshot_installs: IntCounter,
    keys: IntGauge,
    payload_bytes: IntGauge,
    revision: IntGauge,
    disk_size: IntGauge,
    disk_available: IntGauge,
    data_dir: PathBuf,
}

impl StorageMetrics {
    pub(super) fn new(register: &Register, data_dir: &Path) -> StorageMetrics {
        let gauge = |name, help| register.gauge(name, help);
        StorageMetrics {
            fsync_duration: register.histogram(
                "mokv_wal_fsync_duration_seconds",
                "How long a durable write of the log took: every write of a client waits for one",
                &FSYNC_BOUNDS,
            ),
            written_bytes: register.counter(
                "mokv_wal_written_bytes_total",
                "Bytes written to the log, with what fills up whole blocks",
            ),
            log_bytes: gauge("mokv_wal_size_bytes", "What the log's segments take on the disk"),
            log_segments: gauge("mokv_wal_segments", "Segments of the log"),
            snapshot_duration: register.histogram(
                "mokv_snapshot_duration_seconds",
                "How long it took to write a snapshot of this server's own map",
                &SNAPSHOT_BOUNDS,
            ),
            snapshot_bytes: gauge(
                "mokv_snapshot_size_bytes",
                "The newest snapshot that was written",
            ),
            snapshot_installs: register.counter(
                "mokv_snapshot_installs_total",
                "Snapshots from the leader that replaced this server's map",
            ),
            keys: gauge("mokv_store_keys", "Keys in the map"),
            payload_bytes: gauge(
                "mokv_store_payload_bytes",
                "Bytes of all keys and values, without what it takes to keep them",
            ),
            revision: gauge("mokv_store_revision", "Writes applied since the cluster was made"),
            disk_size: gauge("mokv_disk_size_bytes", "Size of the data directory's filesystem"),
            disk_available: gauge(
                "mokv_disk_available_bytes",
                "What is left for this server on the data directory's filesystem",
            ),
            data_dir: data_dir.to_owned(),
        }
    }

    /// A durable write of these bytes to the log is done.
    pub(in crate::server) fn log_written(&self, bytes: u64, took: Duration) {
        self.written_bytes.inc_by(bytes);
        self.fsync_duration.observe(took.as_secs_f64());
    }

    /// A snapshot of the own map is durable.
    pub(in crate::server) fn snapshot_taken(&self, bytes: u64, took: Duration) {
        self.snapshot_duration.observe(took.as_secs_f64());
        set(&self.snapshot_bytes, bytes);
    }

    /// A snapshot from the leader is in the map.
    pub(in crate::server) fn snapshot_installed(&self) {
        self.snapshot_installs.inc();
    }

    /// Takes over how much is kept on disk.
    pub(in crate::server) fn observe_log(&self, storage: &Storage) {
        set(&self.log_bytes, storage.log_bytes());
        set(&self.log_segments, storage.log_segments() as u64);
    }

    /// Takes over how much is kept in memory.
    pub(in crate::server) fn observe_map(&self, keys: u64, payload_bytes: u64, revision: u64) {
        set(&self.keys, keys);
        set(&self.payload_bytes, payload_bytes);
        set(&self.revision, revision);
    }

    /// Asks how much room there is. A directory that cannot be asked keeps its last numbers.
    pub(super) fn measure_disk(&self) {
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            set(&self.disk_size, disk.f_blocks * disk.f_frsize);
            set(&self.disk_available, disk.f_bavail * disk.f_frsize);
        }
    }
}

/// How many bytes these changes write.
pub(in crate::server) fn written_bytes(ops: &[DiskOp]) -> u64 {
    let bytes = |op: &DiskOp| match op {
        DiskOp::Write(write) | DiskOp::WriteDurable(write) => write.padded_bytes as u64,
        DiskOp::Create { .. }
        | DiskOp::Sync { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Remove { .. }
        | DiskOp::SyncDir => 0,
    };
    ops.iter().map(bytes).sum()
}
