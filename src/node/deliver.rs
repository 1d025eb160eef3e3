//! From committed entries to the map and to those who wait.

use super::Node;
use super::effect::{Effect, Event, Failure, Ticket};
use super::message::{ForwardOutcome, PeerMessage};
use super::writes::Waiter;
use crate::raft::ReadState;
use crate::types::{Configuration, Entry, EntryKind, Revision, SnapshotMeta};

impl Node {
    /// Delivers the next committed entry: to the map first, then to whoever waits for it.
    pub(super) fn deliver(&mut self, entry: Entry) {
        assert!(entry.index() == self.delivered.next(), "committed entries come without a gap");
        assert!(entry.term() >= self.delivered_term, "terms in the log never decrease");
        self.delivered = entry.index();
        self.delivered_term = entry.term();
        let first_revision = Revision(self.revision.0 + 1);
        let count = if planted!(RevisionsCountEntries) { 1 } else { entry.count() };
        self.revision = Revision(self.revision.0 + u64::from(count));
        self.snapshots.delivered(entry.index(), entry.len_bytes());
        if entry.kind() == EntryKind::Configuration {
            let configuration = Configuration::decode(entry.body())
                .expect("an entry that passed its checksum was written by this code");
            if !planted!(SnapshotKeepsOldConfiguration) {
                self.delivered_configuration = configuration.clone();
            }
            self.event(Event::Configured(configuration));
        }
        let waiters = self.writes.committed(entry.index(), entry.term());
        self.effects.push_back(Effect::Apply { entry, first_revision });
        if let Some(waiters) = waiters {
            self.answer_committed(waiters, first_revision);
        }
    }

    /// Tells those who wait for consecutive commands that they are committed.
    pub(super) fn answer_committed(&mut self, waiters: Vec<Waiter>, first_revision: Revision) {
        let mut next = first_revision;
        let mut written = Vec::with_capacity(waiters.len());
        for waiter in waiters {
            match waiter {
                Waiter::Local(ticket) => {
                    written.push((ticket, next));
                    next = Revision(next.0 + 1);
                }
                Waiter::Forwarded { from, id, count } => {
                    let outcome = ForwardOutcome::Committed(next);
                    self.send(from, PeerMessage::ForwardReply { id, outcome });
                    let count = if planted!(AnswersWrongRevision) { 1 } else { count };
                    next = Revision(next.0 + u64::from(count));
                }
            }
        }
        if !written.is_empty() {
            self.effects.push_back(Effect::Written(written));
        }
    }

    /// Tells those who wait that their commands failed.
    pub(super) fn fail(&mut self, waiters: Vec<Waiter>, failure: Failure) {
        let failure = if planted!(UnknownCalledNotDone) { Failure::NoLeader } else { failure };
        let mut tickets: Vec<Ticket> = Vec::new();
        for waiter in waiters {
            match waiter {
                Waiter::Local(ticket) => tickets.push(ticket),
                Waiter::Forwarded { from, id, .. } => {
                    let outcome = if failure == Failure::OutcomeUnknown {
                        ForwardOutcome::Unknown
                    } else {
                        ForwardOutcome::Refused
                    };
                    self.send(from, PeerMessage::ForwardReply { id, outcome });
                }
            }
        }
        self.fail_tickets(tickets, failure);
    }

    pub(super) fn fail_tickets(&mut self, tickets: Vec<Ticket>, failure: Failure) {
        if !tickets.is_empty() {
            self.effects.push_back(Effect::Failed(tickets, failure));
        }
    }

    /// A round of ReadIndex returned.
    pub(super) fn read_confirmed(&mut self, read: ReadState, now_ms: u64) {
        match read.result {
            Ok(index) => {
                self.reads.confirmed(read.context, index);
                self.freshness.confirmed(read.context, index);
            }
            Err(_lost) if planted!(LostReadsServed) => {
                self.reads.confirmed(read.context, self.delivered);
            }
            Err(_lost) => {
                self.reads.lost(read.context);
                self.freshness.lost(read.context, now_ms);
            }
        }
    }

    /// Serves the reads whose index has been delivered.
    pub(super) fn serve_reads(&mut self) {
        self.freshness.delivered(self.delivered);
        let tickets = self.reads.ready(self.delivered);
        if !tickets.is_empty() {
            self.effects.push_back(Effect::Serve(tickets));
        }
    }

    /// Cuts a snapshot here, if it is time.
    pub(super) fn cut_snapshot(&mut self) {
        if !self.snapshots.is_due() {
            return;
        }
        let meta = SnapshotMeta {
            index: if planted!(SnapshotCutTooEarly) {
                self.delivered.prev()
            } else {
                self.delivered
            },
            term: self.delivered_term,
            revision: if planted!(SnapshotForgetsRevision) { Revision(0) } else { self.revision },
            configuration: self.delivered_configuration.clone(),
        };
        self.snapshots.begin(meta.clone());
        self.effects.push_back(Effect::TakeSnapshot(meta));
    }
}
