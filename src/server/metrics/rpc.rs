//! What clients ask, and how long it takes.
//!
//! Each executor counts for itself, without atomics; what it has counted is added to the shared
//! metrics a few times a second.

use std::cell::Cell;
use std::time::Duration;

use prometheus::core::AtomicU64;
use prometheus::core::GenericLocalCounter;
use prometheus::local::LocalHistogram;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::register::Register;
use crate::rpc::grpc::{CallEnd, Method, Observer};

/// Seconds. A call takes one durable write and one round trip, so the bounds begin below the fastest
/// disk and end where clients have given up.
const DURATION_BOUNDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// The metrics of all executors' calls.
pub(in crate::server) struct RpcMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
    connections: IntGauge,
    refused: IntCounter,
}

/// What one executor has counted.
pub(in crate::server) struct RpcTally {
    /// By the places of the method and of the end.
    requests: Vec<Vec<GenericLocalCounter<AtomicU64>>>,
    /// By the place of the method; none for those that last as long as the client likes.
    durations: Vec<Option<LocalHistogram>>,
    in_flight: LocalGauge,
    connections: LocalGauge,
    refused: GenericLocalCounter<AtomicU64>,
}

/// One executor's part of a gauge that is the sum over all executors.
struct LocalGauge {
    now: Cell<i64>,
    published: Cell<i64>,
    sum: IntGauge,
}

impl RpcMetrics {
    pub(super) fn new(register: &Register) -> RpcMetrics {
        RpcMetrics {
            requests: register.counters(
                "mokv_rpc_requests_total",
                "Calls that have ended, by method and gRPC status code; CANCELLED: the client was \
                 gone first",
                &["method", "code"],
            ),
            duration: register.histograms(
                "mokv_rpc_request_duration_seconds",
                "From the head of a call until its answer was handed over to be sent",
                &DURATION_BOUNDS,
                "method",
            ),
            in_flight: register.gauge("mokv_rpc_in_flight", "Calls that have not ended"),
            connections: register.gauge("mokv_rpc_connections", "Open connections of clients"),
            refused: register.counter(
                "mokv_rpc_refused_total",
                "Calls that are not gRPC, or want a method or an encoding that is not there",
            ),
        }
    }

    /// What an executor counts with.
    pub(in crate::server) fn tally(&self) -> RpcTally {
        let requests = |method: Method| {
            let counter = |end: CallEnd| {
                self.requests.with_label_values(&[label(method), end.code_name()]).local()
            };
            CallEnd::ALL.into_iter().map(counter).collect()
        };
        let duration = |method: Method| {
            let is_timed = !method.is_endless();
            is_timed.then(|| self.duration.with_label_values(&[label(method)]).local())
        };
        RpcTally {
            requests: Method::ALL.into_iter().map(requests).collect(),
            durations: Method::ALL.into_iter().map(duration).collect(),
            in_flight: LocalGauge::of(&self.in_flight),
            connections: LocalGauge::of(&self.connections),
            refused: self.refused.local(),
        }
    }
}

impl RpcTally {
    /// Adds what was counted since the last time to the shared metrics.
    pub(in crate::server) fn publish(&self) {
        self.requests.iter().flatten().for_each(GenericLocalCounter::flush);
        self.durations.iter().flatten().for_each(LocalHistogram::flush);
        self.in_flight.publish();
        self.connections.publish();
        self.refused.flush();
    }
}

impl Observer for RpcTally {
    fn connections_changed(&self, open: usize) {
        self.connections.now.set(open as i64);
    }

    fn call_began(&self) {
        self.in_flight.now.set(self.in_flight.now.get() + 1);
    }

    fn call_ended(&self, method: Method, end: CallEnd, took: Duration) {
        self.in_flight.now.set(self.in_flight.now.get() - 1);
        self.requests[method as usize][end.index()].inc();
        if let Some(duration) = &self.durations[method as usize] {
            duration.observe(took.as_secs_f64());
        }
    }

    fn call_refused(&self) {
        self.refused.inc();
    }
}

impl LocalGauge {
    fn of(sum: &IntGauge) -> LocalGauge {
        LocalGauge { now: Cell::new(0), published: Cell::new(0), sum: sum.clone() }
    }

    fn publish(&self) {
        let now = self.now.get();
        self.sum.add(now - self.published.replace(now));
    }
}

fn label(method: Method) -> &'static str {
    match method {
        Method::Get => "Get",
        Method::Set => "Set",
        Method::Delete => "Delete",
        Method::List => "List",
        Method::GetServers => "GetServers",
        Method::Status => "Status",
        Method::Leave => "Leave",
        Method::TransferLeadership => "TransferLeadership",
        Method::HealthCheck => "HealthCheck",
        Method::HealthWatch => "HealthWatch",
        Method::Reflection => "Reflection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_executors_count_is_added_up() {
        let metrics = RpcMetrics::new(&Register::default());
        let (one, two) = (metrics.tally(), metrics.tally());
        for tally in [&one, &two, &two] {
            tally.call_began();
            tally.call_ended(Method::Set, CallEnd::Succeeded, Duration::from_millis(2));
            tally.call_began();
        }
        one.publish();
        two.publish();
        two.publish();
        assert_eq!(metrics.requests.with_label_values(&["Set", "OK"]).get(), 3);
        assert_eq!(metrics.in_flight.get(), 3);
        let durations = metrics.duration.with_label_values(&["Set"]);
        assert_eq!(durations.get_sample_count(), 3);
    }
}
