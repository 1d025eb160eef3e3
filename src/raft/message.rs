//! What servers say to each other. Each message carries the term of the one who sent it.

use std::fmt;

use bytes::Bytes;

use crate::types::{Entry, EntryKind, Index, SnapshotMeta, Term};

/// An entry's place in the log: two logs that hold the same position agree on everything up to it
/// (Raft §5.3, Log Matching).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Where the entry stands.
    pub index: Index,
    /// The term of the leader that made it.
    pub term: Term,
}

/// One message. Which of them wait for the disk is said by [`Message::waits_for_disk`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Would you vote for me? (thesis §9.6) Changes nothing at its receiver.
    PreVote {
        /// The term the sender would campaign in; it is still one behind.
        term: Term,
        /// The last entry of the sender's log.
        last: Position,
    },
    /// The answer to a pre-vote.
    PreVoteReply {
        /// The term asked about where granted, the voter's own where refused.
        term: Term,
        /// Whether a vote could be had.
        granted: bool,
    },
    /// Vote for me (§5.2).
    Vote {
        /// The term the sender campaigns in.
        term: Term,
        /// The last entry of the sender's log.
        last: Position,
        /// The leader asked for this election: a live leader is no reason to refuse (thesis §3.10).
        transfer: bool,
    },
    /// The answer to a vote request.
    VoteReply {
        /// The voter's term.
        term: Term,
        /// Whether the vote is the candidate's.
        granted: bool,
    },
    /// Entries to store (§5.3). Without entries it asks whether the logs agree at `prev`.
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before the first of `entries`.
        prev: Position,
        /// The leader's commit index; it may be beyond these entries.
        commit: Index,
        /// Contiguous, beginning after `prev`.
        entries: Vec<Entry>,
    },
    /// The entries are durable.
    Appended {
        /// The follower's term.
        term: Term,
        /// The follower's log is durable, and equal to the leader's, up to here.
        match_index: Index,
    },
    /// The follower's log does not hold `prev`.
    Rejected {
        /// The follower's term.
        term: Term,
        /// The index of the refused append's `prev`.
        prev_index: Index,
        /// The follower's last entry at or before `prev` whose term is not above that of `prev`:
        /// the logs can agree on nothing later.
        hint: Position,
    },
    /// I am still leading.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// The commit index, as far as the follower's log is known to match.
        commit: Index,
        /// The leader's latest round of reads to confirm (thesis §6.4).
        round: u64,
    },
    /// You are still leading, as far as I know.
    HeartbeatReply {
        /// The follower's term.
        term: Term,
        /// The heartbeat's round.
        round: u64,
    },
    /// The commit index moved and no append is due that would say so. Not answered.
    Commit {
        /// The leader's term.
        term: Term,
        /// The commit index, as far as the follower's log is known to match.
        commit: Index,
    },
    /// A follower asks up to where it must apply before it may serve a batch of reads (thesis §6.4).
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// The follower's number for the batch.
        batch: u64,
    },
    /// The answer, given after a round of heartbeats confirmed the leader.
    ReadIndexReply {
        /// The leader's term.
        term: Term,
        /// The follower's number for the batch.
        batch: u64,
        /// Reads of the batch may be served once this is applied.
        index: Index,
    },
    /// Campaign at once: the leader hands over to you (thesis §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// A part of a snapshot (§7).
    SnapshotChunk {
        /// The leader's term.
        term: Term,
        /// Which snapshot.
        meta: Box<SnapshotMeta>,
        /// Where in the snapshot's file `data` begins.
        offset: u64,
        /// At most [`MAX_SNAPSHOT_CHUNK_BYTES`](super::MAX_SNAPSHOT_CHUNK_BYTES) bytes.
        data: Bytes,
        /// Whether the file ends after it.
        last: bool,
    },
    /// Where the follower wants the snapshot to go on. The last part is answered with
    /// [`Message::Appended`] instead, once the snapshot is installed.
    SnapshotAck {
        /// The follower's term.
        term: Term,
        /// The snapshot's index.
        index: Index,
        /// The follower holds the bytes before this offset.
        offset: u64,
    },
    /// Your term is over: the answer to a leader or candidate of an older term.
    NewerTerm {
        /// The sender's term.
        term: Term,
    },
}

