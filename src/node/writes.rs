//! The path of a write, from a client's command to the entry that carries it.
//!
//! ```text
//!   push ──> open batch ──> queue ──┬─ leader:   propose ──> proposed ──> committed | lost
//!                                   └─ follower: forward ──> forwarded ─> reply     | lost
//! ```
//!
//! Batches are not timed: whatever arrives while earlier batches are in flight forms the next one,
//! so batches are small when the store is idle and large when it is busy. A batch that was handed to
//! Raft or to the leader is never sent a second time: if its fate is not learnt, its writes fail as
//! [`Failure::OutcomeUnknown`](super::Failure::OutcomeUnknown).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::effect::Ticket;
use super::message::ForwardOutcome;
use crate::types::{Command, CommandError, EntryBuilder, EntryKind, Index, NodeId, Revision, Term};

/// A batch is closed once its record is this large; one more command may go over it.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// A batch is closed once it holds this many commands.
const MAX_BATCH_COMMANDS: u32 = 16 << 10;
/// What may wait for its turn before clients are told that the store is overloaded.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Batches that a follower has sent to the leader without an answer yet.
const MAX_FORWARDED: usize = 8;
/// Entries that the leader has proposed and that are not committed yet.
const MAX_PROPOSED: usize = 4;

/// Who waits for a run of commands in a batch.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A client of this server, for one command.
    Local(Ticket),
    /// A follower, for `count` commands that it forwarded.
    Forwarded {
        /// The follower.
        from: NodeId,
        /// Its number for the run.
        id: u64,
        /// How many commands the run has.
        count: u32,
    },
}

/// Commands on their way into one entry.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) builder: EntryBuilder,
    /// In the order of the commands: their counts add up to the builder's.
    pub(super) waiters: Vec<Waiter>,
    /// When its first command arrived.
    pub(super) since_ms: u64,
}

/// An entry that this server proposed as the leader of `term`.
#[derive(Debug)]
pub(super) struct Proposed {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) waiters: Vec<Waiter>,
    pub(super) since_ms: u64,
}

/// A batch that was sent to `leader` and has no answer yet.
#[derive(Debug)]
struct Forwarded {
    leader: NodeId,
    batch: Batch,
}

/// The queue is full; the command was not taken.
#[derive(Debug)]
pub(super) struct QueueFull;

/// All writes that this server has accepted and not answered.
#[derive(Debug, Default)]
pub(super) struct Writes {
    open: Option<Batch>,
    queue: VecDeque<Batch>,
    /// The records' bytes in `queue`.
    queued_bytes: usize,
    /// By index, ascending.
    proposed: VecDeque<Proposed>,
    forwarded: BTreeMap<u64, Forwarded>,
    next_forward_id: u64,
}

