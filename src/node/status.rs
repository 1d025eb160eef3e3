//! What a node tells of itself.

use super::Node;
use super::requests::Departure;
use crate::types::{ClusterId, Configuration, Index, NodeId, Revision, Term};
use crate::{gossip, raft};

/// What a server is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Looks for a cluster, or waits to be let in.
    Joining,
    /// Receives the log and does not vote.
    Learner,
    /// Votes and follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Was removed.
    Removed,
}

/// A node at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its cluster, if it entered one.
    pub cluster: Option<ClusterId>,
    /// What it is to the cluster.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Raft's counters.
    pub term: Term,
    /// The last entry known to be committed.
    pub commit: Index,
    /// The last entry given to the map.
    pub applied: Index,
    /// The last entry of the log.
    pub last_index: Index,
    /// The cut of the newest snapshot.
    pub snapshot_index: Index,
    /// Commands applied.
    pub revision: Revision,
    /// Whether it knows a leader and has applied up to it.
    pub serving: bool,
}

/// A member as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// Its identity.
    pub id: NodeId,
    /// Its label.
    pub name: String,
    /// `host:port` for clients.
    pub rpc_addr: String,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it votes, and no change of that is half done: in a joint configuration a server may
    /// have a vote in one majority and none in the other.
    pub is_voter: bool,
}

impl Node {
    /// This node now.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = self.raft.status();
        Status {
            id: self.id,
            cluster: self.cluster,
            role: self.role(&raft),
            leader: raft.leader,
            term: raft.term,
            commit: raft.commit,
            applied: self.delivered,
            last_index: raft.last_index,
            snapshot_index: raft.snapshot_index,
            revision: self.revision,
            serving: self.is_serving(),
        }
    }

    /// Which of this node's queues is over its limit; there never is one.
    #[must_use]
    pub fn queue_over_limit(&self) -> Option<&'static str> {
        self.writes.over_limit().or_else(|| self.reads.over_limit())
    }

    /// The consensus of this node, to look at.
    #[must_use]
    pub fn raft(&self) -> &raft::Raft {
        &self.raft
    }

    /// The discovery of this node, to look at.
    #[must_use]
    pub fn gossip(&self) -> &gossip::Gossip {
        &self.gossip
    }

    /// Whether this node has entered a cluster.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.cluster.is_some()
    }

    /// Whether this node knows a leader and has applied up to it.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let staying = matches!(self.departure, Departure::Staying | Departure::Leaving { .. });
        staying && self.leadership.leader.is_some() && self.freshness.is_fresh()
    }

    /// The members of the latest configuration, by identity.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerView> {
        let status = self.raft.status();
        let members = status.configuration.members.iter();
        let view = |(id, member): (&NodeId, &crate::types::Member)| ServerView {
            id: *id,
            name: member.name.clone(),
            rpc_addr: member.rpc_addr.clone(),
            is_leader: status.leader == Some(*id),
            is_voter: is_settled_voter(status.configuration, *id),
        };
        members.map(view).collect()
    }

    fn role(&self, raft: &raft::Status<'_>) -> Role {
        if self.departure == Departure::Left {
            return Role::Removed;
        }
        if self.cluster.is_none() || !raft.configuration.contains(self.id) {
            return Role::Joining;
        }
        match raft.role {
            raft::RoleName::Leader => Role::Leader,
            raft::RoleName::Follower => Role::Follower,
            raft::RoleName::PreCandidate | raft::RoleName::Candidate => Role::Candidate,
            raft::RoleName::Learner => Role::Learner,
        }
    }
}

fn is_settled_voter(configuration: &Configuration, id: NodeId) -> bool {
    let in_outgoing = !configuration.is_joint() || configuration.outgoing.contains(&id);
    configuration.voters.contains(&id) && in_outgoing
}