impl Message {
    /// The term the message carries.
    #[must_use]
    pub fn term(&self) -> Term {
        match *self {
            Message::PreVote { term, .. }
            | Message::PreVoteReply { term, .. }
            | Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::Appended { term, .. }
            | Message::Rejected { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::Commit { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. }
            | Message::TimeoutNow { term }
            | Message::SnapshotChunk { term, .. }
            | Message::SnapshotAck { term, .. }
            | Message::NewerTerm { term } => term,
        }
    }

    /// Whether the message promises something that a crash must not undo: a term, a vote, stored
    /// entries or stored bytes of a snapshot. It may be sent only when all of that is durable.
    ///
    /// A leader's own entries are not such a promise: it sends them at once and counts itself when
    /// they are durable (thesis §10.2.1). Nor is a heartbeat's reply: it says that its sender has
    /// not voted in a later term, and a vote is never sent before it is durable.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        match self {
            Message::VoteReply { .. } => !planted!(TellsVoteBeforeSync),
            Message::Appended { .. } => !planted!(AcknowledgesBeforeSync),
            Message::Vote { .. } | Message::SnapshotAck { .. } => true,
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Append { .. }
            | Message::Rejected { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::Commit { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::TimeoutNow { .. }
            | Message::SnapshotChunk { .. }
            | Message::NewerTerm { .. } => false,
        }
    }

    /// Whether the message speaks of a term that nobody has entered yet.
    pub(super) fn is_hypothetical(&self) -> bool {
        matches!(self, Message::PreVote { .. } if !planted!(PreVoteEntersTerm))
            || matches!(self, Message::PreVoteReply { granted: true, .. })
    }

    /// Whether the message asks to replace a leader that may be alive and did not ask for it.
    pub(super) fn is_uninvited_campaign(&self) -> bool {
        matches!(self, Message::Vote { transfer: false, .. })
    }

    /// Whether the sender leads or campaigns, and so must be told when its term is over.
    pub(super) fn claims_the_term(&self) -> bool {
        match self {
            Message::Vote { .. }
            | Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::Commit { .. }
            | Message::SnapshotChunk { .. } => true,
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::VoteReply { .. }
            | Message::Appended { .. }
            | Message::Rejected { .. }
            | Message::HeartbeatReply { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::TimeoutNow { .. }
            | Message::SnapshotAck { .. }
            | Message::NewerTerm { .. } => false,
        }
    }
}

impl Position {
    /// Whether a log that ends here is at least as up-to-date as one that ends at `other` (§5.4.1).
    pub(super) fn is_up_to_date_with(self, other: Position) -> bool {
        if planted!(ComparesLogsByLength) {
            return self.index >= other.index;
        }
        (self.term, self.index) >= (other.term, other.index) || planted!(VotesForStaleLog)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// One line, for traces and golden scripts.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::PreVote { term, last } => write!(f, "PreVote t{term} last={last}"),
            Message::PreVoteReply { term, granted } => {
                write!(f, "PreVoteReply t{term} {}", grant(*granted))
            }
            Message::Vote { term, last, transfer } => {
                write!(f, "Vote t{term} last={last}{}", if *transfer { " transfer" } else { "" })
            }
            Message::VoteReply { term, granted } => {
                write!(f, "VoteReply t{term} {}", grant(*granted))
            }
            Message::Append { term, prev, commit, entries } => {
                write!(f, "Append t{term} prev={prev} commit={commit} [")?;
                fmt_entries(f, entries)?;
                f.write_str("]")
            }
            Message::Appended { term, match_index } => {
                write!(f, "Appended t{term} match={match_index}")
            }
            Message::Rejected { term, prev_index, hint } => {
                write!(f, "Rejected t{term} prev={prev_index} hint={hint}")
            }
            Message::Heartbeat { term, commit, round } => {
                write!(f, "Heartbeat t{term} commit={commit} round={round}")
            }
            Message::HeartbeatReply { term, round } => {
                write!(f, "HeartbeatReply t{term} round={round}")
            }
            Message::Commit { term, commit } => write!(f, "Commit t{term} commit={commit}"),
            Message::ReadIndex { term, .. } => write!(f, "ReadIndex t{term}"),
            Message::ReadIndexReply { term, index, .. } => {
                write!(f, "ReadIndexReply t{term} index={index}")
            }
            Message::TimeoutNow { term } => write!(f, "TimeoutNow t{term}"),
            Message::SnapshotChunk { term, meta, offset, data, last } => {
                let end = offset + data.len() as u64;
                write!(f, "SnapshotChunk t{term} {}@{} ", meta.index, meta.term)?;
                write!(f, "bytes={offset}..{end}{}", if *last { " last" } else { "" })
            }
            Message::SnapshotAck { term, index, offset } => {
                write!(f, "SnapshotAck t{term} snapshot={index} offset={offset}")
            }
            Message::NewerTerm { term } => write!(f, "NewerTerm t{term}"),
        }
    }
}

fn grant(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

fn fmt_entries(f: &mut fmt::Formatter<'_>, entries: &[Entry]) -> fmt::Result {
    for (nth, entry) in entries.iter().enumerate() {
        let gap = if nth == 0 { "" } else { " " };
        let kind = match entry.kind() {
            EntryKind::Noop => "noop",
            EntryKind::Commands => "",
            EntryKind::Configuration => "conf",
        };
        write!(f, "{gap}{}@{}{kind}", entry.index(), entry.term())?;
    }
    Ok(())
}
