//! A whole cluster in one thread, for the tests of this room: golden scripts and random histories.

mod cluster;
mod disk;
mod invariants;
mod limits;
mod model;
mod random;
mod script;
