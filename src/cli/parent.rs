//! The servers of a dev cluster end with the process that started them, even when it is killed.
//!
//! The kernel sends the signal (PR_SET_PDEATHSIG), and only the child itself may ask for it. The
//! parent may die before the child asks; so the child looks afterwards whether it is still the
//! parent, whose number came in the environment.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::exit::CliError;

/// Set by `mokv dev` for its servers: its own process number.
pub(crate) const PARENT_PID_ENV: &str = "MOKV_DEV_PARENT_PID";

/// Arranges for SIGTERM when the process named by [`PARENT_PID_ENV`] dies. Without it, nothing.
///
/// # Errors
/// When that process is already gone, or is not our parent.
pub(crate) fn end_with_parent() -> Result<(), CliError> {
    let Ok(expected) = std::env::var(PARENT_PID_ENV) else { return Ok(()) };
    let failed = |problem: String| CliError::Failed(format!("{PARENT_PID_ENV}: {problem}"));
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| failed(format!("the kernel will not watch the parent: {error}")))?;
    let parent = getppid().map(Pid::as_raw_nonzero);
    if parent.is_some_and(|parent| parent.to_string() == expected) {
        Ok(())
    } else {
        Err(failed(format!("process {expected} is not the parent of this one, or has ended")))
    }
}
