//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::process::Process;

/// How often a wait looks again.
const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` until it answers `Ok`, and panics with its last answer when `limit` has passed.
pub(crate) async fn until<T, E: Debug>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(answer) if Instant::now() > end => {
                panic!("not within {limit:?}: {what}; the last answer: {answer:?}")
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// `Ok` when the condition holds, `Err` with what was seen otherwise.
pub(crate) fn ensure<E>(holds: bool, seen: E) -> Result<(), E> {
    if holds { Ok(()) } else { Err(seen) }
}

/// Waits for the end of a process.
pub(crate) async fn until_exit(process: &mut Process, limit: Duration) -> ExitStatus {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = process.exit_status() {
            return status;
        }
        let (id, output) = (process.id(), process.output());
        assert!(Instant::now() < end, "process {id} still runs after {limit:?}:\n{output}");
        tokio::time::sleep(INTERVAL).await;
    }
}
