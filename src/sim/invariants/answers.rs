//! Each request is answered at most once, and only where it was asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::Ticket;
use crate::types::NodeId;

/// Requests without an answer, by server.
#[derive(Debug, Default)]
pub(super) struct Answers {
    open: BTreeMap<NodeId, BTreeSet<Ticket>>,
}

impl Answers {
    pub(super) fn asks(&mut self, id: NodeId, ticket: Ticket) {
        self.open.entry(id).or_default().insert(ticket);
    }

    pub(super) fn answers(&mut self, id: NodeId, ticket: Ticket) -> Result<(), String> {
        let was_open = self.open.get_mut(&id).is_some_and(|open| open.remove(&ticket));
        if was_open {
            Ok(())
        } else {
            Err(format!("{id} answers request {} twice, or was never asked", ticket.0))
        }
    }

    /// A process died, and with it what it owed.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.open.remove(&id);
    }
}
