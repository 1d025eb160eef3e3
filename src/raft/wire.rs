//! A message as bytes. The link below frames and checks them; entries bring their own checksums.
//!
//! ```text
//!  +-----+------+--------------------------------------------------------------------------+
//!  | tag | term |  fields of the message, in the order of its declaration                  |
//!  +-----+------+--------------------------------------------------------------------------+
//!    u8    u64
//!
//!  index, round, batch, offset   u64          position   index, term
//!  bool                          u8: 0 or 1   entries    their records, one after another, to the end
//!  meta                          position, revision u64, length u32, configuration
//!  data                          to the end
//! ```
//!
//! Integers are little-endian. What may be long stands last, so a message is as long as its frame and
//! nothing is allocated by what a length field claims.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use thiserror::Error;

use super::config::MAX_SNAPSHOT_CHUNK_BYTES;
use super::message::{Message, Position};
use crate::types::{
    Configuration, ConfigurationError, Entry, EntryError, EntryKind, Index, Revision, SnapshotMeta,
    Term,
};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end before the message does.
    #[error("the message is cut short")]
    Short,
    /// Bytes follow the message's end.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A tag that this version does not know.
    #[error("unknown message tag {0}")]
    Tag(u8),
    /// A flag that is neither 0 nor 1.
    #[error("a flag has the value {0}")]
    Flag(u8),
    /// A part of a snapshot is over its limit.
    #[error("a part of a snapshot has {0} bytes, more than {MAX_SNAPSHOT_CHUNK_BYTES}")]
    Chunk(usize),
    /// An entry is damaged.
    #[error("an entry is damaged: {0}")]
    Entry(#[from] EntryError),
    /// Entries that do not follow each other, or the entry before them.
    #[error("entry {0} does not follow the one before it")]
    Order(Index),
    /// A configuration is damaged.
    #[error("a configuration is damaged: {0}")]
    Configuration(#[from] ConfigurationError),
}

impl From<TryGetError> for WireError {
    fn from(_: TryGetError) -> WireError {
        WireError::Short
    }
}

const PRE_VOTE: u8 = 1;
const PRE_VOTE_REPLY: u8 = 2;
const VOTE: u8 = 3;
const VOTE_REPLY: u8 = 4;
const APPEND: u8 = 5;
const APPENDED: u8 = 6;
const REJECTED: u8 = 7;
const HEARTBEAT: u8 = 8;
const HEARTBEAT_REPLY: u8 = 9;
const COMMIT: u8 = 10;
const READ_INDEX: u8 = 11;
const READ_INDEX_REPLY: u8 = 12;
const TIMEOUT_NOW: u8 = 13;
const SNAPSHOT_CHUNK: u8 = 14;
const SNAPSHOT_ACK: u8 = 15;
const NEWER_TERM: u8 = 16;

/// Appends the message's bytes. The records of entries are copied as they are.
pub fn encode(message: &Message, out: &mut BytesMut) {
    out.put_u8(tag(message));
    out.put_u64_le(message.term().0);
    match message {
        Message::PreVote { last, .. } => put_position(out, *last),
        Message::PreVoteReply { granted, .. } | Message::VoteReply { granted, .. } => {
            out.put_u8(u8::from(*granted));
        }
        Message::Vote { last, transfer, .. } => {
            put_position(out, *last);
            out.put_u8(u8::from(*transfer));
        }
        Message::Append { prev, commit, entries, .. } => {
            put_position(out, *prev);
            out.put_u64_le(commit.0);
            for entry in entries {
                out.put_slice(entry.record());
            }
        }
        Message::Appended { match_index, .. } => out.put_u64_le(match_index.0),
        Message::Rejected { prev_index, hint, .. } => {
            out.put_u64_le(prev_index.0);
            put_position(out, *hint);
        }
        Message::Heartbeat { commit, round, .. } => {
            out.put_u64_le(commit.0);
            out.put_u64_le(*round);
        }
        Message::HeartbeatReply { round, .. } => out.put_u64_le(*round),
        Message::Commit { commit, .. } => out.put_u64_le(commit.0),
        Message::ReadIndex { batch, .. } => out.put_u64_le(*batch),
        Message::ReadIndexReply { batch, index, .. } => {
            out.put_u64_le(*batch);
            out.put_u64_le(index.0);
        }
        Message::SnapshotChunk { meta, offset, data, last, .. } => {
            put_meta(out, meta);
            out.put_u64_le(*offset);
            out.put_u8(u8::from(*last));
            out.put_slice(data);
        }
        Message::SnapshotAck { index, offset, .. } => {
            out.put_u64_le(index.0);
            out.put_u64_le(*offset);
        }
        Message::TimeoutNow { .. } | Message::NewerTerm { .. } => {}
    }
}

/// Reads a message; nothing may follow it. Entries and data share the memory of `bytes`.
///
/// # Errors
/// When the bytes are no message, or its entries are damaged, out of order, or of a later term than
/// the message.
pub fn decode(mut bytes: Bytes) -> Result<Message, WireError> {
    let input = &mut bytes;
    let tag = input.try_get_u8()?;
    let term = Term(input.try_get_u64_le()?);
    let message = match tag {
        PRE_VOTE => Message::PreVote { term, last: position(input)? },
        PRE_VOTE_REPLY => Message::PreVoteReply { term, granted: flag(input)? },
        VOTE => Message::Vote { term, last: position(input)?, transfer: flag(input)? },
        VOTE_REPLY => Message::VoteReply { term, granted: flag(input)? },
        APPEND => {
            let prev = position(input)?;
            let commit = index(input)?;
            Message::Append { term, prev, commit, entries: entries(input, prev, term)? }
        }
        APPENDED => Message::Appended { term, match_index: index(input)? },
        REJECTED => Message::Rejected { term, prev_index: index(input)?, hint: position(input)? },
        HEARTBEAT => {
            Message::Heartbeat { term, commit: index(input)?, round: input.try_get_u64_le()? }
        }
        HEARTBEAT_REPLY => Message::HeartbeatReply { term, round: input.try_get_u64_le()? },
        COMMIT => Message::Commit { term, commit: index(input)? },
        READ_INDEX => Message::ReadIndex { term, batch: input.try_get_u64_le()? },
        READ_INDEX_REPLY => {
            Message::ReadIndexReply { term, batch: input.try_get_u64_le()?, index: index(input)? }
        }
        TIMEOUT_NOW => Message::TimeoutNow { term },
        SNAPSHOT_CHUNK => snapshot_chunk(input, term)?,
        SNAPSHOT_ACK => {
            Message::SnapshotAck { term, index: index(input)?, offset: input.try_get_u64_le()? }
        }
        NEWER_TERM => Message::NewerTerm { term },
        other => return Err(WireError::Tag(other)),
    };
    if bytes.is_empty() { Ok(message) } else { Err(WireError::Trailing(bytes.len())) }
}

fn tag(message: &Message) -> u8 {
    match message {
        Message::PreVote { .. } => PRE_VOTE,
        Message::PreVoteReply { .. } => PRE_VOTE_REPLY,
        Message::Vote { .. } => VOTE,
        Message::VoteReply { .. } => VOTE_REPLY,
        Message::Append { .. } => APPEND,
        Message::Appended { .. } => APPENDED,
        Message::Rejected { .. } => REJECTED,
        Message::Heartbeat { .. } => HEARTBEAT,
        Message::HeartbeatReply { .. } => HEARTBEAT_REPLY,
        Message::Commit { .. } => COMMIT,
        Message::ReadIndex { .. } => READ_INDEX,
        Message::ReadIndexReply { .. } => READ_INDEX_REPLY,
        Message::TimeoutNow { .. } => TIMEOUT_NOW,
        Message::SnapshotChunk { .. } => SNAPSHOT_CHUNK,
        Message::SnapshotAck { .. } => SNAPSHOT_ACK,
        Message::NewerTerm { .. } => NEWER_TERM,
    }
}

fn put_position(out: &mut BytesMut, position: Position) {
    out.put_u64_le(position.index.0);
    out.put_u64_le(position.term.0);
}

fn put_meta(out: &mut BytesMut, meta: &SnapshotMeta) {
    put_position(out, Position { index: meta.index, term: meta.term });
    out.put_u64_le(meta.revision.0);
    let mut configuration = BytesMut::new();
    meta.configuration.encode(&mut configuration);
    out.put_u32_le(configuration.len() as u32);
    out.put_slice(&configuration);
}

fn index(input: &mut Bytes) -> Result<Index, WireError> {
    Ok(Index(input.try_get_u64_le()?))
}

fn position(input: &mut Bytes) -> Result<Position, WireError> {
    Ok(Position { index: index(input)?, term: Term(input.try_get_u64_le()?) })
}

fn flag(input: &mut Bytes) -> Result<bool, WireError> {
    match input.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(WireError::Flag(other)),
    }
}

