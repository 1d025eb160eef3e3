//! The medians, side by side.

use crate::load::{Measurement, Shape};
use crate::store::Operation;

/// One line of the table: what every round measured on each store.
pub(crate) struct Row {
    operation: Operation,
    shape: Shape,
    pub(crate) mokv: Vec<Measurement>,
    pub(crate) etcd: Vec<Measurement>,
}

impl Row {
    pub(crate) fn new(operation: Operation, shape: Shape) -> Row {
        Row { operation, shape, mokv: Vec::new(), etcd: Vec::new() }
    }

    fn label(&self) -> String {
        let operation = match self.operation {
            Operation::Put => "put",
            Operation::Get => "linearizable get",
        };
        format!("{operation}, {} in flight", self.shape.in_flight())
    }
}

/// Prints all rows.
pub(crate) fn print(rows: &[Row]) {
    println!();
    println!("{:32}{:>12}{:>12}{:>10}   rounds, mökv | etcd", "", "mökv", "etcd", "mökv is");
    for row in rows {
        println!("{}", row.label());
        let rate = |m: &Measurement| m.per_second;
        let in_flight = row.shape.in_flight() as f64;
        line("  operations/s", row, rate, |ours, theirs| ours / theirs);
        line("  mean latency, us", row, |m| in_flight / m.per_second * 1e6, |o, t| t / o);
        line("  servers' CPU, us/operation", row, |m| m.server_us, |ours, theirs| theirs / ours);
        line("  client's CPU, us/operation", row, |m| m.client_us, |ours, theirs| theirs / ours);
    }
    println!();
    println!("median of the rounds; \"mökv is\" says how many times better mökv's figure is");
}

fn line(
    name: &str,
    row: &Row,
    value: impl Fn(&Measurement) -> f64,
    better: impl Fn(f64, f64) -> f64,
) {
    let ours: Vec<f64> = row.mokv.iter().map(&value).collect();
    let theirs: Vec<f64> = row.etcd.iter().map(&value).collect();
    let (our_median, their_median) = (median(&ours), median(&theirs));
    println!(
        "{name:32}{our_median:>12.1}{their_median:>12.1}{:>9.2}x   {} | {}",
        better(our_median, their_median),
        each(&ours),
        each(&theirs),
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

fn each(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(" ")
}
