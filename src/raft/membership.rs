//! Changing who belongs to the cluster (§6, thesis §4).
//!
//! ```text
//!   voters {1 2 3}      voters {1 2 4}, outgoing {1 2 3}      voters {1 2 4}
//!   ------------------+-------------------------------------+----------------->  log
//!                     | joint: both majorities decide       | appended by the
//!                     | from its append on                  | leader when the joint one commits
//! ```
//!
//! A configuration is in force on a server from when it is appended there, committed or not, and no
//! longer when it is truncated; the log keeps track of that. A change that leaves the voters as they
//! are moves no majority and takes a single entry.
//!
//! A change is proposed only when the one before it is committed and left, and only after the leader
//! has committed an entry of its own term: otherwise two majorities could exist that do not meet
//! (the single-server bug of 2015, which joint consensus shares when configurations are uncommitted).

use std::collections::BTreeSet;

use thiserror::Error;

use super::config::MAX_UNSETTLED_BYTES;
use super::progress::Progress;
use super::{Raft, Role};
use crate::types::{Configuration, Index, NodeId};

/// The most members of a configuration to change to, learners included. A joint one, which has the
/// current voters too, then stays within what an entry may hold.
const MAX_TARGET_MEMBERS: usize = 32;

/// Why a configuration was not proposed. It is in no log and will never be in force.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// Another server leads, or none that is known.
    #[error("this server does not lead; ask the leader")]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// The leader is handing over.
    #[error("leadership is being transferred to {to}; try again soon")]
    Transferring {
        /// The server that will lead.
        to: NodeId,
    },
    /// The leader has not committed an entry of its term yet.
    #[error("the leader is new and has committed nothing yet; try again soon")]
    NotReady,
    /// The configuration at this index is not committed, or joint and not left yet.
    #[error("the change at entry {0} is still under way; try again when it is done")]
    Pending(Index),
    /// The configuration contradicts itself.
    #[error("the configuration is impossible: {0}")]
    Invalid(&'static str),
    /// Too much is uncommitted or unwritten: see [`MAX_UNSETTLED_BYTES`].
    #[error("too many proposed bytes wait to be stored; try again soon")]
    Full,
}

impl Raft {
    /// Makes `target`, which is not joint, the cluster's configuration, through a joint one where the
    /// voters change. Says where the entry is that begins the change; it is done when a configuration
    /// that is not joint commits.
    ///
    /// # Errors
    /// When it cannot be begun now, or ever, as [`ChangeError`] says.
    pub fn propose_configuration(&mut self, target: Configuration) -> Result<Index, ChangeError> {
        let Role::Leader(leader) = &self.role else {
            return Err(ChangeError::NotLeader { leader: self.leader });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ChangeError::Transferring { to: transfer.to() });
        }
        check(&target)?;
        if self.log.commit() < leader.term_start && !planted!(ChangesBeforeTermCommit) {
            return Err(ChangeError::NotReady);
        }
        if self.has_pending_change() && !planted!(ChangesOverlap) {
            return Err(ChangeError::Pending(self.log.configuration_index()));
        }
        if leader.unsettled_bytes >= MAX_UNSETTLED_BYTES {
            return Err(ChangeError::Full);
        }
        let current = self.log.configuration();
        let is_one_step = target.voters == current.voters || planted!(SkipsJoint);
        let begun = if is_one_step { target } else { joint(current, target) };
        Ok(self.append_configuration(&begun))
    }

    /// Whether a change of configuration is not done yet.
    pub(super) fn has_pending_change(&self) -> bool {
        self.log.configuration_index() > self.log.commit() || self.log.configuration().is_joint()
    }

    /// The commit index moved: a committed joint configuration is left, and who was removed by a
    /// committed one is let go.
    pub(super) fn advance_membership(&mut self) {
        if self.log.configuration_index() > self.log.commit() {
            return;
        }
        if self.log.configuration().is_joint() {
            let target = without_outgoing(self.log.configuration());
            self.append_configuration(&target);
            return;
        }
        self.let_removed_go();
        if !self.log.configuration().is_voter(self.config.id) && !planted!(RemovedLeaderLeads) {
            self.replicate();
            self.hand_over_and_step_down();
        }
    }

    fn append_configuration(&mut self, configuration: &Configuration) -> Index {
        let index = self.log.last_index().next();
        self.append_as_leader(configuration.to_entry().seal(index, self.term()));
        let Role::Leader(leader) = &mut self.role else { return index };
        for &peer in configuration.members.keys().filter(|&&peer| peer != self.config.id) {
            leader.progress.entry(peer).or_insert_with(|| Progress::new(index, self.now_ms));
        }
        // The majority that confirms reads is another one now; it may have answered already.
        self.finish_read_rounds();
        index
    }

    /// Stops serving removed members, after telling them that their removal is committed. That may
    /// be lost: a removed server can also learn it by asking any member.
    fn let_removed_go(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let is_member = |peer: &&NodeId| self.log.configuration().contains(**peer);
        let removed: Vec<NodeId> =
            leader.progress.keys().filter(|peer| !is_member(peer)).copied().collect();
        if removed.is_empty() {
            return;
        }
        self.replicate();
        for peer in removed {
            let Role::Leader(leader) = &mut self.role else { return };
            let farewell =
                leader.progress.remove(&peer).and_then(|progress| progress.ask_pipeline(&self.log));
            self.send_outgoing(peer, farewell);
        }
    }
}

/// Both the current voters and those of `target`.
fn joint(current: &Configuration, target: Configuration) -> Configuration {
    if planted!(ChangesBeforeTermCommit) {
        return target;
    }
    let mut members = current.members.clone();
    members.retain(|id, _| current.voters.contains(id));
    members.extend(target.members);
    Configuration { outgoing: current.voters.clone(), members, ..target }
}

/// What a joint configuration leads to.
fn without_outgoing(joint: &Configuration) -> Configuration {
    let mut target = Configuration { outgoing: BTreeSet::new(), ..joint.clone() };
    target.members.retain(|id, _| joint.voters.contains(id) || joint.learners.contains(id));
    target
}

fn check(target: &Configuration) -> Result<(), ChangeError> {
    let ids: BTreeSet<NodeId> = target.voters.union(&target.learners).copied().collect();
    if target.is_joint() {
        Err(ChangeError::Invalid("it is joint already"))
    } else if target.members.len() > MAX_TARGET_MEMBERS {
        Err(ChangeError::Invalid("it has too many members"))
    } else if target.voters.is_empty() {
        Err(ChangeError::Invalid("nobody votes"))
    } else if !target.voters.is_disjoint(&target.learners) {
        Err(ChangeError::Invalid("a learner votes"))
    } else if !ids.iter().eq(target.members.keys()) {
        Err(ChangeError::Invalid("its members are not its voters and learners"))
    } else {
        Ok(())
    }
}
