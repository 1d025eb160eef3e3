//! Whole clusters in one thread, from one seed: the real rooms on a made-up clock, network and disk.
//!
//! What decides in mökv (`raft`, `gossip`, `storage`, `node`, `lane`) is the code that production
//! runs; only what acts is replaced. So a seed that fails is a bug in the product, and the same seed
//! fails again, event by event.
//!
//! ```text
//!   seed ──> plan: how many servers, which faults, what clients ask           plan, shrink
//!              |
//!              v
//!            world: what happens when                                          world, queue, clock
//!              |── machines: a process each, disks that fail, forget and lie   host, server, disk
//!              |── network: links that break, datagrams that get lost          network, stranger
//!              |── clients: what they asked and what they were told            workload, history
//!              |── trouble: crashes, cuts, pauses, lost volumes, rollouts      nemesis
//!              |── invariants, after every turn of a process                   invariants
//!              v
//!            closing: a core must commit, all must agree, all is read          closing
//!              v
//!            checker: is there an order that explains what clients saw?        checker
//! ```
//!
//! A run has a safety phase, in which anything may go wrong but for what no store survives (the
//! [atlas](disk::Atlas) keeps a good copy of what a majority acknowledged), and a liveness phase, in
//! which things must come right. It ends with the first violation.
//!
//! # Not here
//! The simulator's processes carry effects out by the shortest means: glommio, gRPC, the framing of
//! peer links and their flow control are tested with real processes. Taking a snapshot is driven
//! twice, here and in `server`. There is one executor a server.

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
