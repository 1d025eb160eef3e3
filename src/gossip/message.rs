//! What members say to each other, and why it may be refused.

use std::net::SocketAddr;

use thiserror::Error;

use crate::types::{ClusterId, NodeId};

use super::member::Claim;

/// Who says it. Every message carries this, so that clusters never mix by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) id: NodeId,
    pub(super) cluster: Option<ClusterId>,
}

/// A datagram: one step of a probe or none, and as many claims as fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sender: Sender,
    pub(super) body: Body,
    pub(super) claims: Vec<Claim>,
}

/// A step of a probe (SWIM §3.1). A sequence number is its sender's own, and comes back in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Are you there? Only `target` may answer: another member may have its address by now.
    Ping { seq: u32, target: NodeId },
    /// Please ping `target` at `addr` for me.
    PingReq { seq: u32, target: NodeId, addr: SocketAddr },
    /// I am here, or: the one you asked me to ping is.
    Ack { seq: u32 },
    /// I am here and did ping whom you asked for, and hear nothing (Lifeguard §IV-A).
    Nack { seq: u32 },
    /// Only claims.
    Gossip,
}

/// Which half of an exchange of whole tables a stream message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Request,
    Reply,
}

/// A stream message: all that its sender knows and its receiver may hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushPull {
    pub(super) half: Half,
    pub(super) sender: Sender,
    pub(super) claims: Vec<Claim>,
}

/// Why a message was refused. Nothing of a refused message takes effect.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PacketError {
    /// It ends before it is complete.
    #[error("the message is cut short")]
    Short,
    /// It is longer than any message of this protocol.
    #[error("the message has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// It was damaged, or is no gossip at all.
    #[error("the message's checksum is {found:08x}, its bytes make {computed:08x}")]
    Checksum {
        /// In the message.
        found: u32,
        /// Of the message.
        computed: u32,
    },
    /// It comes from another version of this protocol.
    #[error("the message has the version {0}, this node speaks version 1")]
    Version(u8),
    /// No kind of message that may come this way.
    #[error("the message has the unexpected kind {0}")]
    Kind(u8),
    /// A field holds what it never may.
    #[error("the message's {0} is invalid")]
    Field(&'static str),
    /// It says that this very node has sent it: a node dialled itself, or two nodes share a copy of
    /// one data directory.
    #[error("the message carries this node's own id: is a data directory used twice?")]
    OwnId,
    /// It is a probe of a member that used to have this address.
    #[error("the message is a probe of {target}, which is not this node")]
    NotForUs {
        /// Whom it was meant for.
        target: NodeId,
    },
    /// It comes from a member of another cluster.
    #[error("{node} belongs to cluster {theirs}, this node to {ours}: check the join addresses")]
    ForeignCluster {
        /// The sender.
        node: NodeId,
        /// Its cluster.
        theirs: ClusterId,
        /// This node's cluster.
        ours: ClusterId,
    },
}
