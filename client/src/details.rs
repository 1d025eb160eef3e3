//! What mökv's servers add to a gRPC status code: a `google.rpc.Status` in
//! `grpc-status-details-bin`.

use prost::{Message, Name};

use crate::proto::rpc::{ErrorInfo, RetryInfo, Status};

/// The part of the details that decides what a client may do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// `ErrorInfo.metadata["outcome"]`: `not_done` or `unknown`.
    pub(crate) outcome: Option<String>,
    /// The server asked for another try: a `RetryInfo` is there.
    pub(crate) retry: bool,
}

impl Details {
    /// Reads the details of a status. Anything malformed or unknown counts as absent, because a
    /// proxy may put there what it likes.
    pub(crate) fn decode(bytes: &[u8]) -> Details {
        let mut found = Details::default();
        let Ok(status) = Status::decode(bytes) else { return found };
        for any in status.details {
            let full_name = any.type_url.rsplit('/').next().unwrap_or_default();
            if full_name == ErrorInfo::full_name() {
                if let Ok(mut info) = ErrorInfo::decode(any.value.as_slice()) {
                    found.outcome = info.metadata.remove("outcome");
                }
            } else if full_name == RetryInfo::full_name() {
                found.retry = true;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::status;

    #[test]
    fn the_stated_outcome_is_found() {
        let unknown = status(tonic::Code::Unavailable, Some("unknown"));
        assert_eq!(Details::decode(unknown.details()).outcome.as_deref(), Some("unknown"));
    }

    #[test]
    fn garbage_says_nothing() {
        for bytes in [&b""[..], b"\xff\xff\xff", b"\x1a\x02\x0a\xff"] {
            assert_eq!(Details::decode(bytes), Details::default());
        }
    }
}
