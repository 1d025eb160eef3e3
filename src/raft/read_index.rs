//! Linearizable reads that do not enter the log (thesis §6.4).
//!
//! A read may be served by any server that has applied everything committed when the read was asked.
//! The leader knows what is committed, if it is still the leader: it notes its commit index, and
//! asks everyone in a round of heartbeats. When a majority has answered *that* round in *this* term,
//! no other leader can have committed anything before the round began.
//!
//! ```text
//!   reads wait --> a round takes them all --> a majority answered --> serve at its index
//!                  (its number goes out in      the round or a
//!                   each heartbeat)             later one
//! ```
//!
//! Round numbers rise within a term, and a reply of another term never gets here, so no reply can
//! confirm a round that began after it was sent. A follower collects its reads into batches, asks the
//! leader about each batch, and waits; its batch numbers begin at a random number in each life, so
//! that an answer to its former life confirms nothing.

use std::collections::VecDeque;

use thiserror::Error;

use super::config::MAX_PENDING_READS;
use super::message::Message;
use super::progress::Progress;
use super::quorum;
use super::ready::{ReadLost, ReadState};
use super::{Raft, Role};
use crate::types::{Index, NodeId};

/// How many rounds may be unconfirmed at once. While they are, reads gather for the next one.
const MAX_ROUNDS_IN_FLIGHT: usize = 2;

/// Why a read was not taken in.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// There is no leader to confirm it.
    #[error("no leader is known; ask again soon")]
    NoLeader,
    /// Too many reads are unconfirmed: see [`MAX_PENDING_READS`].
    #[error("too many reads are waiting; ask again soon")]
    Full,
}

/// The reads that a leader is confirming.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadRounds {
    /// The number of the latest round; it rises with each.
    latest: u64,
    /// Rounds that wait for a majority, oldest first.
    in_flight: VecDeque<Round>,
    /// Reads that wait for the next round.
    waiting: Vec<Reader>,
    /// The readers in `in_flight` and `waiting`, at most [`MAX_PENDING_READS`].
    count: usize,
}

#[derive(Clone, Debug)]
struct Round {
    number: u64,
    /// The commit index when the round began.
    index: Index,
    readers: Vec<Reader>,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Local { context: u64 },
    Follower { id: NodeId, batch: u64 },
}

/// The reads that a follower asks the leader about.
#[derive(Clone, Debug)]
pub(super) struct ForwardedReads {
    /// The number of the next batch.
    next_batch: u64,
    /// Batches that wait for the leader's answer, oldest first.
    sent: VecDeque<Batch>,
    /// Reads that wait for the next batch.
    waiting: Vec<u64>,
    /// The reads in `sent` and `waiting`, at most [`MAX_PENDING_READS`].
    count: usize,
}

#[derive(Clone, Debug)]
struct Batch {
    number: u64,
    contexts: Vec<u64>,
    sent_ms: u64,
}

impl Raft {
    /// Asks from which index on a read may be served; a later [`Ready`](super::Ready) says so, once,
    /// under `context`, which is unique to this call.
    ///
    /// # Errors
    /// When nobody could confirm it, as [`ReadError`] says.
    pub fn read_index(&mut self, context: u64, now_ms: u64) -> Result<(), ReadError> {
        self.advance_clock(now_ms);
        if planted!(FollowerServesReads) {
            let result = Ok(self.log.commit());
            self.outbox.read_states.push(ReadState { context, result });
            return Ok(());
        }
        match &mut self.role {
            Role::Leader(leader) => leader.reads.add(Reader::Local { context }),
            Role::Follower if self.leader.is_some() => self.forwarded.add(context),
            Role::Follower | Role::PreCandidate(_) | Role::Candidate(_) => Err(ReadError::NoLeader),
        }
    }

    /// Begins a round for the reads that wait, if the leader knows the commit index and not too many
    /// rounds are under way.
    pub(super) fn start_read_round(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        // Before an entry of its own term is committed, a leader's commit index may be behind what
        // its predecessor had committed and acknowledged.
        let commit = self.log.commit();
        let is_known = commit >= leader.term_start || planted!(ReadsBeforeTermCommit);
        if is_known && leader.reads.start(commit) {
            self.broadcast_heartbeat();
            self.finish_read_rounds();
        }
    }

    /// Answers the reads of rounds that a majority has confirmed.
    pub(super) fn finish_read_rounds(&mut self) {
        let term = self.term();
        let Role::Leader(leader) = &mut self.role else { return };
        let confirmed = quorum::agreed(self.log.configuration(), |voter| {
            if voter == self.config.id || planted!(ReadsWithoutRound) {
                u64::MAX
            } else {
                leader.progress.get(&voter).map_or(0, Progress::round)
            }
        });
        for (reader, index) in leader.reads.finish(confirmed.unwrap_or(0)) {
            match reader {
                Reader::Local { context } => {
                    self.outbox.read_states.push(ReadState { context, result: Ok(index) });
                }
                Reader::Follower { id, batch } => {
                    self.outbox.send(id, Message::ReadIndexReply { term, batch, index });
                }
            }
        }
    }

