//! How a command ends: an exit code for scripts and one line for people.

use std::io::{self, Write};
use std::process::ExitCode;

use mokv_client::Error as ClientError;

/// What the process exits with. Documented in `--help`, so the numbers stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Not done, for a reason no other code names.
    Failure = 1,
    /// The command line, the environment or the file is wrong.
    Usage = 2,
    /// The key has no value.
    NotFound = 3,
    /// Nobody could serve the call in time, or a write's outcome is unknown; stderr says which.
    Unavailable = 4,
}

/// The exit codes, for the end of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; stderr says why and what to do
  2  the command line, the environment or the config file is wrong
  3  the key has no value
  4  unavailable, or the outcome of a write is unknown; stderr says which
 74  a server's disk failed under it; it must not go on";

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The cluster's answer, or the lack of one.
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] ClientError),
    /// Not one member answered.
    #[error("{0}")]
    Unreachable(String),
    /// What the user gave cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The work failed; the text says what to do.
    #[error("{0}")]
    Failed(String),
    /// Standard input or output failed.
    #[error("{stream}: {source}")]
    Stream {
        /// `stdin` or `stdout`.
        stream: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl CliError {
    /// For failures of writes to stdout.
    pub(crate) fn stdout(source: io::Error) -> CliError {
        CliError::Stream { stream: "stdout", source }
    }

    /// Whoever read our output has read enough, as `head` does; that is no failure of ours.
    fn is_closed_pipe(&self) -> bool {
        match self {
            CliError::Stream { source, .. } => source.kind() == io::ErrorKind::BrokenPipe,
            CliError::Client(_)
            | CliError::Unreachable(_)
            | CliError::Usage(_)
            | CliError::Failed(_) => false,
        }
    }
}

impl Exit {
    /// Tells the user of an error, if there is one to tell, and gives the code for it.
    pub(crate) fn report(result: Result<(), CliError>) -> Exit {
        match result {
            Ok(()) => Exit::Success,
            Err(error) if error.is_closed_pipe() => Exit::Success,
            Err(error) => {
                tell(&format!("mokv: {error}"));
                Exit::from(&error)
            }
        }
    }
}

/// Writes a line to stderr. When nobody can read it, that is no reason to do anything else, and
/// certainly not to panic as `eprintln!` does.
pub(crate) fn tell(text: &str) {
    let _unread = writeln!(io::stderr(), "{text}");
}

/// What to do where the client library, which does not know our commands, cannot say it.
fn hint(error: &ClientError) -> &'static str {
    match error {
        ClientError::Unavailable { .. } | ClientError::DeadlineExceeded { .. } => {
            "; `mokv status` shows who answers"
        }
        ClientError::NotFound
        | ClientError::Invalid { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::Other { .. } => "",
    }
}

impl From<&CliError> for Exit {
    fn from(error: &CliError) -> Exit {
        match error {
            CliError::Client(error) => Exit::from(error),
            CliError::Unreachable(_) => Exit::Unavailable,
            CliError::Usage(_) => Exit::Usage,
            CliError::Failed(_) | CliError::Stream { .. } => Exit::Failure,
        }
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Exit {
        match error {
            ClientError::NotFound => Exit::NotFound,
            ClientError::Unavailable { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::DeadlineExceeded { .. } => Exit::Unavailable,
            ClientError::Invalid { .. } | ClientError::Other { .. } => Exit::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_a_missing_key_from_a_missing_cluster() {
        let message = || "it is gone".to_owned();
        let cases = [
            (ClientError::NotFound, Exit::NotFound),
            (ClientError::Unavailable { message: message() }, Exit::Unavailable),
            (ClientError::OutcomeUnknown { message: message() }, Exit::Unavailable),
            (ClientError::DeadlineExceeded { message: message() }, Exit::Unavailable),
            (ClientError::Invalid { message: message() }, Exit::Failure),
        ];
        for (error, exit) in cases {
            assert_eq!(Exit::from(&CliError::from(error)), exit);
        }
    }

    #[test]
    fn a_reader_that_has_read_enough_is_no_failure() {
        let closed = CliError::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!(Exit::report(Err(closed)), Exit::Success);
        let full = CliError::stdout(io::ErrorKind::StorageFull.into());
        assert_eq!(Exit::report(Err(full)), Exit::Failure);
    }
}
