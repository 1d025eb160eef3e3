//! The handshake: who calls, whom it wants, what for, and whether it may.
//!
//! The dialer says hello and waits; the acceptor answers, and closes when the answer is a refusal.
//! So nothing is ever sent to a stranger, and the dialer can log the true cause.
//!
//! ```text
//!  hello    0       4         6       7   8          16      24      32
//!           +-------+---------+-------+---+----------+-------+-------+
//!           | magic | version |purpose| 0 | cluster  | from  | to    |   cluster 0: none yet
//!           +-------+---------+-------+---+----------+-------+-------+   to 0: whoever is there
//!              u32      u16      u8    u8     u64       u64     u64
//!
//!  answer   0       4         6       7   8          16      24
//!           +-------+---------+-------+---+----------+-------+
//!           | magic | version |verdict| 0 | cluster  | node  |           of the acceptor
//!           +-------+---------+-------+---+----------+-------+
//! ```
//!
//! Every version keeps magic and version where they are in a hello, and the whole answer as it is:
//! that is what lets two versions tell each other that they cannot talk.

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

use crate::types::{ClusterId, NodeId};

/// The version of everything behind the handshake, Raft's and gossip's messages included.
pub(super) const PROTOCOL_VERSION: u16 = 1;

/// The longest body of a hello or an answer, of any version, in bytes.
pub(super) const MAX_HELLO_BYTES: usize = 256;

/// The bytes "MOKV", so that other programs' connections are known at once.
const MAGIC: u32 = u32::from_le_bytes(*b"MOKV");

const HELLO_BYTES: usize = 32;
const ANSWER_BYTES: usize = 24;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Messages from the dialer, for as long as both live.
    Link,
    /// One request, one reply.
    PushPull,
}

/// The first frame of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) purpose: Purpose,
    /// The dialer's cluster; `None` when it has not joined one.
    pub(super) cluster: Option<ClusterId>,
    /// The dialer.
    pub(super) from: NodeId,
    /// Whom the dialer wants to reach; `None` when anyone at this address will do.
    pub(super) to: Option<NodeId>,
}

/// The acceptor's one answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) refusal: Option<Refusal>,
    /// The acceptor's version.
    pub(super) version: u16,
    /// The acceptor's cluster.
    pub(super) cluster: Option<ClusterId>,
    /// The acceptor.
    pub(super) node: NodeId,
}

/// Why an acceptor turns a dialer away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The versions differ.
    Version,
    /// The clusters differ.
    Cluster,
    /// The dialer wants another node than the one at this address.
    Node,
    /// The acceptor has no cluster yet, so it cannot tell friend from foreigner.
    NotMember,
    /// The acceptor serves as many connections of this purpose as it may.
    Busy,
}

/// Why bytes are not a hello, or not an answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum HelloError {
    /// Another program, or another length than this version's.
    #[error("what came is not of the peer protocol")]
    Foreign,
    /// A hello of another version.
    #[error(
        "the dialer speaks version {0} of the peer protocol, this node version {PROTOCOL_VERSION}"
    )]
    Version(u16),
    /// A purpose or verdict byte that this version does not know.
    #[error("the handshake has the unknown code {0}")]
    Code(u8),
}

