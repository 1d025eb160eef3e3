//! The door between this room and the one that runs the store: what a client may ask, and what may
//! be answered, without a word of protobuf or HTTP.
//!
//! ```text
//!  connection task ----- Backend::submit(Request, ReplyHandle) -----> server
//!         ^                                                              |
//!         +------------ reply queue <---- ReplyHandle::send(Reply) <-----+
//! ```

use bytes::Bytes;

use super::list::ListReceiver;
use super::reply::ReplyHandle;
use super::signal::Subscription;
use super::status::{Outcome, Status};
use crate::types::{ClusterId, NodeId};

/// The store as this room sees it. One lives on each executor.
pub trait Backend: 'static {
    /// Takes a request. Never blocks, and never fails by itself: the answer, good or bad, goes
    /// through `reply`, at once or later.
    ///
    /// Keys and values are within the limits of [`crate::types`]. Their bytes may share a large
    /// receive buffer: whoever keeps them for long copies them.
    fn submit(&self, request: Request, reply: ReplyHandle);

    /// Whether a health service is serving now. Called often; must be cheap.
    fn health(&self, service: HealthService) -> bool;

    /// Told whenever the answer of [`health`](Backend::health) may have changed.
    fn health_changes(&self) -> Subscription;
}

/// What a client asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads one key. Answered by [`Reply::Value`], or [`Status::not_found`].
    Get {
        /// 1 to [`crate::types::MAX_KEY_BYTES`] bytes of UTF-8.
        key: Bytes,
        /// Whether this member's own state is good enough, however old.
        stale: bool,
    },
    /// Writes one key. Answered by [`Reply::Written`].
    Set {
        /// 1 to [`crate::types::MAX_KEY_BYTES`] bytes of UTF-8.
        key: Bytes,
        /// 0 to [`crate::types::MAX_VALUE_BYTES`] bytes.
        value: Bytes,
    },
    /// Removes one key. Answered by [`Reply::Written`], whether or not the key had a value.
    Delete {
        /// 1 to [`crate::types::MAX_KEY_BYTES`] bytes of UTF-8.
        key: Bytes,
    },
    /// Reads all keys at one position of the log. Answered by [`Reply::List`].
    List,
    /// Answered by [`Reply::Servers`].
    Servers,
    /// Answered by [`Reply::Status`], never waiting for others.
    Status,
    /// Takes this member out of the cluster for good. Answered by [`Reply::Done`].
    Leave,
    /// Hands leadership over. Answered by [`Reply::Done`].
    TransferLeadership {
        /// The name of the voter to lead next; empty for the most advanced one.
        to: String,
    },
}

/// What is answered to a [`Request`].
pub enum Reply {
    /// The value of a key.
    Value {
        /// The value.
        value: Bytes,
        /// The revision of the write that made it.
        revision: u64,
    },
    /// A write was done and is durable.
    Written {
        /// Its number among all writes.
        revision: u64,
    },
    /// The members of the cluster.
    Servers(Vec<ServerInfo>),
    /// What this member knows of itself.
    Status(Box<StatusInfo>),
    /// The keys and values, as they come.
    List(ListReceiver),
    /// It was done, and there is no more to say.
    Done,
    /// It was not done, or its outcome is not known: the status says which.
    Failed(Status),
}

/// One member, for clients that look for the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its label for people.
    pub name: String,
    /// `host:port` where clients reach it.
    pub rpc_addr: String,
    /// Its identity.
    pub node_id: NodeId,
    /// Whether it leads, as far as this member knows.
    pub is_leader: bool,
    /// False for a learner.
    pub is_voter: bool,
}

/// What one member knows of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusInfo {
    /// The program's version.
    pub version: String,
    /// The member's label for people.
    pub name: String,
    /// Its identity.
    pub node_id: NodeId,
    /// Its cluster, once it has one.
    pub cluster_id: Option<ClusterId>,
    /// Its part in the cluster.
    pub role: Role,
    /// The leader's name; empty where none is known.
    pub leader: String,
    /// Raft's current term.
    pub term: u64,
    /// The last entry known to be committed.
    pub commit_index: u64,
    /// The last entry whose effects are in the map.
    pub applied_index: u64,
    /// The last entry of the log.
    pub last_index: u64,
    /// The last entry that the latest snapshot holds.
    pub snapshot_index: u64,
    /// Writes applied so far.
    pub revision: u64,
    /// Keys in the map.
    pub keys: u64,
}

/// A member's part in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It receives the log and does not vote.
    Learner,
    /// It has not been admitted yet.
    Joining,
    /// It was taken out of the cluster.
    Removed,
}

/// A part of the server whose health can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthService {
    /// `""`: whether calls can be served here.
    Overall,
    /// `"liveness"`: whether the process works; it never depends on a quorum.
    Liveness,
    /// `"readiness"`: whether clients should be sent here.
    Readiness,
    /// `"startup"`: whether recovery is over.
    Startup,
}

impl Request {
    /// What is known of this request's outcome when its answer got lost.
    #[must_use]
    pub fn outcome_if_lost(&self) -> Outcome {
        match self {
            Request::Get { .. } | Request::List | Request::Servers | Request::Status => {
                Outcome::NotDone
            }
            Request::Set { .. }
            | Request::Delete { .. }
            | Request::Leave
            | Request::TransferLeadership { .. } => Outcome::Unknown,
        }
    }
}

impl Role {
    /// The word for it in `mokv.v1.StatusResponse`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Joining => "joining",
            Role::Removed => "removed",
        }
    }
}

impl HealthService {
    /// The service of a name in `grpc.health.v1.HealthCheckRequest`; `None` where there is none.
    #[must_use]
    pub fn by_name(name: &str) -> Option<HealthService> {
        match name {
            "" => Some(HealthService::Overall),
            "liveness" => Some(HealthService::Liveness),
            "readiness" => Some(HealthService::Readiness),
            "startup" => Some(HealthService::Startup),
            _ => None,
        }
    }
}
