//! What a server knows of itself and its cluster, for membership policy, health and people.

use std::collections::BTreeMap;
use std::fmt;

use super::progress::{Progress, ProgressState};
use super::{Position, Raft, Role};
use crate::types::{Configuration, HardState, Index, NodeId, Term};

/// A view of one server at one moment.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// The server.
    pub id: NodeId,
    /// What it is in its term.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader of the term, where it is known and has not fallen silent.
    pub leader: Option<NodeId>,
    /// Up to where entries are known to be committed.
    pub commit: Index,
    /// The last entry of the log.
    pub last_index: Index,
    /// The first entry that the log still holds, or that it will hold.
    pub first_index: Index,
    /// The last entry of the newest durable snapshot.
    pub snapshot_index: Index,
    /// The configuration in force: the latest in the log, committed or not.
    pub configuration: &'a Configuration,
    /// The entry that brought the latest committed configuration, or the snapshot that holds it.
    pub committed_configuration_index: Index,
    /// Whether a change of configuration is not done yet.
    pub has_pending_change: bool,
    /// Every other member, as the leader sees it; empty on the others.
    pub progress: BTreeMap<NodeId, PeerStatus>,
}

/// The numbers that change with almost every input, for whoever watches each step of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What it is in its term.
    pub role: RoleName,
    /// Its term and vote, durable or not.
    pub hard_state: HardState,
    /// Up to where entries are known to be committed.
    pub commit: Index,
    /// The last entry of the log.
    pub last: Position,
    /// The entry that brought the configuration in force.
    pub configuration_index: Index,
}

/// A follower or learner, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its log is durable and equal to the leader's up to here.
    pub match_index: Index,
    /// When it last answered, in ms of the leader's clock.
    pub last_contact_ms: u64,
    /// How it is being served.
    pub state: ProgressState,
}

/// What a server is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// It decides what enters the log.
    Leader,
    /// It stores what the leader sends, and votes.
    Follower,
    /// It asks whether it could win an election.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It stores what the leader sends, and does not vote; also a server in no configuration.
    Learner,
}

impl Raft {
    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        Status {
            id: self.config.id,
            role: self.role_name(),
            term: self.term(),
            leader: self.leader,
            commit: self.log.commit(),
            last_index: self.log.last_index(),
            first_index: self.log.first_index(),
            snapshot_index: self.log.snapshot().index,
            configuration: self.log.configuration(),
            committed_configuration_index: self.log.committed_configuration_index(),
            has_pending_change: self.has_pending_change(),
            progress: self.peers(),
        }
    }

    /// The current term and its leader, where one is known: the part of [`status`](Raft::status) that
    /// is looked at after every input.
    #[must_use]
    pub fn leadership(&self) -> (Term, Option<NodeId>) {
        (self.term(), self.leader)
    }

    /// The numbers that change with almost every input.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline {
            role: self.role_name(),
            hard_state: self.hard_state,
            commit: self.log.commit(),
            last: self.log.last(),
            configuration_index: self.log.configuration_index(),
        }
    }

    /// Where the configuration in force came from: two that differ have different places. There is no
    /// term where its entry was dropped from the log.
    #[must_use]
    pub fn configuration_place(&self) -> (Index, Option<Term>) {
        let index = self.log.configuration_index();
        (index, self.term_at(index))
    }

    /// The configuration in force.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.log.configuration()
    }

    /// The term of the entry at `index`; `None` where the log does not hold it.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.position(index).map(|position| position.term)
    }

    fn role_name(&self) -> RoleName {
        match self.role {
            Role::Leader(_) => RoleName::Leader,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Follower if self.log.configuration().is_voter(self.config.id) => {
                RoleName::Follower
            }
            Role::Follower => RoleName::Learner,
        }
    }

    fn peers(&self) -> BTreeMap<NodeId, PeerStatus> {
        let Role::Leader(leader) = &self.role else { return BTreeMap::new() };
        let status = |progress: &Progress| PeerStatus {
            match_index: progress.match_index(),
            last_contact_ms: progress.contact_ms(),
            state: progress.state(),
        };
        leader.progress.iter().map(|(&peer, progress)| (peer, status(progress))).collect()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleName::Leader => "leader",
            RoleName::Follower => "follower",
            RoleName::PreCandidate => "pre-candidate",
            RoleName::Candidate => "candidate",
            RoleName::Learner => "learner",
        })
    }
}
