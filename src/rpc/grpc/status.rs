//! Every answer that is not a success, named by its situation.
//!
//! A [`Status`] tells a person what to do (`message`), a program what happened (`code`, `reason`),
//! when to try again (`retry_after_ms`), and whether the call took effect (`outcome`). The last one
//! decides what a client may do next: only a call that was surely not done may be sent again
//! blindly.

use std::collections::BTreeMap;

use crate::types::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// A gRPC status code that this server sends; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request itself is wrong, whatever the state of the server.
    InvalidArgument = 3,
    /// The time the client gave ran out.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// A limit or a full disk.
    ResourceExhausted = 8,
    /// The server is not in the state that the call needs.
    FailedPrecondition = 9,
    /// No such service, method or encoding.
    Unimplemented = 12,
    /// The client or this server broke the protocol.
    Internal = 13,
    /// Not now; perhaps soon, perhaps at another member.
    Unavailable = 14,
}

/// Whether a failed call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It surely did not, and never will.
    NotDone,
    /// It may have, or may yet.
    Unknown,
}

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The class of failure.
    pub code: Code,
    /// What happened and what to do, for people.
    pub message: String,
    /// What happened, for programs: UPPER_SNAKE_CASE, the `reason` of `google.rpc.ErrorInfo`.
    pub reason: &'static str,
    /// Whether the call took effect.
    pub outcome: Outcome,
    /// How long to wait before another try; `None` where trying again does not help.
    pub retry_after_ms: Option<u64>,
    /// Further facts by name, the `metadata` of `google.rpc.ErrorInfo`.
    pub metadata: BTreeMap<&'static str, String>,
}

impl Outcome {
    /// The word for it in `ErrorInfo.metadata["outcome"]`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotDone => "not_done",
            Outcome::Unknown => "unknown",
        }
    }
}

/// How long a client should wait where an election or a queue is the obstacle.
const RETRY_SOON_MS: u64 = 100;
/// How long a client should wait where a member must first come back.
const RETRY_LATER_MS: u64 = 1_000;

impl Status {
    /// A failure that surely had no effect; the situations below cover the usual ones.
    #[must_use]
    pub fn not_done(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            message: message.into(),
            reason,
            outcome: Outcome::NotDone,
            retry_after_ms: None,
            metadata: BTreeMap::new(),
        }
    }

    /// The same with a time to wait before another try.
    #[must_use]
    pub fn retry_after_ms(mut self, retry_after_ms: u64) -> Status {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    /// The same with one more fact for programs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Status {
        self.metadata.insert(key, value.to_string());
        self
    }

    /// The same for a call that may have taken effect.
    #[must_use]
    fn but_unknown(mut self) -> Status {
        self.outcome = Outcome::Unknown;
        self
    }
}

/// Situations of the store.
impl Status {
    /// The key has no value.
    #[must_use]
    pub fn not_found() -> Status {
        Status::not_done(Code::NotFound, "KEY_NOT_FOUND", "the key has no value")
    }

    /// A key outside its limits.
    #[must_use]
    pub fn invalid_key(key_bytes: usize) -> Status {
        let message = format!(
            "the key has {key_bytes} bytes; a key has 1 to {MAX_KEY_BYTES}. Nothing was done"
        );
        Status::not_done(Code::InvalidArgument, "INVALID_KEY", message)
            .with("max_key_bytes", MAX_KEY_BYTES)
    }

    /// A value over its limit.
    #[must_use]
    pub fn value_too_large(value_bytes: usize) -> Status {
        let message = format!(
            "the value has {value_bytes} bytes; a value has at most {MAX_VALUE_BYTES}. Nothing was \
             done"
        );
        Status::not_done(Code::InvalidArgument, "VALUE_TOO_LARGE", message)
            .with("max_value_bytes", MAX_VALUE_BYTES)
    }

    /// No leader is known, or it has lost its quorum: the call was not accepted anywhere.
    #[must_use]
    pub fn no_leader() -> Status {
        let message = "the cluster has no leader now; nothing was done. Try again shortly";
        Status::not_done(Code::Unavailable, "NO_LEADER", message).retry_after_ms(RETRY_SOON_MS)
    }

    /// This member may not serve the call and may not forward it; `leader_rpc_addr` may be empty.
    #[must_use]
    pub fn not_leader(leader_rpc_addr: &str) -> Status {
        let message = match leader_rpc_addr {
            "" => "this member does not lead; nothing was done. Ask the leader".to_owned(),
            addr => format!("this member does not lead; nothing was done. The leader is at {addr}"),
        };
        Status::not_done(Code::FailedPrecondition, "NOT_LEADER", message)
            .with("leader_rpc_addr", leader_rpc_addr)
    }

