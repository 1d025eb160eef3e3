//! Handing over leadership (thesis §3.10).
//!
//! The leader stops taking proposals, waits until the target's log is complete, and tells it to
//! campaign at once; that campaign says that it was asked for, so nobody sticks to the old leader.
//! If nothing came of it within an election timeout, the leader goes on leading.

use thiserror::Error;

use super::message::Message;
use super::progress::Progress;
use super::{Raft, Role};
use crate::types::NodeId;

/// A transfer under way.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    to: NodeId,
    deadline_ms: u64,
    /// The target was told to campaign.
    is_told: bool,
}

/// Why leadership is not being transferred.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TransferError {
    /// Another server leads, or none that is known.
    #[error("this server does not lead; ask the leader")]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// Leadership goes to somebody else already.
    #[error("leadership is being transferred to {to} already")]
    InProgress {
        /// The server that will lead.
        to: NodeId,
    },
    /// The target is this server, or none that votes.
    #[error("{0} is not another voter of the cluster; name one")]
    NotAVoter(NodeId),
    /// No other voter has been heard lately.
    #[error("no other voter can take over")]
    NoTarget,
}

impl Transfer {
    pub(super) fn to(&self) -> NodeId {
        self.to
    }
}

impl Raft {
    /// Hands leadership to `to`, or to the most up-to-date voter, and says to whom. Proposals are
    /// refused until it is done or an election timeout has passed.
    ///
    /// # Errors
    /// When there is nothing to hand over or nobody to take it, as [`TransferError`] says.
    pub fn transfer_leadership(
        &mut self,
        to: Option<NodeId>,
        now_ms: u64,
    ) -> Result<NodeId, TransferError> {
        self.advance_clock(now_ms);
        let Role::Leader(leader) = &self.role else {
            return Err(TransferError::NotLeader { leader: self.leader });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(TransferError::InProgress { to: transfer.to });
        }
        let to = match to {
            Some(to) if !self.may_take_over(to) => return Err(TransferError::NotAVoter(to)),
            Some(to) => to,
            None => self.best_successor().ok_or(TransferError::NoTarget)?,
        };
        let deadline_ms = self.now_ms + self.config.election_timeout_ms;
        if let Role::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer { to, deadline_ms, is_told: false });
        }
        self.advance_transfer();
        Ok(to)
    }

    /// Tells the target to campaign once its log is complete.
    pub(super) fn advance_transfer(&mut self) {
        let term = self.term();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let matched = leader.progress.get(&transfer.to).map(Progress::match_index);
        if !transfer.is_told && matched == Some(self.log.last_index()) {
            transfer.is_told = true;
            self.outbox.send(transfer.to, Message::TimeoutNow { term });
        }
    }

    /// Goes on leading when the transfer took too long.
    pub(super) fn expire_transfer(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let is_over = |transfer: &mut Transfer| {
            self.now_ms >= transfer.deadline_ms && !planted!(TransferNeverExpires)
        };
        leader.transfer.take_if(is_over);
    }

    /// Stops leading at once, and spares the others the wait for their election timeout.
    pub(super) fn hand_over_and_step_down(&mut self) {
        if let Some(successor) = self.best_successor() {
            self.send(successor, Message::TimeoutNow { term: self.term() });
        }
        self.step_down();
    }

    pub(super) fn on_timeout_now(&mut self, from: NodeId) {
        if self.known_leader() == Some(from) && self.may_campaign() {
            self.campaign(true);
        }
    }

    /// The voter with the longest log among those heard within the election timeout.
    fn best_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let is_alive = |progress: &Progress| {
            self.now_ms - progress.contact_ms() < self.config.election_timeout_ms
        };
        let candidates = leader
            .progress
            .iter()
            .filter(|(peer, progress)| self.may_take_over(**peer) && is_alive(progress));
        candidates.max_by_key(|(_, progress)| progress.match_index()).map(|(&peer, _)| peer)
    }

    fn may_take_over(&self, peer: NodeId) -> bool {
        peer != self.config.id && self.log.configuration().voters.contains(&peer)
    }
}
