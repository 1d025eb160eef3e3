//! mökv: a replicated in-memory key-value store.
//!
//! Everything that decides is a pure state machine (`types`, `raft`, `gossip`, `storage`, `node`):
//! bytes and `now` in, effects out. Everything that acts is a thin driver (`rpc`, `server`, `cli`).
//! ARCHITECTURE.md draws the house.

pub mod prng;
pub mod types;
