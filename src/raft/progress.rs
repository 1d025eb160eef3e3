//! What a leader knows of one follower, and what to send it next.
//!
//! ```text
//!              matches                     compacted away
//!   +-------+ ---------> +-----------+    +----------+
//!   | Probe |            | Replicate |    | Snapshot | <-- from either, when the next
//!   +-------+ <--------- +-----------+    +----------+     entry is no longer in the log
//!       ^     rejected,                        |
//!       |     link broke                       | installed, or its file is gone
//!       +--------------------------------------+
//! ```
//!
//! A probe is one append at a time, until it is known where the logs match. Replication is a
//! pipeline: appends go out before earlier ones are acknowledged, within a window.

use std::collections::VecDeque;

use super::config::Config;
use super::log::Log;
use super::message::Position;
use crate::types::{Entry, Index, SnapshotMeta};

/// One follower, in the eyes of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// The follower's log is durable and equal to the leader's up to here. It never falls within a
    /// term.
    match_index: Index,
    /// The next entry to send; always beyond `match_index`.
    next_index: Index,
    /// The commit index that the follower has been told while replicating.
    told_commit: Index,
    /// The latest round of reads that the follower confirmed.
    round: u64,
    /// When the follower last answered anything in this term.
    contact_ms: u64,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Probe {
        /// When the outstanding probe was sent.
        sent_ms: Option<u64>,
    },
    Replicate(Pipeline),
    Snapshot(Transfer),
}

/// Appends on their way, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pipeline {
    /// The last index and the size of each.
    flights: VecDeque<(Index, usize)>,
    /// The sum of their sizes.
    bytes: usize,
    /// When the oldest was sent or the last acknowledgement came.
    progress_ms: u64,
}

/// A snapshot on its way, one part at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    meta: SnapshotMeta,
    /// The follower holds the bytes before it.
    offset: u64,
    waits_for: Wait,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wait {
    /// The driver reads the part at `offset`.
    Disk,
    /// The part at `offset` was sent.
    Follower { sent_ms: u64 },
}

/// Something to send to a follower.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// An append.
    Entries { prev: Position, entries: Vec<Entry> },
    /// That the commit index moved.
    Commit(Index),
    /// A part of a snapshot, once the driver has read it.
    Snapshot { meta: SnapshotMeta, offset: u64 },
}

/// How a follower is being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// Finding out where the logs match.
    Probe,
    /// Receiving appends in a pipeline.
    Replicate,
    /// Receiving a snapshot.
    Snapshot,
}

impl Progress {
    /// A follower of whom nothing is known yet. Its silence counts from now.
    pub(super) fn new(next_index: Index, now_ms: u64) -> Progress {
        Progress {
            match_index: if planted!(MatchAssumed) { next_index.prev() } else { Index(0) },
            next_index,
            told_commit: Index(0),
            round: 0,
            contact_ms: now_ms,
            state: State::Probe { sent_ms: None },
        }
    }

    pub(super) fn match_index(&self) -> Index {
        self.match_index
    }

    pub(super) fn contact_ms(&self) -> u64 {
        self.contact_ms
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }

    pub(super) fn state(&self) -> ProgressState {
        match self.state {
            State::Probe { .. } => ProgressState::Probe,
            State::Replicate(_) => ProgressState::Replicate,
            State::Snapshot(_) => ProgressState::Snapshot,
        }
    }

    /// The follower answered something.
    pub(super) fn contacted(&mut self, now_ms: u64) {
        self.contact_ms = now_ms;
    }

    /// The follower confirmed a round of reads; an older one changes nothing.
    pub(super) fn confirmed(&mut self, round: u64) {
        self.round = self.round.max(round);
    }

