//! The disk: executes the ops of the storage room on io_uring, and reads a data directory at start.
//!
//! # How a write becomes durable
//! Files that are acknowledged block by block (segments, term and vote, identity) are opened with
//! `O_DSYNC`: a write is done when its bytes are durable. The others are written plainly and synced
//! once. The other way, `fdatasync` after each write, was measured beside it in a cluster of three on
//! one small VM (2 vCPU, ext4 on virtio, Linux 6.18), in turns, with little else running:
//!
//! ```text
//!                        1 put in flight               1000 in flight
//!                        mean, us   CPU, us a put      puts/s         CPU, us a put
//!  write + fdatasync     679-740    720-775            100-103k       9.3-9.7
//!  O_DSYNC               539-657    520-610            124k           7.4
//! ```
//!
//! io_uring hands an `fdatasync` to a thread of its own, and a direct write it does not. With both
//! cores kept busy by other programs the picture turns: a kernel worker finishes an `O_DSYNC` write on
//! the core that began it, and 4 KiB then took 287-3970 us in the median against 127-171. A server
//! that shares its cores with hogs is not what we tune for.
//!
//! glommio sends direct I/O to a polled ring when a trial read of the executor's first file succeeds
//! there. On a file that was just created it always succeeds, because there is nothing to read,
//! whatever the device can do; from then on the executor never sleeps while a write is under way.
//! `GlommioDisk::open` keeps it off that ring.
//!
//! # When something goes wrong
//! Every result is checked, short writes too: on a full disk a direct write may report fewer bytes
//! than were given while a later sync reports success. After the first failed op of any kind the
//! disk is poisoned: nothing is retried, and every later op fails. What the failed op left behind
//! is unknown, so the server stops and recovers from what can be read back.

mod glommio_disk;
mod open_file;
mod std_disk;

pub(super) use glommio_disk::GlommioDisk;
pub(super) use std_disk::StdDisk;

#[cfg(test)]
mod tests;
