//! Elections: who may lead, and when a leader must stop (§5.2, §5.4.1).
//!
//! Three additions keep elections from doing harm:
//! - *Pre-vote* (thesis §9.6): before a server enters a new term it asks whether it could win, so a
//!   server that comes back from a partition disturbs nobody.
//! - *Stickiness* (§6, thesis §4.2.3): whoever has heard a leader within the election timeout
//!   refuses to help replace it, so a removed server cannot disrupt the cluster either.
//! - *Check-quorum* (thesis §6.2): a leader that has not heard a majority within the election
//!   timeout steps down, so stickiness cannot keep a leader alive that nobody can reach.
//!
//! And one more: a server whose disk has stalled for an election timeout neither leads nor campaigns.
//! Its heartbeats would keep a leader alive that can store nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Message, Position};
use super::progress::Progress;
use super::quorum::{self, Outcome};
use super::read_index::ReadRounds;
use super::{Leader, Raft, Role};
use crate::types::{Entry, HardState, NodeId, Term};

/// The answers to a campaign. A server is in at most one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ballot {
    granted: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
}

impl Ballot {
    fn record(&mut self, voter: NodeId, granted: bool) {
        // The first answer counts; a repeated one says the same.
        if granted && !self.refused.contains(&voter) {
            self.granted.insert(voter);
        } else if !granted && !self.granted.contains(&voter) {
            self.refused.insert(voter);
        }
    }
}

impl Raft {
    /// Brings the server to the message's term, and says whether the message is to be handled.
    pub(super) fn admit(&mut self, from: NodeId, message: &Message) -> bool {
        if message.is_hypothetical() {
            return true;
        }
        let term = message.term();
        if term > self.term() {
            if message.is_uninvited_campaign() && self.hears_a_leader() {
                return false;
            }
            self.become_follower(term);
        }
        if planted!(ReadTermUnchecked)
            && let Message::Heartbeat { round, .. } = *message
        {
            self.send(from, Message::HeartbeatReply { term, round });
        } else if term < self.term() && message.claims_the_term() {
            self.send(from, Message::NewerTerm { term: self.term() });
        }
        term == self.term() || planted!(AcceptsStaleTerm)
    }

    /// The leader of this term was heard.
    ///
    /// # Panics
    /// When this server leads the term itself: two leaders in a term would be the end of safety.
    pub(super) fn follow(&mut self, leader: NodeId) {
        assert!(
            !matches!(self.role, Role::Leader(_))
                && self.leader.is_none_or(|known| known == leader),
            "{leader} leads term {}, and so does {:?}",
            self.term(),
            self.leader
        );
        self.role = Role::Follower;
        self.leader = Some(leader);
        self.leader_contact_ms = self.now_ms;
        self.reset_election_deadline();
    }

    /// Gives up whatever it was in its term.
    pub(super) fn step_down(&mut self) {
        self.become_follower(self.term());
    }

    /// Enters a term as an undecided server; an older or equal one changes nothing.
    pub(super) fn enter_term(&mut self, term: Term) {
        if term > self.term() {
            self.hard_state = HardState { term, vote: None };
        }
    }

    pub(super) fn reset_election_deadline(&mut self) {
        let timeout_ms = self.config.election_timeout_ms;
        let random_ms = self.prng.below(timeout_ms);
        self.election_deadline_ms = self.now_ms.saturating_add(timeout_ms + random_ms);
    }

    /// Whether nobody else votes, so that there is no need to wait for anyone.
    pub(super) fn is_sole_voter(&self) -> bool {
        let id = self.config.id;
        let configuration = self.log.configuration();
        !configuration.is_joint() && configuration.voters.iter().eq([&id])
    }

    /// The leader has been silent for too long, or the campaign has led to nothing.
    pub(super) fn tick_election(&mut self) {
        if self.now_ms < self.election_deadline_ms {
            return;
        }
        self.become_follower(self.term());
        self.reset_election_deadline();
        if self.may_campaign() && planted!(NoStickiness) {
            self.campaign(false);
        } else if self.may_campaign() {
            self.pre_campaign();
        }
    }

    pub(super) fn tick_leader(&mut self) {
        if !self.has_majority_contact() && !planted!(NoCheckQuorum) {
            // Whoever can still be heard could not win either, so nobody is told to campaign.
            self.step_down();
            return;
        }
        if self.disk_is_stalled() && !planted!(StalledDiskLeads) {
            self.hand_over_and_step_down();
            return;
        }
        self.expire_transfer();
        let Role::Leader(leader) = &mut self.role else { return };
        if self.now_ms >= leader.heartbeat_deadline_ms {
            leader.heartbeat_deadline_ms = self.now_ms + self.config.heartbeat_interval_ms;
            self.broadcast_heartbeat();
        }
    }

    /// Campaigns in a new term, in earnest.
    pub(super) fn campaign(&mut self, transfer: bool) {
        let next_term = self.term().next();
        let is_reused = planted!(CampaignsInOldTerm) && self.term() > Term(0);
        self.become_follower(if is_reused { self.term() } else { next_term });
        self.hard_state.vote = Some(self.config.id);
        self.role = Role::Candidate(Ballot::default());
        self.reset_election_deadline();
        let last = self.log.last();
        let term = self.term();
        self.send_to_voters(|| Message::Vote { term, last, transfer });
    }