    /// The next thing to send, if anything may be sent now. Called until there is nothing.
    pub(super) fn next(&mut self, log: &Log, config: &Config, now_ms: u64) -> Option<Outgoing> {
        match &mut self.state {
            State::Snapshot(_) | State::Probe { sent_ms: Some(_) } => None,
            State::Probe { sent_ms } => {
                let Some(prev) = log.position(self.next_index.prev()) else {
                    return Some(self.start_snapshot(log));
                };
                *sent_ms = Some(now_ms);
                let entries = log.slice(self.next_index, config.max_append_bytes);
                Some(Outgoing::Entries { prev, entries })
            }
            State::Replicate(pipeline) => {
                if self.next_index > log.last_index() {
                    return self.tell_commit(log);
                }
                let Some(prev) = log.position(self.next_index.prev()) else {
                    return Some(self.start_snapshot(log));
                };
                let room = pipeline.room(log.len_bytes(self.next_index), config)?;
                let entries = log.slice(self.next_index, room.min(config.max_append_bytes));
                let last = entries.last().expect("there is an entry to send").index();
                pipeline.depart(last, entries.iter().map(Entry::len_bytes).sum(), now_ms);
                self.next_index = last.next();
                self.told_commit = self.told_commit.max(log.commit().min(last));
                Some(Outgoing::Entries { prev, entries })
            }
        }
    }

    /// An append without entries after all that was sent: its answer tells whether any was lost, and
    /// it carries the commit index. `None` where there is no pipeline to ask about.
    pub(super) fn ask_pipeline(&self, log: &Log) -> Option<Outgoing> {
        let State::Replicate(_) = self.state else { return None };
        let prev = log.position(self.next_index.prev())?;
        Some(Outgoing::Entries { prev, entries: Vec::new() })
    }

    /// The follower has the log up to `index`, durably.
    pub(super) fn appended(&mut self, index: Index, now_ms: u64) {
        self.match_index = self.match_index.max(index);
        match &mut self.state {
            State::Probe { .. } => self.replicate(),
            State::Replicate(pipeline) => {
                pipeline.arrive(index, now_ms);
                self.next_index = self.next_index.max(index.next());
            }
            State::Snapshot(transfer) => {
                if index >= transfer.meta.index {
                    self.replicate();
                }
            }
        }
    }

    /// The follower's log does not hold the entry at `prev_index`; it cannot agree with the leader's
    /// on anything after `hint`.
    pub(super) fn rejected(&mut self, prev_index: Index, hint: Position, log: &Log) {
        let is_stale = match &self.state {
            State::Probe { .. } => prev_index != self.next_index.prev(),
            State::Replicate(_) => prev_index <= self.match_index,
            State::Snapshot(_) => true,
        };
        if is_stale || planted!(RejectionIgnored) {
            return;
        }
        // Before the leader's first entry only a snapshot helps; `next` finds that out.
        let agreed = if hint.index < log.first_index().prev() {
            hint.index
        } else {
            log.last_not_above(hint).index
        };
        self.probe(agreed.next().min(prev_index), None);
    }

    /// The follower answered a heartbeat: what it should have answered long ago is asked again.
    pub(super) fn heard(&mut self, log: &Log, config: &Config, now_ms: u64) -> Option<Outgoing> {
        let is_over = |since_ms: u64, limit_ms| now_ms >= since_ms.saturating_add(limit_ms);
        match &mut self.state {
            State::Probe { sent_ms } => {
                sent_ms.take_if(|sent_ms| is_over(*sent_ms, config.heartbeat_interval_ms));
                None
            }
            State::Replicate(pipeline) => {
                let is_late = !pipeline.flights.is_empty()
                    && !planted!(PipelineWedges)
                    && is_over(pipeline.progress_ms, config.heartbeat_interval_ms);
                if !is_late {
                    return None;
                }
                pipeline.progress_ms = now_ms;
                self.ask_pipeline(log)
            }
            State::Snapshot(transfer) => {
                transfer.retry(|sent_ms| is_over(sent_ms, config.election_timeout_ms))
            }
        }
    }

    /// The link to the follower broke: what was on its way is lost.
    pub(super) fn lost(&mut self, now_ms: u64) {
        match &mut self.state {
            State::Probe { .. } | State::Replicate(_) => {
                self.probe(self.match_index.next(), Some(now_ms));
            }
            State::Snapshot(transfer) => {
                if let Wait::Follower { sent_ms } = &mut transfer.waits_for {
                    *sent_ms = 0;
                }
            }
        }
    }

