//! Numbers for a person on call, in Prometheus' text format at `/metrics`.
//!
//! ```text
//!  rpc      calls and connections       counted on each executor, published 4 times a second
//!  raft     role, log, followers        looked at 4 times a second; effects counted as they come
//!  gossip   members, suspicions         the same
//!  storage  log, snapshots, map, disk   counted where the work is done; space at each scrape
//!  process  CPU, memory, files          at each scrape
//! ```
//!
//! What decides knows nothing of this: everything is derived from what it says of itself and from
//! its effects. docs/metrics.md lists all names for users.

mod endpoint;
mod gossip;
mod process;
mod raft;
mod register;
mod rpc;
mod storage;

use std::path::Path;
use std::time::Duration;

use prometheus::{Registry, TextEncoder};

pub(super) use endpoint::serve;
pub(super) use rpc::RpcTally;
pub(super) use storage::written_bytes;

use crate::node::{Effect, Node};
use gossip::GossipMetrics;
use process::ProcessMetrics;
use raft::RaftMetrics;
use register::Register;
use rpc::RpcMetrics;
use storage::StorageMetrics;

/// How often what executors count, and what the node says of itself, is made visible.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);

/// All metrics of this server.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) rpc: RpcMetrics,
    pub(super) raft: RaftMetrics,
    pub(super) gossip: GossipMetrics,
    pub(super) storage: StorageMetrics,
    process: ProcessMetrics,
}

impl Metrics {
    /// Metrics of a server whose data is in `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Metrics {
        let register = Register::default();
        let build =
            register.gauges("mokv_build_info", "The version that runs, always 1", "version");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Metrics {
            rpc: RpcMetrics::new(&register),
            raft: RaftMetrics::new(&register),
            gossip: GossipMetrics::new(&register),
            storage: StorageMetrics::new(&register, data_dir),
            process: ProcessMetrics::new(&register),
            registry: register.into_registry(),
        }
    }

    /// The node's driver is about to carry out `effect`.
    pub(super) fn count(&self, effect: &Effect) {
        self.raft.count(effect);
        self.gossip.count(effect);
    }

    /// Takes over what the node says of itself at `now_ms` of its clock.
    pub(super) fn observe(&self, node: &Node, now_ms: u64) {
        self.raft.observe(node, now_ms);
        self.gossip.observe(node.gossip());
    }

    /// Everything, as it is now.
    fn text(&self) -> Result<String, prometheus::Error> {
        self.storage.measure_disk();
        self.process.measure();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_server_has_every_kind_of_metric_with_its_help() {
        let metrics = Metrics::new(&std::env::temp_dir());
        metrics.rpc.tally().publish();
        let text = metrics.text().expect("all metrics have values");
        for name in [
            "mokv_build_info",
            "mokv_rpc_requests_total",
            "mokv_raft_term",
            "mokv_gossip_packets_sent_total",
            "mokv_wal_fsync_duration_seconds",
            "mokv_disk_available_bytes",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is missing in:\n{text}");
        }
    }
}
