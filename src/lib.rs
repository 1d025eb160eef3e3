//! mökv: a replicated in-memory key-value store.
//!
//! Everything that decides is a pure state machine (`types`, `raft`, `gossip`, `storage`, `node`,
//! `lane`): bytes and `now` in, effects out. Everything that acts is a thin driver (`rpc`, `server`,
//! `cli`).
//! ARCHITECTURE.md draws the house.

// First, because its macro is used by the rooms below.
#[macro_use]
pub mod planted;

pub mod cli;
pub mod gossip;
pub mod lane;
pub mod node;
pub mod prng;
pub mod raft;
pub mod rpc;
pub mod server;
pub mod sim;
pub mod storage;
pub mod types;