impl Writes {
    /// Takes a client's command.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        command: &Command,
        now_ms: u64,
    ) -> Result<(), QueueFull> {
        if self.queued_bytes >= MAX_QUEUED_BYTES {
            return Err(QueueFull);
        }
        let batch = self.open_batch(now_ms);
        batch.builder.push(command);
        batch.waiters.push(Waiter::Local(ticket));
        self.close_if_full();
        Ok(())
    }

    /// Takes a batch that a follower forwarded. A full queue refuses it; a malformed one is an error
    /// of the follower.
    pub(super) fn push_forwarded(
        &mut self,
        from: NodeId,
        id: u64,
        commands: &Bytes,
        now_ms: u64,
    ) -> Result<Result<(), QueueFull>, CommandError> {
        if self.queued_bytes >= MAX_QUEUED_BYTES {
            return Ok(Err(QueueFull));
        }
        let batch = self.open_batch(now_ms);
        let count = batch.builder.push_encoded(commands)?;
        batch.waiters.push(Waiter::Forwarded { from, id, count });
        self.close_if_full();
        Ok(Ok(()))
    }

    /// The next batch to propose, when few enough are in flight.
    pub(super) fn next_to_propose(&mut self) -> Option<Batch> {
        if self.proposed.len() >= MAX_PROPOSED { None } else { self.take_next() }
    }

    /// Notes that `batch`, now sealed, was proposed.
    pub(super) fn proposed(&mut self, proposed: Proposed) {
        assert!(
            self.proposed.back().is_none_or(|last| last.index < proposed.index),
            "proposals get ascending indexes"
        );
        self.proposed.push_back(proposed);
    }

    /// Takes the next batch to forward to `leader`, and returns its number and commands.
    pub(super) fn next_to_forward(&mut self, leader: NodeId) -> Option<(u64, Bytes)> {
        if self.forwarded.len() >= MAX_FORWARDED {
            return None;
        }
        let batch = self.take_next()?;
        let id = self.next_forward_id;
        self.next_forward_id += 1;
        let commands = Bytes::copy_from_slice(batch.builder.body());
        self.forwarded.insert(id, Forwarded { leader, batch });
        Some((id, commands))
    }

    /// The waiters of the entry at `index`, which is now committed, if this server proposed it.
    pub(super) fn committed(&mut self, index: Index, term: Term) -> Option<Vec<Waiter>> {
        let first = self.proposed.front()?;
        assert!(first.index >= index, "an entry was committed twice or out of order");
        if first.index > index {
            return None;
        }
        let proposed = self.proposed.pop_front().expect("the front was there");
        assert!(
            proposed.term == term,
            "proposals of an earlier term are given up on stepping down"
        );
        Some(proposed.waiters)
    }

    /// The leader's answer to a forwarded batch: the waiters, where it is final. A refused batch was
    /// not proposed, so it goes back to the head of the queue.
    pub(super) fn forward_answered(
        &mut self,
        id: u64,
        from: NodeId,
        outcome: ForwardOutcome,
    ) -> Option<Answered> {
        if self.forwarded.get(&id)?.leader != from {
            return None;
        }
        let Forwarded { batch, .. } = self.forwarded.remove(&id)?;
        match outcome {
            ForwardOutcome::Committed(first_revision) => {
                Some(Answered::Committed(batch.waiters, first_revision))
            }
            ForwardOutcome::Unknown => Some(Answered::Unknown(batch.waiters)),
            ForwardOutcome::Refused => {
                self.queued_bytes += batch.builder.len_bytes();
                self.queue.push_front(batch);
                None
            }
        }
    }

    /// This server leads no longer: the fate of what it proposed will not be learnt here.
    pub(super) fn give_up_proposed(&mut self) -> Vec<Waiter> {
        self.proposed.drain(..).flat_map(|proposed| proposed.waiters).collect()
    }

    /// `leader` leads no longer or is out of reach: the fate of what it was sent will not be learnt.
    /// `None` means any leader.
    pub(super) fn give_up_forwarded(&mut self, leader: Option<NodeId>) -> Vec<Waiter> {
        let lost =
            self.forwarded.extract_if(.., |_, sent| leader.is_none_or(|id| sent.leader == id));
        if planted!(ForwardedBatchResent) {
            let batches: Vec<Batch> = lost.map(|(_, sent)| sent.batch).collect();
            self.queued_bytes +=
                batches.iter().map(|batch| batch.builder.len_bytes()).sum::<usize>();
            self.queue.extend(batches);
            return Vec::new();
        }
        lost.flat_map(|(_, sent)| sent.batch.waiters).collect()
    }

    /// What has waited since before `cutoff_ms`: first those that were never handed over, then those
    /// whose fate is unknown.
    pub(super) fn expire(&mut self, cutoff_ms: u64) -> (Vec<Waiter>, Vec<Waiter>) {
        let mut not_done = Vec::new();
        while self.queue.front().or(self.open.as_ref()).is_some_and(|b| b.since_ms < cutoff_ms) {
            not_done.extend(self.take_next().expect("a batch is waiting").waiters);
        }
        let mut unknown = Vec::new();
        for proposed in &mut self.proposed {
            if proposed.since_ms < cutoff_ms {
                unknown.append(&mut proposed.waiters);
            }
        }
        let late = self.forwarded.extract_if(.., |_, sent| sent.batch.since_ms < cutoff_ms);
        unknown.extend(late.flat_map(|(_, sent)| sent.batch.waiters));
        (not_done, unknown)
    }

    /// Everything that was not handed over yet, when the server stops.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiter> {
        std::iter::from_fn(|| self.take_next()).flat_map(|batch| batch.waiters).collect()
    }

    /// The queue that is over its limit; there never is one.
    pub(super) fn over_limit(&self) -> Option<&'static str> {
        let queues = [
            ("writes that wait", self.queued_bytes > MAX_QUEUED_BYTES + 2 * MAX_BATCH_BYTES),
            ("batches sent to the leader", self.forwarded.len() > MAX_FORWARDED),
            ("entries proposed", self.proposed.len() > MAX_PROPOSED),
        ];
        queues.into_iter().find(|(_, is_over)| *is_over).map(|(name, _)| name)
    }

    /// Whether any write is unanswered.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none()
            && self.queue.is_empty()
            && self.proposed.is_empty()
            && self.forwarded.is_empty()
    }

    fn open_batch(&mut self, now_ms: u64) -> &mut Batch {
        self.open.get_or_insert_with(|| Batch {
            builder: EntryBuilder::new(EntryKind::Commands, 16 << 10),
            waiters: Vec::new(),
            since_ms: now_ms,
        })
    }

    fn close_if_full(&mut self) {
        let full = |batch: &mut Batch| {
            batch.builder.len_bytes() >= MAX_BATCH_BYTES
                || batch.builder.count() >= MAX_BATCH_COMMANDS
        };
        if let Some(batch) = self.open.take_if(full) {
            self.queued_bytes += batch.builder.len_bytes();
            self.queue.push_back(batch);
        }
    }

    fn take_next(&mut self) -> Option<Batch> {
        let Some(batch) = self.queue.pop_front() else {
            return self.open.take_if(|batch| batch.builder.count() > 0);
        };
        self.queued_bytes -= batch.builder.len_bytes();
        Some(batch)
    }
}

