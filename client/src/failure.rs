//! What a failed try says about the data, and the error the caller gets to see.
//!
//! ```text
//!   evidence                                       outcome    worth another try
//!   ─────────────────────────────────────────────  ─────────  ─────────────────
//!   could not connect                              not done   yes
//!   REFUSED_STREAM (HTTP/2 §8.7)                   not done   yes
//!   ErrorInfo.metadata["outcome"]                  as it says by code and RetryInfo
//!   NOT_FOUND, INVALID_ARGUMENT, ... (a refusal)   not done   no, unless RetryInfo
//!   UNAVAILABLE without details                    unknown    yes
//!   connection lost, no answer in time             unknown    yes
//!   anything else                                  unknown    no
//! ```
//!
//! "Worth another try" is for reads. A write needs the outcome to be not done as well.

use std::error::Error as StdError;

use tonic::{Code, ConnectError};

use crate::details::Details;

/// Why a call has no answer, and what that means for the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key has no value.
    #[error("the key has no value")]
    NotFound,
    /// The request itself is wrong; nothing happened, and sending it again does not help.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
    /// Nobody could serve the call in time; nothing happened.
    #[error("unavailable, nothing was changed: {message}")]
    Unavailable {
        /// What the last member tried answered.
        message: String,
    },
    /// The write may or may not have happened, now or a little later.
    #[error("outcome unknown, the write may have happened: {message}")]
    OutcomeUnknown {
        /// How the answer was lost.
        message: String,
    },
    /// There was no answer in time; nothing was changed.
    #[error("no answer in time, nothing was changed: {message}")]
    DeadlineExceeded {
        /// What the last member tried answered.
        message: String,
    },
    /// The server failed in a way that retrying does not mend.
    #[error("{code}: {message}")]
    Other {
        /// The name of the gRPC status code, such as `INTERNAL`.
        code: String,
        /// The server's message.
        message: String,
    },
}

/// What a call does to the data, which decides where it goes and whether it may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
}

/// What happened to the data in a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Certainly nothing.
    NotDone,
    /// Nobody can tell.
    Unknown,
}

/// One failed try.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    outcome: Outcome,
    transient: bool,
    /// The member could not be reached, or the connection to it broke.
    pub(crate) connection_lost: bool,
}

impl Failure {
    /// Judges the status that a try of a call to `addr` ended with.
    pub(crate) fn judge(addr: &str, status: &tonic::Status) -> Failure {
        let refused = never_sent(status);
        // Only a status made on this side has a source: the transport's error.
        let local = status.source().is_some();
        let details = Details::decode(status.details());
        let outcome = match details.outcome.as_deref() {
            _ if refused => Outcome::NotDone,
            Some("not_done") => Outcome::NotDone,
            Some(_) => Outcome::Unknown,
            None if !local && is_refusal(status.code()) => Outcome::NotDone,
            None => Outcome::Unknown,
        };
        let transient = refused || local || details.retry || is_transient(status.code());
        let message = if local {
            format!("{addr}: {}", root_cause(status))
        } else {
            format!("{addr}: {}", status.message())
        };
        Failure { code: status.code(), message, outcome, transient, connection_lost: local }
    }

    /// A try that got no answer in the time it was given.
    pub(crate) fn timed_out(addr: &str) -> Failure {
        Failure {
            code: Code::DeadlineExceeded,
            message: format!("{addr} did not answer"),
            outcome: Outcome::Unknown,
            transient: true,
            connection_lost: true,
        }
    }

    /// Whether a call with this intent may be sent again.
    pub(crate) fn allows_retry(&self, intent: Intent) -> bool {
        match intent {
            Intent::Read => self.transient,
            Intent::Write => self.transient && self.outcome == Outcome::NotDone,
        }
    }

