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