/// The final fate of a forwarded batch.
#[derive(Debug)]
pub(super) enum Answered {
    /// Committed; the first command has this revision.
    Committed(Vec<Waiter>, Revision),
    /// It may or may not be committed.
    Unknown(Vec<Waiter>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: NodeId = NodeId(7);

    fn set(key: &str, value_bytes: usize) -> Command {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        Command::Set { key: Bytes::copy_from_slice(key.as_bytes()), value }
    }

    fn tickets(waiters: &[Waiter]) -> Vec<u64> {
        let ticket = |waiter: &Waiter| match waiter {
            Waiter::Local(ticket) => ticket.0,
            Waiter::Forwarded { id, .. } => 1000 + id,
        };
        waiters.iter().map(ticket).collect()
    }

    #[test]
    fn what_waits_together_is_one_batch_in_the_order_of_arrival() {
        let mut writes = Writes::default();
        for ticket in 1..=3 {
            writes.push(Ticket(ticket), &set("a", 1), 10).expect("room");
        }
        let batch = writes.next_to_propose().expect("three commands wait");
        assert_eq!(batch.builder.count(), 3);
        assert_eq!(tickets(&batch.waiters), [1, 2, 3]);
        assert!(writes.next_to_propose().is_none(), "nothing is left");
    }

    #[test]
    fn a_batch_closes_when_it_is_large_enough() {
        let mut writes = Writes::default();
        writes.push(Ticket(1), &set("a", MAX_BATCH_BYTES), 0).expect("room");
        writes.push(Ticket(2), &set("b", 1), 0).expect("room");
        assert_eq!(tickets(&writes.next_to_propose().expect("first").waiters), [1]);
        assert_eq!(tickets(&writes.next_to_propose().expect("second").waiters), [2]);
    }

    #[test]
    fn no_more_entries_are_proposed_than_may_be_in_flight() {
        let mut writes = Writes::default();
        for index in 1..=MAX_PROPOSED as u64 {
            writes.proposed(Proposed {
                index: Index(index),
                term: Term(1),
                waiters: vec![Waiter::Local(Ticket(index))],
                since_ms: 0,
            });
        }
        writes.push(Ticket(99), &set("a", 1), 0).expect("room");
        assert!(writes.next_to_propose().is_none());
        let done = writes.committed(Index(1), Term(1)).expect("it was proposed here");
        assert_eq!(tickets(&done), [1]);
        assert!(writes.next_to_propose().is_some());
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let mut writes = Writes::default();
        let mut taken = 0;
        while writes.push(Ticket(taken), &set("a", 1 << 20), 0).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 64);
        assert_eq!(writes.take_waiting().len(), 64);
        writes.push(Ticket(1), &set("a", 1), 0).expect("there is room again");
    }

    #[test]
    fn a_refused_batch_goes_back_to_the_head_of_the_queue() {
        let mut writes = Writes::default();
        writes.push(Ticket(1), &set("a", 1), 0).expect("room");
        let (id, _) = writes.next_to_forward(LEADER).expect("a batch");
        writes.push(Ticket(2), &set("b", 1), 0).expect("room");
        assert!(writes.forward_answered(id, LEADER, ForwardOutcome::Refused).is_none());
        assert_eq!(tickets(&writes.next_to_propose().expect("again").waiters), [1]);
    }

    #[test]
    fn an_answer_from_another_than_the_asked_leader_is_ignored() {
        let mut writes = Writes::default();
        writes.push(Ticket(1), &set("a", 1), 0).expect("room");
        let (id, _) = writes.next_to_forward(LEADER).expect("a batch");
        let outcome = ForwardOutcome::Committed(Revision(5));
        assert!(writes.forward_answered(id, NodeId(8), outcome).is_none());
        assert!(writes.forward_answered(id, LEADER, outcome).is_some());
    }

    #[test]
    fn losing_the_leader_gives_up_what_it_was_sent_and_no_more() {
        let mut writes = Writes::default();
        writes.push(Ticket(1), &set("a", 1), 0).expect("room");
        writes.next_to_forward(LEADER).expect("a batch");
        writes.push(Ticket(2), &set("b", 1), 0).expect("room");
        writes.next_to_forward(NodeId(8)).expect("a batch");
        assert_eq!(tickets(&writes.give_up_forwarded(Some(LEADER))), [1]);
        assert_eq!(tickets(&writes.give_up_forwarded(None)), [2]);
        assert!(writes.is_empty());
    }

    #[test]
    fn the_late_are_told_apart_by_whether_they_were_handed_over() {
        let mut writes = Writes::default();
        writes.push(Ticket(1), &set("a", 1), 0).expect("room");
        writes.next_to_forward(LEADER).expect("a batch");
        writes.push(Ticket(2), &set("b", 1), 5).expect("room");
        let (not_done, unknown) = writes.expire(6);
        assert_eq!((tickets(&not_done), tickets(&unknown)), (vec![2], vec![1]));
        assert!(writes.is_empty());
    }
}
