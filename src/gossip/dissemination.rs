//! Which news is still to be told, and how often it has been: SWIM §4.1, infection style.
//!
//! A rumour is only the id of a member about which there is news. What is said of it is what the
//! table holds at the moment of sending, so an outdated rumour cannot be sent, and there are never
//! more rumours than members.

use std::collections::BTreeMap;

use crate::types::NodeId;

/// The news that rides on outgoing packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Rumours {
    pending: BTreeMap<NodeId, Pending>,
    next_serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    transmits: u32,
    /// Later news has a greater one.
    serial: u64,
}

impl Rumours {
    /// There is news about `id`; older news about it is forgotten.
    pub(super) fn push(&mut self, id: NodeId) {
        self.pending.insert(id, Pending { transmits: 0, serial: self.next_serial });
        self.next_serial += 1;
    }

    /// What to tell first: what was told least often and, among those, what is newest.
    pub(super) fn in_order(&self) -> Vec<NodeId> {
        let mut ids: Vec<(Pending, NodeId)> =
            self.pending.iter().map(|(id, pending)| (*pending, *id)).collect();
        ids.sort_by_key(|(pending, _)| (pending.transmits, u64::MAX - pending.serial));
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// `id` was told once more; after `limit` times it is news no longer.
    pub(super) fn transmitted(&mut self, id: NodeId, limit: u32) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.transmits += 1;
            if pending.transmits >= limit {
                self.pending.remove(&id);
            }
        }
    }

    /// `id` is not worth telling any more.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.pending.remove(&id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    #[test]
    fn the_least_told_comes_first_and_then_the_newest() {
        let mut rumours = Rumours::default();
        rumours.push(A);
        rumours.push(B);
        rumours.push(C);
        rumours.transmitted(C, 9);
        assert_eq!(rumours.in_order(), [B, A, C]);
        rumours.push(A);
        assert_eq!(rumours.in_order(), [A, B, C]);
    }

    #[test]
    fn a_rumour_is_told_up_to_its_limit() {
        let mut rumours = Rumours::default();
        rumours.push(A);
        rumours.transmitted(A, 2);
        assert!(rumours.in_order().contains(&A));
        rumours.transmitted(A, 2);
        assert!(rumours.is_empty());
        rumours.transmitted(A, 2);
        assert!(rumours.is_empty());
    }

    #[test]
    fn newer_news_starts_counting_anew() {
        let mut rumours = Rumours::default();
        rumours.push(A);
        rumours.transmitted(A, 2);
        rumours.push(A);
        rumours.transmitted(A, 2);
        assert!(rumours.in_order().contains(&A));
    }
}