    /// The driver has read the part of the snapshot at `offset`. Whether it is still wanted.
    pub(super) fn chunk_read(&mut self, meta: &SnapshotMeta, offset: u64, now_ms: u64) -> bool {
        let Some(transfer) = self.transfer_waiting_for_disk(meta, offset) else { return false };
        transfer.waits_for = Wait::Follower { sent_ms: now_ms };
        true
    }

    /// The snapshot's file is gone: the newest one is sent instead, at once if it is another.
    pub(super) fn chunk_gone(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        log: &Log,
        now_ms: u64,
    ) -> Option<Outgoing> {
        self.transfer_waiting_for_disk(meta, offset)?;
        if log.snapshot().index > meta.index {
            return Some(self.start_snapshot(log));
        }
        self.probe(self.match_index.next(), Some(now_ms));
        None
    }

    /// The follower wants the snapshot to go on at `offset`.
    pub(super) fn chunk_acked(&mut self, index: Index, offset: u64) -> Option<Outgoing> {
        let State::Snapshot(transfer) = &mut self.state else { return None };
        let Wait::Follower { .. } = transfer.waits_for else { return None };
        // The same offset is an older acknowledgement; a lost part is sent again by `heard`.
        if transfer.meta.index != index || transfer.offset == offset {
            return None;
        }
        transfer.offset = offset;
        Some(transfer.read())
    }

    fn probe(&mut self, next_index: Index, sent_ms: Option<u64>) {
        self.next_index = next_index.max(self.match_index.next());
        self.told_commit = Index(0);
        self.state = State::Probe { sent_ms };
    }

    fn replicate(&mut self) {
        self.next_index = self.match_index.next();
        self.state = State::Replicate(Pipeline::default());
    }

    fn start_snapshot(&mut self, log: &Log) -> Outgoing {
        let mut transfer =
            Transfer { meta: log.snapshot().clone(), offset: 0, waits_for: Wait::Disk };
        let read = transfer.read();
        self.told_commit = Index(0);
        self.state = State::Snapshot(transfer);
        read
    }

    fn tell_commit(&mut self, log: &Log) -> Option<Outgoing> {
        let known = log.commit().min(self.match_index);
        if known <= self.told_commit {
            return None;
        }
        self.told_commit = known;
        Some(Outgoing::Commit(known))
    }

    fn transfer_waiting_for_disk(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
    ) -> Option<&mut Transfer> {
        match &mut self.state {
            State::Snapshot(transfer)
                if transfer.meta.index == meta.index
                    && transfer.offset == offset
                    && transfer.waits_for == Wait::Disk =>
            {
                Some(transfer)
            }
            State::Snapshot(_) | State::Probe { .. } | State::Replicate(_) => None,
        }
    }
}

impl Pipeline {
    /// How many bytes may still be sent, given the size of the next entry; `None` when the window is
    /// full.
    fn room(&self, next_bytes: usize, config: &Config) -> Option<usize> {
        let room = config.max_inflight_bytes.saturating_sub(self.bytes);
        let is_open = self.flights.is_empty()
            || (self.flights.len() < config.max_inflight_appends && next_bytes <= room);
        is_open.then_some(room)
    }

    fn depart(&mut self, last: Index, bytes: usize, now_ms: u64) {
        if self.flights.is_empty() {
            self.progress_ms = now_ms;
        }
        self.flights.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn arrive(&mut self, index: Index, now_ms: u64) {
        while let Some(&(last, bytes)) = self.flights.front()
            && last <= index
        {
            self.flights.pop_front();
            self.bytes -= bytes;
            self.progress_ms = now_ms;
        }
    }
}

impl Transfer {
    /// Wants the part at `offset`.
    fn read(&mut self) -> Outgoing {
        self.waits_for = Wait::Disk;
        Outgoing::Snapshot { meta: self.meta.clone(), offset: self.offset }
    }

    /// Wants the part that was sent once more, when the answer to it is overdue.
    fn retry(&mut self, is_overdue: impl Fn(u64) -> bool) -> Option<Outgoing> {
        match self.waits_for {
            Wait::Follower { sent_ms } if is_overdue(sent_ms) => Some(self.read()),
            Wait::Follower { .. } | Wait::Disk => None,
        }
    }
}
