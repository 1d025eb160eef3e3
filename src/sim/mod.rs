//! Whole clusters in one thread, from one seed: the real rooms on a made-up clock, network and disk.

pub mod checker;
pub mod disk;
pub mod history;