    /// A write was accepted, and the leader changed before its fate was known.
    #[must_use]
    pub fn outcome_unknown() -> Status {
        let message = "the leader changed before the answer came; the write may or may not have \
                       been done. Read the key before writing it again";
        Status::not_done(Code::Unavailable, "OUTCOME_UNKNOWN", message)
            .retry_after_ms(RETRY_SOON_MS)
            .but_unknown()
    }

    /// A queue is full.
    #[must_use]
    pub fn overloaded(what: &str) -> Status {
        let message = format!("{what}; nothing was done. Send fewer at once, or try again shortly");
        Status::not_done(Code::ResourceExhausted, "OVERLOADED", message)
            .retry_after_ms(RETRY_SOON_MS)
    }

    /// This member stops; another one serves.
    #[must_use]
    pub fn shutting_down() -> Status {
        let message = "this member is shutting down; nothing was done. Ask another member";
        Status::not_done(Code::Unavailable, "SHUTTING_DOWN", message).retry_after_ms(RETRY_LATER_MS)
    }

    /// This member is not, or not any more, part of a cluster.
    #[must_use]
    pub fn not_a_member() -> Status {
        let message = "this member belongs to no cluster yet; nothing was done. Ask another member";
        Status::not_done(Code::Unavailable, "NOT_A_MEMBER", message).retry_after_ms(RETRY_LATER_MS)
    }

    /// The state of the cluster forbids the call.
    #[must_use]
    pub fn failed_precondition(reason: &'static str, message: impl Into<String>) -> Status {
        Status::not_done(Code::FailedPrecondition, reason, message)
    }
}

/// Situations of the protocol.
impl Status {
    /// The client's time ran out. A write that was under way may still be done.
    #[must_use]
    pub fn deadline_exceeded(outcome: Outcome) -> Status {
        match outcome {
            Outcome::NotDone => Status::not_done(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the call's deadline passed; nothing was changed. Allow more time",
            ),
            Outcome::Unknown => Status::not_done(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the call's deadline passed; the write may or may not be done. Read the key before \
                 writing it again",
            )
            .but_unknown(),
        }
    }

    /// No such service or method.
    #[must_use]
    pub fn unknown_method(path: &str) -> Status {
        let message = format!("this server has no method {path}");
        Status::not_done(Code::Unimplemented, "UNKNOWN_METHOD", message)
    }

    /// A compression that this server does not speak.
    #[must_use]
    pub fn unsupported_encoding(encoding: &str) -> Status {
        let message = format!(
            "the grpc-encoding {encoding:?} is not supported; send messages uncompressed (identity)"
        );
        Status::not_done(Code::Unimplemented, "UNSUPPORTED_ENCODING", message)
    }

    /// A message over the limit; it was not read.
    #[must_use]
    pub fn message_too_large(message_bytes: usize, max_message_bytes: usize) -> Status {
        let message = format!(
            "the message has {message_bytes} bytes, {max_message_bytes} are allowed. Nothing was \
             done"
        );
        Status::not_done(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
            .with("max_message_bytes", max_message_bytes)
    }

    /// Bytes that are not the message the method takes.
    #[must_use]
    pub fn malformed_message(error: impl std::fmt::Display) -> Status {
        let message = format!("the message cannot be decoded: {error}. Nothing was done");
        Status::not_done(Code::InvalidArgument, "MALFORMED_MESSAGE", message)
    }

    /// A header whose value makes no sense.
    #[must_use]
    pub fn malformed_header(error: impl std::fmt::Display) -> Status {
        Status::not_done(Code::InvalidArgument, "MALFORMED_HEADER", format!("{error}"))
    }

    /// The client broke the rules of the protocol.
    #[must_use]
    pub fn protocol_violation(error: impl std::fmt::Display) -> Status {
        let message = format!("{error}. Nothing was done");
        Status::not_done(Code::Internal, "PROTOCOL_VIOLATION", message)
    }

    /// No health is kept for a service of this name.
    #[must_use]
    pub fn unknown_health_service(service: &str) -> Status {
        let message = format!(
            "no health is kept for {service:?}; ask for \"\", \"liveness\", \"readiness\" or \
             \"startup\""
        );
        Status::not_done(Code::NotFound, "UNKNOWN_HEALTH_SERVICE", message)
    }

    /// The answer got lost inside the server: a defect of it.
    #[must_use]
    pub fn lost_reply(outcome: Outcome) -> Status {
        let message = match outcome {
            Outcome::NotDone => "the server lost the answer, which is a defect. Try again",
            Outcome::Unknown => {
                "the server lost the answer, which is a defect; the write may or may not be done"
            }
        };
        let status = Status::not_done(Code::Internal, "LOST_REPLY", message);
        match outcome {
            Outcome::NotDone => status,
            Outcome::Unknown => status.but_unknown(),
        }
    }
}
