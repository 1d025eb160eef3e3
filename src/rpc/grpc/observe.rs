//! What this room tells whoever counts calls and connections.
//!
//! ```text
//!  a call's head is read ── accepted ──> call_began ──> ... ──> call_ended, once, however it ends
//!                      └─── refused ───> call_refused
//! ```

use std::time::Duration;

use super::route::Method;
use super::status::{Code, Status};

/// Counts what happens to calls. One lives on each executor, and it is told of every call: it must
/// be cheap.
pub trait Observer: 'static {
    /// So many connections are open now.
    fn connections_changed(&self, open: usize);

    /// A call was accepted.
    fn call_began(&self);

    /// A call is over, `took` after its head was read: its answer was handed to HTTP/2, or nobody
    /// waits for one.
    fn call_ended(&self, method: Method, end: CallEnd, took: Duration);

    /// A call was refused by its head: it is not gRPC, or asks for a method or an encoding that this
    /// server does not have.
    fn call_refused(&self);
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// With an answer.
    Succeeded,
    /// With a status that says why there is none.
    Failed(Code),
    /// Its client cancelled it, or was gone.
    Cancelled,
}

impl CallEnd {
    /// Every way in which a call can end.
    pub const ALL: [CallEnd; 10] = [
        CallEnd::Succeeded,
        CallEnd::Cancelled,
        CallEnd::Failed(Code::InvalidArgument),
        CallEnd::Failed(Code::DeadlineExceeded),
        CallEnd::Failed(Code::NotFound),
        CallEnd::Failed(Code::ResourceExhausted),
        CallEnd::Failed(Code::FailedPrecondition),
        CallEnd::Failed(Code::Unimplemented),
        CallEnd::Failed(Code::Internal),
        CallEnd::Failed(Code::Unavailable),
    ];

    /// Its place in [`ALL`](CallEnd::ALL).
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            CallEnd::Succeeded => 0,
            CallEnd::Cancelled => 1,
            CallEnd::Failed(Code::InvalidArgument) => 2,
            CallEnd::Failed(Code::DeadlineExceeded) => 3,
            CallEnd::Failed(Code::NotFound) => 4,
            CallEnd::Failed(Code::ResourceExhausted) => 5,
            CallEnd::Failed(Code::FailedPrecondition) => 6,
            CallEnd::Failed(Code::Unimplemented) => 7,
            CallEnd::Failed(Code::Internal) => 8,
            CallEnd::Failed(Code::Unavailable) => 9,
        }
    }

    /// The name of the gRPC status code that the client sees.
    #[must_use]
    pub fn code_name(self) -> &'static str {
        match self {
            CallEnd::Succeeded => "OK",
            CallEnd::Cancelled => "CANCELLED",
            CallEnd::Failed(Code::InvalidArgument) => "INVALID_ARGUMENT",
            CallEnd::Failed(Code::DeadlineExceeded) => "DEADLINE_EXCEEDED",
            CallEnd::Failed(Code::NotFound) => "NOT_FOUND",
            CallEnd::Failed(Code::ResourceExhausted) => "RESOURCE_EXHAUSTED",
            CallEnd::Failed(Code::FailedPrecondition) => "FAILED_PRECONDITION",
            CallEnd::Failed(Code::Unimplemented) => "UNIMPLEMENTED",
            CallEnd::Failed(Code::Internal) => "INTERNAL",
            CallEnd::Failed(Code::Unavailable) => "UNAVAILABLE",
        }
    }

    pub(super) fn of(result: &Result<(), Status>) -> CallEnd {
        match result {
            Ok(()) => CallEnd::Succeeded,
            Err(status) => CallEnd::Failed(status.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_and_every_method_is_at_its_own_place() {
        for (place, end) in CallEnd::ALL.into_iter().enumerate() {
            assert_eq!(end.index(), place, "{end:?}");
        }
        for (place, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, place, "{method:?}");
        }
    }
}
