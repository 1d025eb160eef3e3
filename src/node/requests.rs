//! Clients' requests: taken in, started, forwarded, given up.

use std::collections::BTreeSet;

use bytes::Bytes;
use thiserror::Error;

use super::Node;
use super::effect::{Effect, Event, Failure, Ticket};
use super::message::{ForwardOutcome, PeerMessage};
use super::writes::{Answered, Batch, Proposed};
use crate::raft::{ProposeError, TransferError};
use crate::types::{Command, NodeId};

/// A request that found no answer in this time fails.
const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// After a refusal, a follower waits this long before it forwards again.
const REFUSED_PAUSE_MS: u64 = 20;
/// How often a departing server asks again.
const LEAVE_RETRY_MS: u64 = 250;
/// The largest batch a follower may forward.
pub const MAX_FORWARDED_BYTES: usize = 4 << 20;

/// Whether this server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It stays.
    Staying,
    /// It stops, and stays a member: a restart.
    Stopping,
    /// It asks the leader to be removed, next at this time.
    Leaving { ask_at_ms: u64 },
    /// It was removed from its cluster.
    Left,
}

/// Why this server cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaveError {
    /// It has not joined a cluster.
    #[error("this server is not a member of a cluster")]
    NotMember,
    /// The cluster would have no voter.
    #[error("this server is the cluster's only voter; stop it instead, or delete its data")]
    LastVoter,
}

impl Node {
    /// Takes a client's write.
    pub fn write(&mut self, ticket: Ticket, command: &Command, now_ms: u64) {
        if let Some(failure) = self.refuses_requests() {
            return self.fail_tickets(vec![ticket], failure);
        }
        if self.writes.push(ticket, command, now_ms).is_err() {
            self.fail_tickets(vec![ticket], Failure::Overloaded);
        }
    }

    /// Takes a client's linearizable read; it is answered by [`Effect::Serve`].
    pub fn read(&mut self, ticket: Ticket, now_ms: u64) {
        if let Some(failure) = self.refuses_requests() {
            return self.fail_tickets(vec![ticket], failure);
        }
        if !self.reads.push(ticket, now_ms) {
            self.fail_tickets(vec![ticket], Failure::Overloaded);
        }
    }

    /// Hands leadership to the voter named `to`, or to the most advanced one.
    ///
    /// # Errors
    /// When this server does not lead, or there is no such voter.
    pub fn transfer_leadership(
        &mut self,
        to: Option<NodeId>,
        now_ms: u64,
    ) -> Result<NodeId, TransferError> {
        self.raft.transfer_leadership(to, now_ms)
    }

    /// Stops: takes no more requests and hands leadership over. [`Node::is_drained`] says when.
    pub fn stop(&mut self, now_ms: u64) {
        if self.departure == Departure::Staying {
            self.departure = Departure::Stopping;
        }
        self.hand_over(now_ms);
    }