    pub(super) fn on_read_index(&mut self, from: NodeId, batch: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.progress.contains_key(&from) {
            // When full, the follower hears nothing, and gives up as it does on a lost message.
            let _ = leader.reads.add(Reader::Follower { id: from, batch });
        }
    }

    /// Asks the leader about the reads that wait.
    pub(super) fn forward_reads(&mut self) {
        let Some(leader) = self.known_leader() else { return };
        if let Some(batch) = self.forwarded.send(self.now_ms) {
            self.send(leader, Message::ReadIndex { term: self.term(), batch });
        }
    }

    pub(super) fn on_read_index_reply(&mut self, batch: u64, index: Index) {
        for context in self.forwarded.answered(batch) {
            self.outbox.read_states.push(ReadState { context, result: Ok(index) });
        }
    }

    /// Gives up the reads that the leader has not answered within an election timeout.
    pub(super) fn expire_forwarded_reads(&mut self) {
        let timeout_ms = self.config.election_timeout_ms;
        while self.forwarded.expiry_ms(timeout_ms).is_some_and(|ms| ms <= self.now_ms) {
            let oldest = self.forwarded.sent.front().map_or(0, |batch| batch.number);
            for context in self.forwarded.answered(oldest) {
                self.outbox.read_states.push(ReadState { context, result: Err(ReadLost) });
            }
        }
    }
}

impl ReadRounds {
    /// The number of the latest round.
    pub(super) fn round(&self) -> u64 {
        self.latest
    }

    /// The leader leads no more: local reads are lost. Followers notice by themselves.
    pub(super) fn lose(&mut self, lost: &mut Vec<ReadState>) {
        let in_flight = self.in_flight.drain(..).flat_map(|round| round.readers);
        for reader in in_flight.chain(self.waiting.drain(..)) {
            if let Reader::Local { context } = reader {
                lost.push(ReadState { context, result: Err(ReadLost) });
            }
        }
        self.count = 0;
    }

    fn add(&mut self, reader: Reader) -> Result<(), ReadError> {
        if self.count == MAX_PENDING_READS {
            return Err(ReadError::Full);
        }
        self.count += 1;
        self.waiting.push(reader);
        Ok(())
    }

    /// Begins a round at the commit index; says whether there is one to begin.
    fn start(&mut self, commit: Index) -> bool {
        if self.waiting.is_empty() || self.in_flight.len() == MAX_ROUNDS_IN_FLIGHT {
            return false;
        }
        let is_reused = planted!(ReadRoundReused) && self.latest > 0;
        self.latest += u64::from(!is_reused);
        let readers = std::mem::take(&mut self.waiting);
        self.in_flight.push_back(Round { number: self.latest, index: commit, readers });
        true
    }

    /// Takes out the readers of all rounds up to `confirmed`, each with its round's index.
    fn finish(&mut self, confirmed: u64) -> Vec<(Reader, Index)> {
        let mut finished = Vec::new();
        while let Some(round) = self.in_flight.pop_front_if(|round| round.number <= confirmed) {
            finished.extend(round.readers.into_iter().map(|reader| (reader, round.index)));
        }
        self.count -= finished.len();
        finished
    }
}

impl ForwardedReads {
    /// No reads; the first batch will have the number `first_batch`.
    pub(super) fn new(first_batch: u64) -> ForwardedReads {
        ForwardedReads {
            next_batch: first_batch,
            sent: VecDeque::new(),
            waiting: Vec::new(),
            count: 0,
        }
    }

    /// When the oldest batch is given up.
    pub(super) fn expiry_ms(&self, timeout_ms: u64) -> Option<u64> {
        self.sent.front().map(|oldest| oldest.sent_ms.saturating_add(timeout_ms))
    }

    /// The leader they were meant for is gone.
    pub(super) fn lose(&mut self, lost: &mut Vec<ReadState>) {
        let sent = self.sent.drain(..).flat_map(|batch| batch.contexts);
        for context in sent.chain(self.waiting.drain(..)) {
            lost.push(ReadState { context, result: Err(ReadLost) });
        }
        self.count = 0;
    }

    fn add(&mut self, context: u64) -> Result<(), ReadError> {
        if self.count == MAX_PENDING_READS {
            return Err(ReadError::Full);
        }
        self.count += 1;
        self.waiting.push(context);
        Ok(())
    }

    /// Makes a batch of the reads that wait; returns its number, if there are any.
    fn send(&mut self, now_ms: u64) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        let number = self.next_batch;
        self.next_batch = self.next_batch.wrapping_add(1);
        let contexts = std::mem::take(&mut self.waiting);
        self.sent.push_back(Batch { number, contexts, sent_ms: now_ms });
        Some(number)
    }

    /// Takes out the reads of a batch; none where the number is unknown.
    fn answered(&mut self, number: u64) -> Vec<u64> {
        let place = self.sent.iter().position(|batch| batch.number == number);
        let contexts = place.and_then(|place| self.sent.remove(place)).map(|batch| batch.contexts);
        let contexts = contexts.unwrap_or_default();
        self.count -= contexts.len();
        contexts
    }
}