    /// Whether this server could lead now. One that its latest configuration removes still campaigns
    /// until that is committed: the others may lack the entry, and then cannot win without its vote,
    /// which it refuses because its log is longer (thesis §4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        self.log.may_be_voter(self.config.id) && !self.disk_is_stalled() && !self.is_installing()
    }

    /// The candidate's vote for itself counts when it is durable, like every other vote.
    pub(super) fn count_own_vote(&mut self) {
        if self.durability.has(self.hard_state) {
            self.on_vote_reply(self.config.id, true);
        }
    }

    pub(super) fn on_pre_vote(&mut self, from: NodeId, term: Term, last: Position) {
        let granted = term > self.term()
            && !self.hears_a_leader()
            && last.is_up_to_date_with(self.log.last());
        let term = if granted { term } else { self.term() };
        self.send(from, Message::PreVoteReply { term, granted });
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool) {
        let next_term = self.term().next();
        let Role::PreCandidate(ballot) = &mut self.role else { return };
        if granted && term != next_term {
            return;
        }
        ballot.record(from, granted);
        match quorum::outcome(self.log.configuration(), &ballot.granted, &ballot.refused) {
            Outcome::Won => self.campaign(false),
            Outcome::Open => {}
            Outcome::Lost => self.step_down(),
        }
    }

    pub(super) fn on_vote(&mut self, from: NodeId, last: Position) {
        let is_free = self.hard_state.vote.is_none() && self.leader.is_none();
        let granted = (is_free || self.hard_state.vote == Some(from) || planted!(VotesTwice))
            && last.is_up_to_date_with(self.log.last());
        if granted {
            self.hard_state.vote = Some(from);
            self.reset_election_deadline();
        }
        self.send(from, Message::VoteReply { term: self.term(), granted });
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        let Role::Candidate(ballot) = &mut self.role else { return };
        ballot.record(from, granted);
        match quorum::outcome(self.log.configuration(), &ballot.granted, &ballot.refused) {
            Outcome::Won => self.become_leader(),
            Outcome::Open => {}
            Outcome::Lost => self.step_down(),
        }
    }

    fn pre_campaign(&mut self) {
        self.role = Role::PreCandidate(Ballot::default());
        let message = Message::PreVote { term: self.term().next(), last: self.log.last() };
        self.send_to_voters(|| message.clone());
        self.on_pre_vote_reply(self.config.id, self.term().next(), true);
    }

    /// Becomes a follower that knows no leader, in `term` or in its own if that is not newer.
    fn become_follower(&mut self, term: Term) {
        match std::mem::replace(&mut self.role, Role::Follower) {
            Role::Leader(mut leader) => {
                leader.reads.lose(&mut self.outbox.read_states);
                self.reset_election_deadline();
            }
            Role::PreCandidate(_) | Role::Candidate(_) => self.reset_election_deadline(),
            Role::Follower => {}
        }
        self.leader = None;
        self.forwarded.lose(&mut self.outbox.read_states);
        self.enter_term(term);
    }

    fn become_leader(&mut self) {
        let id = self.config.id;
        let next_index = self.log.last_index().next();
        let members = self.log.configuration().members.keys();
        let progress: BTreeMap<NodeId, Progress> = members
            .filter(|&&peer| peer != id)
            .map(|&peer| (peer, Progress::new(next_index, self.now_ms)))
            .collect();
        self.role = Role::Leader(Box::new(Leader {
            progress,
            term_start: next_index,
            unsettled_bytes: self.log.unsettled_bytes(self.durability.index()),
            heartbeat_deadline_ms: self.now_ms + self.config.heartbeat_interval_ms,
            reads: ReadRounds::default(),
            transfer: None,
        }));
        self.leader = Some(id);
        self.incoming = None;
        if !planted!(CommitsPriorTerm) {
            self.append_as_leader(Entry::noop(next_index, self.term()));
        }
    }

    /// Whether a leader is known to have been alive within the election timeout.
    fn hears_a_leader(&self) -> bool {
        let silent_ms = self.now_ms - self.leader_contact_ms;
        match self.role {
            Role::Leader(_) => true,
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => {
                let is_alive = silent_ms < self.config.election_timeout_ms;
                self.leader.is_some() && is_alive && !planted!(NoStickiness)
            }
        }
    }

    fn disk_is_stalled(&self) -> bool {
        self.durability.is_stalled(self.now_ms, self.config.election_timeout_ms)
    }

    /// Whether a majority has answered within the election timeout.
    fn has_majority_contact(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let since_ms = quorum::agreed(self.log.configuration(), |voter| {
            if voter == self.config.id {
                self.now_ms
            } else {
                leader.progress.get(&voter).map_or(0, Progress::contact_ms)
            }
        });
        since_ms.is_some_and(|ms| self.now_ms - ms < self.config.election_timeout_ms)
    }

    fn send_to_voters(&mut self, message: impl Fn() -> Message) {
        let configuration = self.log.configuration();
        for &voter in configuration.voters.union(&configuration.outgoing) {
            if voter != self.config.id {
                self.outbox.send(voter, message());
            }
        }
    }
}