impl Hello {
    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(MAGIC);
        out.put_u16_le(PROTOCOL_VERSION);
        out.put_u8(match self.purpose {
            Purpose::Link => 1,
            Purpose::PushPull => 2,
        });
        out.put_u8(0);
        out.put_u64_le(self.cluster.map_or(0, |cluster| cluster.0));
        out.put_u64_le(self.from.0);
        out.put_u64_le(self.to.map_or(0, |to| to.0));
    }

    /// Reads the body of a connection's first frame.
    ///
    /// # Errors
    /// When it is no hello of this version; only [`HelloError::Version`] is worth an answer.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Hello, HelloError> {
        let version = decode_preamble(&mut bytes)?;
        if version != PROTOCOL_VERSION {
            return Err(HelloError::Version(version));
        }
        if bytes.len() != HELLO_BYTES - 6 {
            return Err(HelloError::Foreign);
        }
        let purpose = match bytes.get_u8() {
            1 => Purpose::Link,
            2 => Purpose::PushPull,
            other => return Err(HelloError::Code(other)),
        };
        bytes.advance(1);
        let cluster = some_unless_zero(bytes.get_u64_le()).map(ClusterId);
        let from = some_unless_zero(bytes.get_u64_le()).map(NodeId).ok_or(HelloError::Foreign)?;
        let to = some_unless_zero(bytes.get_u64_le()).map(NodeId);
        Ok(Hello { purpose, cluster, from, to })
    }

    /// Whether `node`, a member of `cluster`, may serve this dialer.
    ///
    /// A link carries Raft, so both ends must be known members of one cluster. A push-pull is how a
    /// newcomer learns of its cluster, so there only two different clusters keep apart.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) fn judge(&self, node: NodeId, cluster: Option<ClusterId>) -> Result<(), Refusal> {
        if self.to.is_some_and(|to| to != node) {
            return Err(Refusal::Node);
        }
        match (self.purpose, cluster, self.cluster) {
            (_, Some(ours), Some(theirs)) if ours != theirs => Err(Refusal::Cluster),
            (_, Some(_), Some(_)) | (Purpose::PushPull, _, _) => Ok(()),
            (Purpose::Link, None, _) => Err(Refusal::NotMember),
            (Purpose::Link, Some(_), None) => Err(Refusal::Cluster),
        }
    }
}

impl Answer {
    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(MAGIC);
        out.put_u16_le(self.version);
        out.put_u8(match self.refusal {
            None => 0,
            Some(Refusal::Version) => 1,
            Some(Refusal::Cluster) => 2,
            Some(Refusal::Node) => 3,
            Some(Refusal::NotMember) => 4,
            Some(Refusal::Busy) => 5,
        });
        out.put_u8(0);
        out.put_u64_le(self.cluster.map_or(0, |cluster| cluster.0));
        out.put_u64_le(self.node.0);
    }

    /// Reads the body of the first frame that an acceptor sends.
    ///
    /// # Errors
    /// When it is no answer; its version may be any.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Answer, HelloError> {
        let version = decode_preamble(&mut bytes)?;
        if bytes.len() != ANSWER_BYTES - 6 {
            return Err(HelloError::Foreign);
        }
        let refusal = match bytes.get_u8() {
            0 => None,
            1 => Some(Refusal::Version),
            2 => Some(Refusal::Cluster),
            3 => Some(Refusal::Node),
            4 => Some(Refusal::NotMember),
            5 => Some(Refusal::Busy),
            other => return Err(HelloError::Code(other)),
        };
        bytes.advance(1);
        let cluster = some_unless_zero(bytes.get_u64_le()).map(ClusterId);
        Ok(Answer { refusal, version, cluster, node: NodeId(bytes.get_u64_le()) })
    }

    /// The refusal in words, for the dialer's log.
    pub(super) fn explain(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Version => format!(
                "it speaks version {} of the peer protocol, this node version {PROTOCOL_VERSION}",
                self.version
            ),
            Refusal::Cluster => match self.cluster {
                Some(theirs) => format!(
                    "it belongs to another cluster, {theirs}; to join that one, this node needs an \
                     empty data directory"
                ),
                None => "it belongs to another cluster".to_owned(),
            },
            Refusal::Node => format!("its address now belongs to node {}", self.node),
            Refusal::NotMember => "it is not a member of a cluster yet".to_owned(),
            Refusal::Busy => "it serves as many peers as it may".to_owned(),
        }
    }
}

/// Takes magic and version off the front, and returns the version.
fn decode_preamble(bytes: &mut &[u8]) -> Result<u16, HelloError> {
    if bytes.len() < 6 || bytes.get_u32_le() != MAGIC {
        return Err(HelloError::Foreign);
    }
    Ok(bytes.get_u16_le())
}

