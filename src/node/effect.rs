//! What a node wants done. The driver carries effects out in the order they come.

use std::net::SocketAddr;

use bytes::Bytes;
use thiserror::Error;

use super::message::PeerMessage;
use crate::raft::ReadyNumber;
use crate::types::{
    ClusterId, Configuration, Entry, HardState, Index, NodeId, Revision, SnapshotMeta,
};

/// The driver's name for a client's request. The node gives it back, exactly once, with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Send a message over the peer link to `to`; it may be dropped, Raft copes.
    Send {
        /// The receiver.
        to: NodeId,
        /// What to send.
        message: PeerMessage,
    },
    /// Make this durable, in order, then call [`Node::persisted`](super::Node::persisted).
    Persist(Persist),
    /// Apply a committed entry to the map; its first command has `first_revision`. Every index comes
    /// exactly once, in order.
    Apply {
        /// Of any kind; only commands change the map.
        entry: Entry,
        /// The revision of its first command.
        first_revision: Revision,
    },
    /// All that these linearizable reads must see was applied by earlier effects: answer them.
    Serve(Vec<Ticket>),
    /// These writes are committed, at these revisions.
    Written(Vec<(Ticket, Revision)>),
    /// These requests failed.
    Failed(Vec<Ticket>, Failure),
    /// The cut for a snapshot is here, between the effects before and after: freeze the map, write
    /// the snapshot, then call [`Node::snapshot_saved`](super::Node::snapshot_saved).
    TakeSnapshot(SnapshotMeta),
    /// A durable snapshot covers the log before `first_retained`: recycle it.
    TruncateLog {
        /// The first index that must stay.
        first_retained: Index,
    },
    /// Read part of a snapshot file for a follower, then call
    /// [`Node::snapshot_chunk`](super::Node::snapshot_chunk).
    ReadSnapshot {
        /// The follower it is for.
        to: NodeId,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Where to read.
        offset: u64,
    },
    /// Send a gossip datagram.
    SendPacket {
        /// The receiver.
        to: SocketAddr,
        /// The datagram.
        bytes: Bytes,
    },
    /// Exchange full gossip state over TCP, then call
    /// [`Node::push_pull_reply`](super::Node::push_pull_reply).
    PushPull {
        /// The receiver.
        to: SocketAddr,
        /// The request.
        bytes: Bytes,
    },
    /// Keep a peer link to this server, at this address.
    SetPeer {
        /// The peer.
        id: NodeId,
        /// `host:port`, to be resolved at each dial.
        addr: String,
    },
    /// Close the peer link to this server.
    RemovePeer {
        /// The peer.
        id: NodeId,
    },
    /// Resolve the configured seeds and these members' addresses, then call
    /// [`Node::seeds`](super::Node::seeds).
    ResolveSeeds {
        /// `host:port` of members that the log names.
        members: Vec<String>,
    },
    /// Make a new cluster durable: the entry and the hard state in the log, then the cluster id in
    /// the identity; then call [`Node::cluster_entered`](super::Node::cluster_entered).
    CreateCluster {
        /// The new cluster's identity.
        cluster: ClusterId,
        /// Its first entry: a configuration of its founders.
        entry: Entry,
        /// The term of that entry.
        hard_state: HardState,
    },
    /// Make the cluster id durable in the identity; then call
    /// [`Node::cluster_entered`](super::Node::cluster_entered).
    JoinCluster {
        /// The cluster the seeds belong to.
        cluster: ClusterId,
    },
    /// This server is a member from now on: open its links.
    ClusterEntered {
        /// Its cluster.
        cluster: ClusterId,
    },
    /// This server was removed from its cluster: stop it, and set its data aside.
    Left,
    /// Something a person on call wants in the log.
    Event(Event),
}

/// What must be durable before the node may act on it.
#[derive(Debug)]
pub struct Persist {
    /// Acknowledge with this number; it acknowledges all before it too.
    pub number: ReadyNumber,
    /// A new term or vote.
    pub hard_state: Option<HardState>,
    /// Entries to append; the first may supersede the tail of the log on disk.
    pub entries: Vec<Entry>,
    /// Parts of a snapshot that a leader sends.
    pub snapshot_writes: Vec<crate::raft::SnapshotWrite>,
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// No leader was found in time; nothing happened.
    #[error("no leader is known: a majority of the voters is down or out of reach")]
    NoLeader,
    /// The leader changed, or did not answer, after the write was handed to it.
    #[error("leadership changed while the write was on its way; it may or may not take effect")]
    OutcomeUnknown,
    /// Too much is waiting already; nothing happened.
    #[error("too many requests are waiting for the disk or the network")]
    Overloaded,
    /// This server has not joined a cluster; nothing happened.
    #[error("this server has not joined a cluster yet")]
    NotJoined,
    /// This server is stopping; nothing happened.
    #[error("this server is shutting down")]
    ShuttingDown,
}

/// Changes worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This server leads, follows another, or knows no leader.
    Leader {
        /// The term.
        term: u64,
        /// The leader.
        leader: Option<NodeId>,
    },
    /// The leader proposes a change of the members.
    Proposed {
        /// The new configuration.
        target: Configuration,
        /// Why, in words.
        reason: String,
    },
    /// A new configuration is in force.
    Configured(Configuration),
    /// This server was removed from its cluster, and does not know that it asked for it.
    Removed,
    /// A peer's message could not be read.
    BadMessage {
        /// The sender.
        from: NodeId,
        /// The cause.
        cause: String,
    },
    /// A member of gossip changed.
    Member {
        /// Its label.
        name: String,
        /// Its identity.
        id: NodeId,
        /// What it is thought to be now.
        state: crate::gossip::State,
    },
    /// A gossip message was refused.
    BadGossip {
        /// The sender.
        from: SocketAddr,
        /// The cause.
        cause: String,
    },
    /// The seeds belong to more than one cluster; this server joins none of them.
    ManyClusters(Vec<ClusterId>),
    /// Members of these clusters speak to this server, which has none and whose seeds know none.
    Uninvited(Vec<ClusterId>),
    /// Another server with a member's name wants to join while that member is alive.
    NameTaken {
        /// The name.
        name: String,
        /// Who wants it.
        id: NodeId,
    },
}
