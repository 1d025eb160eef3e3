//! The map: 4096 slots, each a hash table of its own, shared out among shards.
//!
//! ```text
//!  key --crc32--> slot --slot % shards--> shard --slot / shards--> table --foldhash--> item
//! ```
//!
//! A slot is the unit of everything that must not take long: of a table's growth (one table of
//! seven million keys would stop the world for seconds when it doubles), of copy-on-write under a
//! snapshot, and of a scan. A key's slot is the same on every server; which shard owns it is each
//! server's own affair.
//!
//! [`Shard::freeze`] gives a consistent cut for the price of one reference count a slot. While it
//! lives, the first write to each slot copies that slot's table, and the cut keeps the old one.
//!
//! Nothing that can be seen depends on the order of a hash table: a scan sorts each slot by key,
//! and the state hash is a sum.

mod frozen;
mod shard;
mod table;

pub use self::frozen::{FrozenShard, ScanCursor};
pub use self::shard::Shard;
pub use self::table::{Item, StateHash};