fn some_unless_zero(id: u64) -> Option<u64> {
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: NodeId = NodeId(1);
    const THEM: NodeId = NodeId(2);
    const OURS: Option<ClusterId> = Some(ClusterId(7));
    const FOREIGN: Option<ClusterId> = Some(ClusterId(8));

    fn hello(purpose: Purpose, cluster: Option<ClusterId>, to: Option<NodeId>) -> Hello {
        Hello { purpose, cluster, from: THEM, to }
    }

    #[test]
    fn a_link_needs_both_ends_in_one_cluster() {
        let link = |cluster| hello(Purpose::Link, cluster, Some(US));
        assert_eq!(link(OURS).judge(US, OURS), Ok(()));
        assert_eq!(link(FOREIGN).judge(US, OURS), Err(Refusal::Cluster));
        assert_eq!(link(None).judge(US, OURS), Err(Refusal::Cluster));
        assert_eq!(link(OURS).judge(US, None), Err(Refusal::NotMember));
        assert_eq!(link(None).judge(US, None), Err(Refusal::NotMember));
    }

    #[test]
    fn a_push_pull_lets_newcomers_in_and_keeps_clusters_apart() {
        let push_pull = |cluster| hello(Purpose::PushPull, cluster, None);
        assert_eq!(push_pull(OURS).judge(US, OURS), Ok(()));
        assert_eq!(push_pull(None).judge(US, OURS), Ok(()));
        assert_eq!(push_pull(OURS).judge(US, None), Ok(()));
        assert_eq!(push_pull(None).judge(US, None), Ok(()));
        assert_eq!(push_pull(FOREIGN).judge(US, OURS), Err(Refusal::Cluster));
    }

    #[test]
    fn a_node_that_took_over_an_address_says_so_whatever_its_cluster() {
        for cluster in [None, OURS, FOREIGN] {
            let hello = hello(Purpose::Link, OURS, Some(NodeId(9)));
            assert_eq!(hello.judge(US, cluster), Err(Refusal::Node));
        }
    }

    #[test]
    fn a_hello_of_a_later_version_is_told_apart_from_garbage() {
        let mut bytes = BytesMut::new();
        hello(Purpose::Link, OURS, None).encode(&mut bytes);
        bytes[4] = 9;
        bytes.put_slice(b"whatever version 9 has to say");
        assert_eq!(Hello::decode(&bytes), Err(HelloError::Version(9)));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), Err(HelloError::Foreign));
    }

    proptest! {
        #[test]
        fn a_hello_reads_back_as_it_was_written(
            link in any::<bool>(), cluster in any::<u64>(), from in 1u64.., to in any::<u64>(),
        ) {
            let hello = Hello {
                purpose: if link { Purpose::Link } else { Purpose::PushPull },
                cluster: some_unless_zero(cluster).map(ClusterId),
                from: NodeId(from),
                to: some_unless_zero(to).map(NodeId),
            };
            let mut bytes = BytesMut::new();
            hello.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), HELLO_BYTES);
            prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
        }

        #[test]
        fn an_answer_reads_back_as_it_was_written(
            verdict in 0usize..6,
            version in any::<u16>(),
            cluster in any::<u64>(),
            node in any::<u64>(),
        ) {
            let answer = Answer {
                refusal: [
                    None,
                    Some(Refusal::Version),
                    Some(Refusal::Cluster),
                    Some(Refusal::Node),
                    Some(Refusal::NotMember),
                    Some(Refusal::Busy),
                ][verdict],
                version,
                cluster: some_unless_zero(cluster).map(ClusterId),
                node: NodeId(node),
            };
            let mut bytes = BytesMut::new();
            answer.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), ANSWER_BYTES);
            prop_assert_eq!(Answer::decode(&bytes), Ok(answer));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
            let _ = Hello::decode(&bytes);
            let _ = Answer::decode(&bytes);
            let mut marked = BytesMut::from(&b"MOKV\x01\x00"[..]);
            marked.put_slice(&bytes);
            let _ = Hello::decode(&marked);
            let _ = Answer::decode(&marked);
        }
    }
}
