//! What the disk has, and what it was asked to keep but has not confirmed yet.
//!
//! Several [`Ready`](super::Ready)s may be on their way to the disk at once; they become durable in
//! order. A leader counts itself, and a candidate its own vote, only from what is confirmed here.

use std::collections::VecDeque;

use super::ready::ReadyNumber;
use crate::types::{HardState, Index};

/// The disk's side of one server.
#[derive(Clone, Debug)]
pub(super) struct Durability {
    /// The term and vote that the disk has.
    hard_state: HardState,
    /// Entries up to here are on the disk as they are in the log. It falls when they are truncated.
    index: Index,
    /// Readys on their way, by rising number.
    queue: VecDeque<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    number: ReadyNumber,
    hard_state: Option<HardState>,
    /// The last entry it brings, unless a truncation or an installed snapshot overtook it.
    last: Index,
    since_ms: u64,
}

impl Durability {
    /// A disk that holds what was recovered from it.
    pub(super) fn recovered(hard_state: HardState, index: Index) -> Durability {
        Durability { hard_state, index, queue: VecDeque::new() }
    }

    /// Up to where the log is durable.
    pub(super) fn index(&self) -> Index {
        self.index
    }

    /// Whether this term and vote are what the disk has.
    pub(super) fn has(&self, hard_state: HardState) -> bool {
        self.hard_state == hard_state
    }

    /// Whether the disk has owed its oldest confirmation for `limit_ms` or longer.
    pub(super) fn is_stalled(&self, now_ms: u64, limit_ms: u64) -> bool {
        self.queue.front().is_some_and(|oldest| now_ms >= oldest.since_ms.saturating_add(limit_ms))
    }

    /// A Ready goes to the disk; the log reaches to `last` with it.
    pub(super) fn hand_over(
        &mut self,
        number: ReadyNumber,
        hard_state: Option<HardState>,
        last: Index,
        now_ms: u64,
    ) {
        self.queue.push_back(Pending { number, hard_state, last, since_ms: now_ms });
    }

    /// All Readys up to `number` are durable. What is still on its way is watched from now on.
    pub(super) fn confirm(&mut self, number: ReadyNumber, now_ms: u64) {
        let mut progressed = false;
        while self.queue.front().is_some_and(|oldest| oldest.number <= number) {
            let done = self.queue.pop_front().expect("there is a front");
            self.hard_state = done.hard_state.unwrap_or(self.hard_state);
            self.index = self.index.max(done.last);
            progressed = true;
        }
        if let (true, Some(oldest)) = (progressed, self.queue.front_mut()) {
            oldest.since_ms = now_ms;
        }
    }

    /// The log was cut after `last`: entries beyond it, though they reach the disk, are not the log's.
    pub(super) fn truncate(&mut self, last: Index) {
        self.index = self.index.min(last);
        for pending in &mut self.queue {
            pending.last = pending.last.min(last);
        }
    }

    /// The log restarts after a durable snapshot at `index`.
    pub(super) fn restart(&mut self, index: Index) {
        self.truncate(index);
        self.index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    #[test]
    fn a_truncated_entry_is_not_durable_when_its_ready_is() {
        let mut durability = Durability::recovered(HardState::default(), Index(2));
        durability.hand_over(ReadyNumber(1), None, Index(5), 0);
        durability.truncate(Index(3));
        durability.hand_over(ReadyNumber(2), None, Index(4), 0);
        durability.confirm(ReadyNumber(1), 1);
        assert_eq!(durability.index(), Index(3));
        durability.confirm(ReadyNumber(2), 2);
        assert_eq!(durability.index(), Index(4));
    }

    #[test]
    fn a_later_ready_confirms_the_earlier_ones() {
        let mut durability = Durability::recovered(HardState::default(), Index(0));
        let voted = HardState { term: Term(3), vote: None };
        durability.hand_over(ReadyNumber(1), Some(voted), Index(1), 0);
        durability.hand_over(ReadyNumber(2), None, Index(2), 0);
        durability.confirm(ReadyNumber(2), 1);
        assert!(durability.has(voted) && durability.index() == Index(2));
    }

    #[test]
    fn a_disk_that_progresses_is_not_stalled() {
        let mut durability = Durability::recovered(HardState::default(), Index(0));
        durability.hand_over(ReadyNumber(1), None, Index(1), 0);
        durability.hand_over(ReadyNumber(2), None, Index(2), 0);
        assert!(durability.is_stalled(100, 100));
        durability.confirm(ReadyNumber(1), 100);
        assert!(!durability.is_stalled(199, 100));
        assert!(durability.is_stalled(200, 100));
    }
}
