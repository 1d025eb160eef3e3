//! The few facts that all executors and the metrics endpoint read: plain counters, no locks.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::Settings;

/// How far the server is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serving.
    Running,
    /// Told to stop: leadership is handed over, open calls are answered.
    Draining,
    /// Drained: connections are closed.
    Closing,
}

/// Facts shared by all executors. Each is written by one of them.
#[derive(Debug)]
pub(super) struct Shared {
    /// The server's label.
    pub(super) name: String,
    serving: AtomicBool,
    recovered: AtomicBool,
    removed: AtomicBool,
    phase: AtomicU8,
    keys: Vec<AtomicU64>,
    payload_bytes: Vec<AtomicU64>,
}

impl Shared {
    pub(super) fn new(settings: &Settings, executors: usize) -> Shared {
        let zeros = || (0..executors).map(|_| AtomicU64::new(0)).collect();
        Shared {
            name: settings.node_name.clone(),
            serving: AtomicBool::new(false),
            recovered: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Running as u8),
            keys: zeros(),
            payload_bytes: zeros(),
        }
    }

    /// Whether this server knows a leader and has applied up to it.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Whether the map holds what the disk held.
    pub(super) fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    pub(super) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    /// Whether this server was removed from its cluster because it asked to be.
    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub(super) fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Moves on to `phase`; there is no way back.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Keys in the whole map.
    pub(super) fn keys(&self) -> u64 {
        sum(&self.keys)
    }

    /// The bytes of all keys and values.
    pub(super) fn payload_bytes(&self) -> u64 {
        sum(&self.payload_bytes)
    }

    /// How much is in the shard of an executor.
    pub(super) fn set_size(&self, executor: usize, keys: u64, payload_bytes: u64) {
        self.keys[executor].store(keys, Ordering::Relaxed);
        self.payload_bytes[executor].store(payload_bytes, Ordering::Relaxed);
    }
}

fn sum(parts: &[AtomicU64]) -> u64 {
    parts.iter().map(|part| part.load(Ordering::Relaxed)).sum()
}