    /// Whether every request was answered and leadership is another's, where there is another.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let alone = self.raft.status().configuration.voters.len() <= 1;
        self.writes.is_empty() && self.reads.is_empty() && (alone || !self.is_leader())
    }

    /// Asks to be removed from the cluster for good; [`Effect::Left`] says when it is done.
    ///
    /// # Errors
    /// When there is no cluster to leave, or nobody would be left.
    pub fn leave(&mut self, now_ms: u64) -> Result<(), LeaveError> {
        if self.cluster.is_none() {
            return Err(LeaveError::NotMember);
        }
        if self.raft.status().configuration.voters.iter().eq([&self.id]) {
            return Err(LeaveError::LastVoter);
        }
        if matches!(self.departure, Departure::Staying | Departure::Stopping) {
            self.gossip.leave(now_ms);
            self.departure = Departure::Leaving { ask_at_ms: now_ms };
        }
        Ok(())
    }

    /// Proposes or forwards what has gathered.
    pub(super) fn start_writes(&mut self, now_ms: u64) {
        if self.is_leader() {
            while self.raft.accepts_proposals()
                && let Some(batch) = self.writes.next_to_propose()
            {
                self.propose(batch);
            }
        } else if let Some(leader) = self.leadership.leader {
            if !self.connected.contains(&leader) || now_ms < self.forward_after_ms {
                return;
            }
            while let Some((id, commands)) = self.writes.next_to_forward(leader) {
                self.send(leader, PeerMessage::Forward { id, commands });
            }
        }
    }

    fn propose(&mut self, batch: Batch) {
        let Batch { builder, waiters, since_ms } = batch;
        match self.raft.propose(builder) {
            Ok(index) => {
                let term = self.leadership.term;
                self.writes.proposed(Proposed { index, term, waiters, since_ms });
            }
            Err(ProposeError::Full) => self.fail(waiters, Failure::Overloaded),
            Err(ProposeError::NotLeader { .. } | ProposeError::Transferring { .. }) => {
                self.fail(waiters, Failure::NoLeader);
            }
        }
    }

    /// Starts a round for the reads that have gathered, and one for the node's own freshness.
    pub(super) fn start_reads(&mut self, now_ms: u64) {
        if self.leadership.leader.is_none() {
            return;
        }
        if self.reads.wants_round() {
            let context = self.next_context();
            self.reads.begin_round(context, now_ms);
            if self.raft.read_index(context, now_ms).is_err() {
                self.reads.lost(context);
            }
        }
        if self.freshness.wants_round(now_ms) {
            let context = self.next_context();
            self.freshness.asked(context, now_ms);
            if self.raft.read_index(context, now_ms).is_err() {
                self.freshness.lost(context, now_ms);
            }
        }
    }

    /// A follower forwarded its clients' writes.
    pub(super) fn forward_received(
        &mut self,
        from: NodeId,
        id: u64,
        commands: &Bytes,
        now_ms: u64,
    ) {
        if commands.len() > MAX_FORWARDED_BYTES {
            let cause = format!("a forwarded batch of {} bytes is over the limit", commands.len());
            return self.event(Event::BadMessage { from, cause });
        }
        let refused = PeerMessage::ForwardReply { id, outcome: ForwardOutcome::Refused };
        if !self.is_leader() || self.refuses_requests().is_some() {
            return self.send(from, refused);
        }
        match self.writes.push_forwarded(from, id, commands, now_ms) {
            Ok(Ok(())) => {}
            Ok(Err(_full)) => self.send(from, refused),
            Err(error) => self.event(Event::BadMessage { from, cause: error.to_string() }),
        }
    }

    /// The leader answered a forwarded batch.
    pub(super) fn forward_answered(
        &mut self,
        id: u64,
        from: NodeId,
        outcome: ForwardOutcome,
        now_ms: u64,
    ) {
        if outcome == ForwardOutcome::Refused {
            self.forward_after_ms = now_ms + REFUSED_PAUSE_MS;
        }
        match self.writes.forward_answered(id, from, outcome) {
            Some(Answered::Committed(waiters, first_revision)) => {
                self.answer_committed(waiters, first_revision);
            }
            Some(Answered::Unknown(waiters)) => self.fail(waiters, Failure::OutcomeUnknown),
            None => {}
        }
    }

    /// Gives up what has waited too long, and runs silent rounds again.
    pub(super) fn expire_requests(&mut self, now_ms: u64) {
        self.reads.retry(now_ms);
        let cutoff_ms = now_ms.saturating_sub(REQUEST_TIMEOUT_MS);
        let (not_done, unknown) = self.writes.expire(cutoff_ms);
        self.fail(not_done, Failure::NoLeader);
        self.fail(unknown, Failure::OutcomeUnknown);
        let reads = self.reads.expire(cutoff_ms);
        self.fail_tickets(reads, Failure::NoLeader);
    }

    /// Moves this server's departure along.
    pub(super) fn depart(&mut self, now_ms: u64) {
        match self.departure {
            Departure::Left => {}
            _ if self.delivered_configuration.has_removed(self.id) => self.removed(),
            Departure::Staying => {}
            Departure::Stopping => {
                if self.leadership.leader.is_none() {
                    self.turn_waiting_away();
                }
                self.hand_over(now_ms);
            }
            Departure::Leaving { ask_at_ms } if now_ms >= ask_at_ms => {
                self.departure = Departure::Leaving { ask_at_ms: now_ms + LEAVE_RETRY_MS };
                self.ask_to_leave(now_ms);
            }
            Departure::Leaving { .. } => {}
        }
    }

    /// Hands leadership over, if this server leads.
    fn hand_over(&mut self, now_ms: u64) {
        if self.is_leader() {
            // Refused while a transfer runs already, or where nobody can take over: tried again soon.
            let _ = self.raft.transfer_leadership(None, now_ms);
        }
    }

    /// Asks the leader to remove this server. Once that is done nobody sends heartbeats here any more,
    /// so without a known leader all members are asked; the one that leads answers.
    fn ask_to_leave(&mut self, now_ms: u64) {
        match self.leadership.leader {
            Some(leader) if leader == self.id && !planted!(RemovedLeaderLeads) => {
                self.hand_over(now_ms);
            }
            Some(leader) => self.send(leader, PeerMessage::Leave),
            None => {
                let peers: Vec<NodeId> = self.links.keys().copied().collect();
                for peer in peers {
                    self.send(peer, PeerMessage::Leave);
                }
            }
        }
    }

    /// A member asks to be removed. The answer comes once it is not in a committed configuration.
    pub(super) fn leave_received(&mut self, from: NodeId) {
        if !self.is_leader() {
            return;
        }
        let gone = |configuration: &crate::types::Configuration| !configuration.contains(from);
        if gone(self.raft.status().configuration) && gone(&self.delivered_configuration) {
            self.leaving_members.remove(&from);
            self.send(from, PeerMessage::Removed);
        } else {
            self.leaving_members.insert(from);
        }
    }

    /// This server is no member any more, by its own log or by the leader's word. It may not know that
    /// it asked for it: a crash forgets the wish.
    pub(super) fn removed(&mut self) {
        if self.departure == Departure::Left {
            return;
        }
        if !matches!(self.departure, Departure::Leaving { .. }) {
            self.event(Event::Removed);
        }
        self.departure = Departure::Left;
        self.turn_waiting_away();
        self.effects.push_back(Effect::Left);
    }

    /// Fails the requests that nothing was done for yet.
    fn turn_waiting_away(&mut self) {
        let writes = self.writes.take_waiting();
        self.fail(writes, Failure::ShuttingDown);
        let reads = self.reads.take_all();
        self.fail_tickets(reads, Failure::ShuttingDown);
    }

    /// Whether requests are refused at the door.
    fn refuses_requests(&self) -> Option<Failure> {
        match self.departure {
            Departure::Staying | Departure::Leaving { .. } if self.cluster.is_none() => {
                Some(Failure::NotJoined)
            }
            Departure::Staying | Departure::Leaving { .. } => None,
            Departure::Stopping | Departure::Left => Some(Failure::ShuttingDown),
        }
    }

    /// The members that asked to leave, by a message to this leader or by gossip.
    pub(super) fn departing_members(&self) -> BTreeSet<NodeId> {
        let gossiped = self.gossip.members().filter(|m| {
            m.state == crate::gossip::State::Left
                || (planted!(DeadVotersRemoved) && m.state == crate::gossip::State::Dead)
        });
        self.leaving_members.iter().copied().chain(gossiped.map(|member| member.id)).collect()
    }
}