    /// The error for the caller, once there will be no other try.
    pub(crate) fn into_error(self, intent: Intent) -> Error {
        let message = self.message;
        if intent == Intent::Write && self.outcome == Outcome::Unknown {
            return Error::OutcomeUnknown { message };
        }
        match self.code {
            Code::NotFound => Error::NotFound,
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
                Error::Invalid { message }
            }
            Code::DeadlineExceeded => Error::DeadlineExceeded { message },
            _ if self.transient => Error::Unavailable { message },
            code => Error::Other { code: code_name(code), message },
        }
    }
}

/// Whether the transport knows that the server never saw the request.
fn never_sent(status: &tonic::Status) -> bool {
    causes(status).any(|cause| {
        cause.is::<ConnectError>()
            || cause
                .downcast_ref::<h2::Error>()
                .is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn causes<'a>(
    status: &'a tonic::Status,
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> + use<'a> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

/// The innermost error says what the system said: "Connection refused", not "transport error".
fn root_cause(status: &tonic::Status) -> String {
    causes(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// Codes by which a server refuses a request before it does anything.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

fn is_transient(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded)
}

/// `FailedPrecondition` as `FAILED_PRECONDITION`, the name gRPC's own documents use.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::status;

    #[test]
    fn only_a_write_that_certainly_did_nothing_may_be_sent_again() {
        // the server's status -> may a read be repeated, may a write
        let table = [
            (Code::Unavailable, Some("not_done"), true, true),
            (Code::Unavailable, Some("unknown"), true, false),
            (Code::Unavailable, Some("a word of the future"), true, false),
            (Code::Unavailable, None, true, false),
            (Code::DeadlineExceeded, Some("not_done"), true, true),
            (Code::DeadlineExceeded, Some("unknown"), true, false),
            (Code::InvalidArgument, Some("not_done"), false, false),
            (Code::ResourceExhausted, None, false, false),
            (Code::Internal, Some("unknown"), false, false),
            (Code::Unknown, None, false, false),
        ];
        for (code, outcome, read, write) in table {
            let failure = Failure::judge("a:1", &status(code, outcome));
            assert_eq!(failure.allows_retry(Intent::Read), read, "{code:?} {outcome:?}");
            assert_eq!(failure.allows_retry(Intent::Write), write, "{code:?} {outcome:?}");
        }
    }

    #[test]
    fn a_write_is_called_unknown_unless_it_certainly_did_nothing() {
        // the server's status -> the error of a read, of a write
        let table = [
            (Code::Unavailable, Some("not_done"), "unavailable", "unavailable"),
            (Code::Unavailable, None, "unavailable", "outcome unknown"),
            (Code::DeadlineExceeded, Some("not_done"), "no answer in time", "no answer in time"),
            (Code::DeadlineExceeded, None, "no answer in time", "outcome unknown"),
            (Code::Internal, None, "INTERNAL", "outcome unknown"),
            (Code::Internal, Some("not_done"), "INTERNAL", "INTERNAL"),
            (Code::InvalidArgument, None, "a:1", "a:1"),
            (Code::NotFound, None, "the key has no value", "the key has no value"),
        ];
        for (code, outcome, read, write) in table {
            let failure = Failure::judge("a:1", &status(code, outcome));
            for (intent, begins) in [(Intent::Read, read), (Intent::Write, write)] {
                let text = failure.clone().into_error(intent).to_string();
                assert!(text.starts_with(begins), "{code:?} {outcome:?} {intent:?}: {text}");
            }
        }
    }

    #[test]
    fn no_answer_in_time_is_retried_for_reads_alone() {
        let failure = Failure::timed_out("a:1");
        assert!(failure.allows_retry(Intent::Read));
        assert!(!failure.allows_retry(Intent::Write));
    }

    #[test]
    fn codes_have_the_names_of_the_protocol() {
        assert_eq!(code_name(Code::FailedPrecondition), "FAILED_PRECONDITION");
        assert_eq!(code_name(Code::Ok), "OK");
    }
}
