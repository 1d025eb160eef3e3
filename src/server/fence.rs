//! The end of a server whose disk failed.
//!
//! After a failed write or sync nobody knows what is durable. So the process ends at once, before it
//! can acknowledge, vote or send a heartbeat; nothing is tried again. What was durable is read back at
//! the next start.

use std::error::Error;

use super::disk::GlommioDisk;
use crate::storage::DiskOp;

/// The process's exit code when its disk failed under it (EX_IOERR of sysexits.h).
const EXIT_DISK_FAILED: i32 = 74;

/// Carries out changes of the data directory, in order, or ends the process.
pub(super) async fn execute(disk: &GlommioDisk, ops: Vec<DiskOp>) {
    if let Err(error) = disk.execute(ops).await {
        fence(&error);
    }
}

/// Ends the process: the disk cannot be trusted any more.
pub(super) fn fence(error: &dyn Error) -> ! {
    tracing::error!(%error, "the disk failed; stopping before anything unsafe is acknowledged");
    std::process::exit(EXIT_DISK_FAILED);
}
