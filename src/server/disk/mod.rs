//! The disk: executes the ops of the storage room on io_uring, and reads a data directory at start.
//!
//! # How a write becomes durable
//! Files that are written and acknowledged block by block (segments, term and vote, identity) are
//! opened with `O_DSYNC`: the write itself completes when its bytes are durable. All others are
//! written plainly and synced once at their end.
//!
//! MEASURED_TABLE
//!
//! # When something goes wrong
//! Every result is checked, short writes too: on a full disk a direct write may report fewer bytes
//! than were given while a later sync reports success. After the first failed op of any kind the disk
//! is poisoned: nothing is retried, and every later op fails. What the failed op left behind is
//! unknown, so the server stops and recovers from what can be read back.

mod glommio_disk;
mod open_file;
mod std_disk;

pub use glommio_disk::{DiskError, GlommioDisk};
pub use std_disk::StdDisk;
