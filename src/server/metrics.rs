//! Numbers for a person on call, in Prometheus' text format at `/metrics`.
//!
//! The endpoint is a plain thread: it shares counters with the executors and takes none of their time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::envelope::Question;
use crate::node::{Role, Status};

type Number = Gauge<u64, AtomicU64>;

/// All metrics of this server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    is_leader: Number,
    has_leader: Number,
    term: Number,
    commit_index: Number,
    applied_index: Number,
    snapshot_index: Number,
    revision: Number,
    keys: Number,
    writes: Counter,
    reads: Counter,
    fsync_seconds: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("mokv");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
        let mut gauge = |name: &str, help: &str| {
            let gauge = Number::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let metrics = Metrics {
            is_leader: gauge("raft_is_leader", "1 if this server leads"),
            has_leader: gauge("raft_has_leader", "1 if this server knows a leader"),
            term: gauge("raft_term", "The current term"),
            commit_index: gauge("raft_commit_index", "The last entry known to be committed"),
            applied_index: gauge("raft_applied_index", "The last entry given to the map"),
            snapshot_index: gauge("raft_snapshot_index", "The cut of the newest snapshot"),
            revision: gauge("store_revision", "Writes applied since the cluster was made"),
            keys: gauge("store_keys", "Keys in the map"),
            writes: Counter::default(),
            reads: Counter::default(),
            fsync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            registry: Registry::default(),
        };
        registry.register(
            "rpc_writes",
            "Writes that clients asked of this server",
            metrics.writes.clone(),
        );
        registry.register(
            "rpc_reads",
            "Linearizable reads that clients asked of this server",
            metrics.reads.clone(),
        );
        registry.register_with_unit(
            "wal_fsync_duration",
            "How long a durable write of the log took",
            Unit::Seconds,
            metrics.fsync_seconds.clone(),
        );
        Metrics { registry, ..metrics }
    }

    /// A client asked for something.
    pub(super) fn count(&self, question: &Question) {
        let counter = match question {
            Question::Write(..) => &self.writes,
            Question::Get(..) | Question::List(_) => &self.reads,
            Question::Servers(_) | Question::Status(_) | Question::Leave(_) => return,
            Question::Transfer(..) => return,
        };
        counter.inc();
    }

    /// A durable write that began at `started` is done.
    pub(super) fn log_written(&self, started: Instant) {
        self.fsync_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Takes over what the node says of itself.
    pub(super) fn observe(&self, status: &Status, keys: u64) {
        self.is_leader.set(u64::from(status.role == Role::Leader));
        self.has_leader.set(u64::from(status.leader.is_some()));
        self.term.set(status.term.0);
        self.commit_index.set(status.commit.0);
        self.applied_index.set(status.applied.0);
        self.snapshot_index.set(status.snapshot_index.0);
        self.revision.set(status.revision.0);
        self.keys.set(keys);
    }
}

/// Serves the metrics at `addr` on a thread of its own, until the process ends.
pub(super) fn serve(metrics: Arc<Metrics>, addr: SocketAddr) -> io::Result<()> {
    let server = tiny_http::Server::http(addr).map_err(io::Error::other)?;
    let answer = move || {
        for request in server.incoming_requests() {
            if let Err(error) = respond(&metrics, request) {
                tracing::debug!(%error, "a scrape was not answered");
            }
        }
    };
    std::thread::Builder::new().name("mokv-metrics".to_owned()).spawn(answer)?;
    Ok(())
}

fn respond(metrics: &Metrics, request: tiny_http::Request) -> io::Result<()> {
    if request.url() != "/metrics" {
        let hint = tiny_http::Response::from_string("the metrics are at /metrics\n");
        return request.respond(hint.with_status_code(404));
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(io::Error::other)?;
    let content_type: tiny_http::Header =
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
            .parse()
            .expect("a constant header");
    request.respond(tiny_http::Response::from_string(text).with_header(content_type))
}
