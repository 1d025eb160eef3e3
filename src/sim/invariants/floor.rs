//! No server loses its vote by silence alone: who neither asked to leave nor lost its disk may be
//! removed only by the policy for the dead, and only while as many voters stay as it must leave.
//!
//! Gossip is a hint. A policy that removed whoever gossip holds for dead would shrink the quorum
//! until a partition or a rolling restart loses it.

use std::collections::BTreeSet;

use crate::types::{Configuration, Index, NodeId};

/// Who votes, and who may stop.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// The voters of the last committed configuration, outgoing ones included, and its index.
    voters: BTreeSet<NodeId>,
    index: Index,
    may_go: BTreeSet<NodeId>,
    /// The dead may be removed where so many voters stay; `None`: never.
    spares: Option<usize>,
}

impl Floor {
    pub(super) fn new(spares: Option<usize>) -> Floor {
        Floor { spares, ..Floor::default() }
    }

    pub(super) fn may_go(&mut self, id: NodeId) {
        self.may_go.insert(id);
    }

    /// The index of the last committed configuration.
    pub(super) fn index(&self) -> Index {
        self.index
    }

    /// The configuration at `index` is committed.
    pub(super) fn commits(
        &mut self,
        index: Index,
        configuration: &Configuration,
    ) -> Result<(), String> {
        if index <= self.index {
            return Ok(());
        }
        self.index = index;
        let voters = &configuration.voters | &configuration.outgoing;
        let before = std::mem::replace(&mut self.voters, voters);
        let is_spared = self.spares.is_some_and(|floor| configuration.voters.len() >= floor);
        let lost =
            before.iter().find(|id| !configuration.is_voter(**id) && !self.may_go.contains(id));
        match lost {
            Some(id) if !is_spared => {
                Err(format!("{id} lost its vote at {index} without asking for it"))
            }
            Some(_) | None => Ok(()),
        }
    }
}
