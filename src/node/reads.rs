//! Linearizable reads without the log: batched ReadIndex (Raft thesis §6.4).
//!
//! ```text
//!   push ──> waiting ──> in a round ──> confirmed at an index ──> served once that is delivered
//!               ^            |
//!               +--- lost ---+      reads have no effect, so a lost round is simply run again
//! ```
//!
//! One round serves all reads that arrived before it began; while it runs, the next batch gathers.

use std::collections::BTreeMap;

use super::effect::Ticket;
use crate::types::Index;

/// Reads that may wait at once before clients are told that the store is overloaded.
const MAX_WAITING: usize = 256 << 10;
/// A round that has no answer for this long is run again: its messages may have been dropped.
pub(super) const ROUND_TIMEOUT_MS: u64 = 150;

/// Reads that began together.
#[derive(Debug, Default)]
struct Group {
    tickets: Vec<Ticket>,
    /// When the first of them arrived; meaningless while there is none.
    since_ms: u64,
}

/// A round on its way through the leader.
#[derive(Debug)]
struct Round {
    context: u64,
    started_ms: u64,
    group: Group,
}

/// All linearizable reads that this server has accepted and not answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: Group,
    round: Option<Round>,
    /// Confirmed, and waiting for the entry at the index to be delivered.
    confirmed: BTreeMap<Index, Group>,
}

impl Reads {
    /// Takes a read, or says that too many wait already.
    pub(super) fn push(&mut self, ticket: Ticket, now_ms: u64) -> bool {
        if self.waiting.tickets.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.add(&mut Group { tickets: vec![ticket], since_ms: now_ms });
        true
    }

    /// The queue that is over its limit; there never is one.
    pub(super) fn over_limit(&self) -> Option<&'static str> {
        (self.waiting.tickets.len() > MAX_WAITING).then_some("reads that wait")
    }

    /// Whether a round should begin now.
    pub(super) fn wants_round(&self) -> bool {
        self.round.is_none() && !self.waiting.tickets.is_empty()
    }

    /// Begins a round for all that wait; its `context` is never used again.
    pub(super) fn begin_round(&mut self, context: u64, now_ms: u64) {
        assert!(self.round.is_none(), "one round runs at a time");
        let group = std::mem::take(&mut self.waiting);
        self.round = Some(Round { context, started_ms: now_ms, group });
    }

    /// The round `context` was confirmed: its reads may be served once `index` is delivered.
    pub(super) fn confirmed(&mut self, context: u64, index: Index) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            let mut group = round.group;
            if planted!(RoundTakesLateReads) {
                group.add(&mut self.waiting);
            }
            self.confirmed.entry(index).or_default().add(&mut group);
        }
    }

    /// The round `context` was lost: its reads wait for another.
    pub(super) fn lost(&mut self, context: u64) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            let mut group = round.group;
            group.add(&mut self.waiting);
            self.waiting = group;
        }
    }

    /// The reads that may be served now that everything up to `delivered` was delivered.
    pub(super) fn ready(&mut self, delivered: Index) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        while let Some(first) = self.confirmed.first_entry() {
            if *first.key() > delivered && !planted!(ServesBeforeApplied) {
                break;
            }
            tickets.append(&mut first.remove().tickets);
        }
        tickets
    }

    /// Runs a round again that has had no answer for long.
    pub(super) fn retry(&mut self, now_ms: u64) {
        if let Some(round) = &self.round
            && now_ms.saturating_sub(round.started_ms) >= ROUND_TIMEOUT_MS
        {
            self.lost(round.context);
        }
    }

    /// Takes the reads out that have waited since before `cutoff_ms`.
    pub(super) fn expire(&mut self, cutoff_ms: u64) -> Vec<Ticket> {
        let mut late = Vec::new();
        let round = self.round.iter_mut().map(|round| &mut round.group);
        let groups = round.chain(self.confirmed.values_mut()).chain([&mut self.waiting]);
        for group in groups.filter(|group| group.since_ms < cutoff_ms) {
            late.append(&mut group.tickets);
        }
        late
    }

    /// Takes all reads out, when the server stops.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        self.expire(u64::MAX)
    }

    /// Whether any read is unanswered.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.tickets.is_empty()
            && self.round.as_ref().is_none_or(|round| round.group.tickets.is_empty())
            && self.confirmed.values().all(|group| group.tickets.is_empty())
    }
}

impl Group {
    fn add(&mut self, later: &mut Group) {
        if self.tickets.is_empty() {
            self.since_ms = later.since_ms;
        }
        self.tickets.append(&mut later.tickets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_arrive_during_a_round_wait_for_the_next() {
        let mut reads = Reads::default();
        reads.push(Ticket(1), 0);
        reads.begin_round(1, 0);
        reads.push(Ticket(2), 1);
        assert!(!reads.wants_round(), "one round runs at a time");
        reads.confirmed(1, Index(5));
        assert_eq!(reads.ready(Index(5)), [Ticket(1)]);
        assert!(reads.wants_round());
    }

    #[test]
    fn a_confirmed_read_waits_until_its_index_is_delivered() {
        let mut reads = Reads::default();
        reads.push(Ticket(1), 0);
        reads.begin_round(1, 0);
        reads.confirmed(1, Index(9));
        assert!(reads.ready(Index(8)).is_empty());
        assert_eq!(reads.ready(Index(9)), [Ticket(1)]);
        assert!(reads.is_empty());
    }

    #[test]
    fn a_lost_round_is_run_again_before_later_reads() {
        let mut reads = Reads::default();
        reads.push(Ticket(1), 0);
        reads.begin_round(1, 0);
        reads.push(Ticket(2), 1);
        reads.lost(1);
        reads.begin_round(2, 2);
        reads.confirmed(1, Index(1));
        assert!(reads.ready(Index(1)).is_empty(), "the lost round's answer comes too late");
        reads.confirmed(2, Index(1));
        assert_eq!(reads.ready(Index(1)), [Ticket(1), Ticket(2)]);
    }

    #[test]
    fn a_silent_round_is_retried_and_in_the_end_expires() {
        let mut reads = Reads::default();
        reads.push(Ticket(1), 0);
        reads.begin_round(1, 0);
        reads.retry(ROUND_TIMEOUT_MS - 1);
        assert!(!reads.wants_round());
        reads.retry(ROUND_TIMEOUT_MS);
        assert!(reads.wants_round());
        assert_eq!(reads.expire(1), [Ticket(1)]);
        assert!(reads.is_empty());
    }
}