/// Entries that follow `prev` and each other, none of a later term than `term`.
fn entries(input: &mut Bytes, prev: Position, term: Term) -> Result<Vec<Entry>, WireError> {
    let mut entries = Vec::new();
    let mut before = prev;
    while !input.is_empty() {
        let entry = Entry::decode(input)?;
        let follows = before.index.0.checked_add(1) == Some(entry.index().0)
            && (before.term..=term).contains(&entry.term());
        if !follows {
            return Err(WireError::Order(entry.index()));
        }
        if entry.kind() == EntryKind::Configuration {
            Configuration::decode(entry.body())?;
        }
        before = Position { index: entry.index(), term: entry.term() };
        entries.push(entry);
    }
    Ok(entries)
}

fn snapshot_chunk(input: &mut Bytes, term: Term) -> Result<Message, WireError> {
    let meta = Box::new(meta(input)?);
    let offset = input.try_get_u64_le()?;
    let last = flag(input)?;
    if input.len() > MAX_SNAPSHOT_CHUNK_BYTES {
        return Err(WireError::Chunk(input.len()));
    }
    let data = std::mem::take(input);
    Ok(Message::SnapshotChunk { term, meta, offset, data, last })
}

fn meta(input: &mut Bytes) -> Result<SnapshotMeta, WireError> {
    let Position { index, term } = position(input)?;
    let revision = Revision(input.try_get_u64_le()?);
    let len = input.try_get_u32_le()? as usize;
    if input.len() < len {
        return Err(WireError::Short);
    }
    let configuration = Configuration::decode(input.split_to(len))?;
    Ok(SnapshotMeta { index, term, revision, configuration })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Member, NodeId};

    fn any_term() -> impl Strategy<Value = Term> {
        any::<u64>().prop_map(Term)
    }

    fn any_index() -> impl Strategy<Value = Index> {
        any::<u64>().prop_map(Index)
    }

    fn any_position() -> impl Strategy<Value = Position> {
        (any_index(), any_term()).prop_map(|(index, term)| Position { index, term })
    }

    fn configuration_of(id: u64) -> Configuration {
        let label = || format!("node-{id}:1");
        let member = Member { name: label(), peer_addr: label(), rpc_addr: label() };
        Configuration {
            voters: [NodeId(id)].into(),
            members: [(NodeId(id), member)].into(),
            ..Configuration::default()
        }
    }

    /// Entries of rising index and never falling terms, with the position before them.
    fn any_append() -> impl Strategy<Value = Message> {
        (0u64..1000, 0u64..100, any_index(), vec((0u64..3, 0u8..3), 0..6)).prop_map(
            |(index, term, commit, steps)| {
                let prev = Position { index: Index(index), term: Term(term) };
                let mut last = prev;
                let mut entries = Vec::new();
                for (step, kind) in steps {
                    last = Position { index: last.index.next(), term: Term(last.term.0 + step) };
                    entries.push(match kind {
                        0 => Entry::noop(last.index, last.term),
                        _ => configuration_of(step + 1).to_entry().seal(last.index, last.term),
                    });
                }
                Message::Append { term: last.term, prev, commit, entries }
            },
        )
    }

    fn any_chunk() -> impl Strategy<Value = Message> {
        let data = vec(any::<u8>(), 0..64).prop_map(Bytes::from);
        (any_term(), any_position(), any::<u64>(), any::<u64>(), data, any::<bool>()).prop_map(
            |(term, at, revision, offset, data, last)| {
                let meta = Box::new(SnapshotMeta {
                    index: at.index,
                    term: at.term,
                    revision: Revision(revision),
                    configuration: configuration_of(revision.max(1)),
                });
                Message::SnapshotChunk { term, meta, offset, data, last }
            },
        )
    }

    fn any_small() -> impl Strategy<Value = Message> {
        let parts = (any_term(), any_position(), any_index(), any::<u64>(), any::<bool>());
        (0..14, parts).prop_map(|(kind, (term, position, index, number, is_set))| match kind {
            0 => Message::PreVote { term, last: position },
            1 => Message::PreVoteReply { term, granted: is_set },
            2 => Message::Vote { term, last: position, transfer: is_set },
            3 => Message::VoteReply { term, granted: is_set },
            4 => Message::Appended { term, match_index: index },
            5 => Message::Rejected { term, prev_index: index, hint: position },
            6 => Message::Heartbeat { term, commit: index, round: number },
            7 => Message::HeartbeatReply { term, round: number },
            8 => Message::Commit { term, commit: index },
            9 => Message::ReadIndex { term, batch: number },
            10 => Message::ReadIndexReply { term, batch: number, index },
            11 => Message::TimeoutNow { term },
            12 => Message::SnapshotAck { term, index, offset: number },
            _ => Message::NewerTerm { term },
        })
    }

    fn encoded(message: &Message) -> Bytes {
        let mut out = BytesMut::new();
        encode(message, &mut out);
        out.freeze()
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_it_was_written(
            message in prop_oneof![any_small(), any_append(), any_chunk()]
        ) {
            prop_assert_eq!(decode(encoded(&message)), Ok(message));
        }

        #[test]
        fn a_message_cut_short_is_an_error_or_says_less(
            message in prop_oneof![any_small(), any_append(), any_chunk()],
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = encoded(&message);
            let shorter = whole.slice(..cut.index(whole.len()));
            prop_assert_ne!(decode(shorter), Ok(message));
        }

        #[test]
        fn a_damaged_message_never_panics(
            message in prop_oneof![any_small(), any_append(), any_chunk()],
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut damaged = encoded(&message).to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            prop_assert_ne!(decode(Bytes::from(damaged)), Ok(message));
        }

        #[test]
        fn garbage_never_panics(bytes in vec(any::<u8>(), 0..256)) {
            let _ = decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_refused() {
        let prev = Position { index: Index(4), term: Term(2) };
        let append = |entries| Message::Append { term: Term(3), prev, commit: Index(0), entries };
        let gap = append(vec![Entry::noop(Index(6), Term(3))]);
        assert_eq!(decode(encoded(&gap)), Err(WireError::Order(Index(6))));
        let falling = append(vec![Entry::noop(Index(5), Term(1))]);
        assert_eq!(decode(encoded(&falling)), Err(WireError::Order(Index(5))));
        let future = append(vec![Entry::noop(Index(5), Term(4))]);
        assert_eq!(decode(encoded(&future)), Err(WireError::Order(Index(5))));
    }

    #[test]
    fn a_part_of_a_snapshot_over_the_limit_is_refused() {
        let data = Bytes::from(vec![0; MAX_SNAPSHOT_CHUNK_BYTES + 1]);
        let meta = Box::default();
        let chunk = Message::SnapshotChunk { term: Term(1), meta, offset: 0, data, last: false };
        let refused = Err(WireError::Chunk(MAX_SNAPSHOT_CHUNK_BYTES + 1));
        assert_eq!(decode(encoded(&chunk)), refused);
    }
}
