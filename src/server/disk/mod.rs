//! The disk: executes the ops of the storage room on io_uring, and reads a data directory at start.
//!
//! # How a write becomes durable
//! By a direct write and then `fdatasync`. The other way, `O_DSYNC` on the file, was measured
//! beside it through glommio on a small VM (2 vCPU, ext4 on virtio, Linux 6.18, overwriting zeroed
//! blocks), while other programs kept both cores busy, as a server beside its clients has it.
//! Ranges over 4 to 5 rounds in turns:
//!
//! ```text
//!                        median latency, us      CPU of the process, us a write
//!                        4 KiB      64 KiB       4 KiB        64 KiB
//!  write + fdatasync     127-171    134-1123     130-170      133-367
//!  O_DSYNC               287-3970   129-4081     140-220      100-233
//!  the same two, with the executor polling for completions (see below)
//!  write + fdatasync     128-172    175-4273     130-323      200-1133
//!  O_DSYNC               4008-7916  691-8605     2993-3920    1433-3660
//! ```
//!
//! The likely reason is that an `O_DSYNC` write is finished by a kernel worker bound to one core,
//! where it waits its turn, while the thread that runs an `fdatasync` goes where a core is free. An
//! earlier trial on the same machine, idle, had `O_DSYNC` take 15 to 25 % less CPU; the busy case
//! decides.
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
