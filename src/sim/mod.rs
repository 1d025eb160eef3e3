//! Whole clusters in one thread, from one seed: the real rooms on a made-up clock, network and disk.

pub mod checker;
mod clock;
mod closing;
pub mod disk;
pub mod history;
mod host;
mod invariants;
mod nemesis;
mod network;
pub mod plan;
mod queue;
mod run;
mod server;
pub mod shrink;
mod stranger;
pub mod trace;
mod violation;
mod workload;
mod world;

pub use run::{Outcome, run};
pub use violation::{Property, Violation};
pub use world::Tally;

#[cfg(test)]
mod tests;
