//! What servers say to each other over a peer link: Raft's messages, and the few of the node's own.
//!
//! ```text
//!  +-----+------------------------------------------------------------+
//!  | tag | fields                                                     |
//!  +-----+------------------------------------------------------------+
//!   0      a message of Raft, in its own encoding
//!   1      id u64, commands ...               Forward
//!   2      id u64, outcome u8, revision u64   ForwardReply
//!   3                                         Leave
//!   4                                         Removed
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::raft;
use crate::types::Revision;

/// One message of a peer link.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// Consensus.
    Raft(raft::Message),
    /// A follower asks the leader to commit a batch of its clients' writes.
    Forward {
        /// The follower's number for the batch, unique on that follower since it started.
        id: u64,
        /// Commands, encoded as in the body of an entry.
        commands: Bytes,
    },
    /// The leader's answer to [`PeerMessage::Forward`].
    ForwardReply {
        /// The number of the batch.
        id: u64,
        /// What became of it.
        outcome: ForwardOutcome,
    },
    /// The sender wants to be removed from the cluster for good.
    Leave,
    /// The receiver is not a member, and will never be one under its identity.
    Removed,
}

/// What became of a forwarded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Committed; its commands have this and the following revisions.
    Committed(Revision),
    /// Not proposed, and it never will be: the receiver does not lead, or is overloaded.
    Refused,
    /// Proposed by a leader that lost its leadership: it may or may not be committed later.
    Unknown,
}

/// Why bytes are not a message.
#[derive(Debug, Error)]
pub enum PeerMessageError {
    /// Cut short, or longer than the message.
    #[error("a peer's message has the wrong length")]
    Length,
    /// A tag this version does not know.
    #[error("a peer's message has the unknown tag {0}")]
    Tag(u8),
    /// A message of Raft that does not decode.
    #[error("a peer's Raft message is malformed: {0}")]
    Raft(#[from] raft::wire::WireError),
}

const RAFT: u8 = 0;
const FORWARD: u8 = 1;
const FORWARD_REPLY: u8 = 2;
const LEAVE: u8 = 3;
const REMOVED: u8 = 4;

const COMMITTED: u8 = 0;
const REFUSED: u8 = 1;
const UNKNOWN: u8 = 2;

impl PeerMessage {
    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            PeerMessage::Raft(message) => {
                out.put_u8(RAFT);
                raft::wire::encode(message, out);
            }
            PeerMessage::Forward { id, commands } => {
                out.put_u8(FORWARD);
                out.put_u64_le(*id);
                out.put_slice(commands);
            }
            PeerMessage::ForwardReply { id, outcome } => {
                let (code, revision) = match outcome {
                    ForwardOutcome::Committed(revision) => (COMMITTED, *revision),
                    ForwardOutcome::Refused => (REFUSED, Revision(0)),
                    ForwardOutcome::Unknown => (UNKNOWN, Revision(0)),
                };
                out.put_u8(FORWARD_REPLY);
                out.put_u64_le(*id);
                out.put_u8(code);
                out.put_u64_le(revision.0);
            }
            PeerMessage::Leave => out.put_u8(LEAVE),
            PeerMessage::Removed => out.put_u8(REMOVED),
        }
    }

    /// Reads one message that fills `bytes`.
    ///
    /// # Errors
    /// When the bytes are no message of this version. The link that brought them is intact (its
    /// frames have checksums), so the sender is of another version or broken.
    pub fn decode(mut bytes: Bytes) -> Result<PeerMessage, PeerMessageError> {
        let tag = bytes.try_get_u8().map_err(|_| PeerMessageError::Length)?;
        let message = match tag {
            RAFT => return Ok(PeerMessage::Raft(raft::wire::decode(bytes)?)),
            FORWARD => {
                let id = bytes.try_get_u64_le().map_err(|_| PeerMessageError::Length)?;
                return Ok(PeerMessage::Forward { id, commands: bytes });
            }
            FORWARD_REPLY => decode_forward_reply(&mut bytes)?,
            LEAVE => PeerMessage::Leave,
            REMOVED => PeerMessage::Removed,
            other => return Err(PeerMessageError::Tag(other)),
        };
        if bytes.is_empty() { Ok(message) } else { Err(PeerMessageError::Length) }
    }
}

fn decode_forward_reply(bytes: &mut Bytes) -> Result<PeerMessage, PeerMessageError> {
    let id = bytes.try_get_u64_le().map_err(|_| PeerMessageError::Length)?;
    let code = bytes.try_get_u8().map_err(|_| PeerMessageError::Length)?;
    let revision = Revision(bytes.try_get_u64_le().map_err(|_| PeerMessageError::Length)?);
    let outcome = match code {
        COMMITTED => ForwardOutcome::Committed(revision),
        REFUSED => ForwardOutcome::Refused,
        UNKNOWN => ForwardOutcome::Unknown,
        other => return Err(PeerMessageError::Tag(other)),
    };
    Ok(PeerMessage::ForwardReply { id, outcome })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_message() -> impl Strategy<Value = PeerMessage> {
        let outcome = prop_oneof![
            any::<u64>().prop_map(|revision| ForwardOutcome::Committed(Revision(revision))),
            Just(ForwardOutcome::Refused),
            Just(ForwardOutcome::Unknown),
        ];
        prop_oneof![
            (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..64)).prop_map(
                |(id, bytes)| { PeerMessage::Forward { id, commands: Bytes::from(bytes) } }
            ),
            (any::<u64>(), outcome)
                .prop_map(|(id, outcome)| PeerMessage::ForwardReply { id, outcome }),
            Just(PeerMessage::Leave),
            Just(PeerMessage::Removed),
        ]
    }

    proptest! {
        #[test]
        fn reads_back_as_it_was_written(message in any_message()) {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            prop_assert_eq!(PeerMessage::decode(bytes.freeze()).expect("own encoding"), message);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = PeerMessage::decode(Bytes::from(bytes));
        }
    }
}
