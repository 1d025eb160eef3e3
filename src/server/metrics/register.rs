//! Makes metrics and registers them: a name that is wrong or used twice ends the first test.

use prometheus::core::{Collector, GenericGauge};
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

/// A register that is being filled.
#[derive(Default)]
pub(super) struct Register(Registry);

impl Register {
    pub(super) fn into_registry(self) -> Registry {
        self.0
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    pub(super) fn member_gauges(&self, name: &str, help: &str) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), &["follower", "node_id"]))
    }

    /// A gauge that is there at times only.
    pub(super) fn sometimes(&self, name: &str, help: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[]))
    }

    pub(super) fn real(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn real_counter(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::new(name, help))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        label: &str,
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add(HistogramVec::new(options, &[label]))
    }

    fn add<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the name and the labels of a metric are constants");
        self.0.register(Box::new(metric.clone())).expect("no two metrics have the same name");
        metric
    }
}

/// Sets a gauge to a count; one that does not fit is far beyond anything that is counted.
pub(super) fn set(gauge: &GenericGauge<prometheus::core::AtomicI64>, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
