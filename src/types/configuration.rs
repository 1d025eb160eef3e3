//! Who belongs to the cluster, as an entry of the log says it.
//!
//! A change of voters goes through a joint configuration (Raft §6): while `outgoing` is not empty,
//! every decision needs a majority of `voters` and a majority of `outgoing`. Learners receive the
//! log and count for nothing.
//!
//! An identity serves once: who was removed is remembered, is never let in again, and is told so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{EntryBuilder, EntryKind, NodeId};

/// The most members a configuration may have, learners included.
const MAX_MEMBERS: usize = 64;
/// The longest name or address of a member, in bytes.
const MAX_LABEL_BYTES: usize = 255;
/// How many removed identities are remembered. One that is forgotten and comes back is a stranger: it
/// is let in as a learner, which is safe, only less tidy.
const MAX_REMOVED: usize = 256;

/// What the cluster knows of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The label people know it by; unique only among the living.
    pub name: String,
    /// `host:port` where its peers reach it. A DNS name stays a name: it is resolved at each dial.
    pub peer_addr: String,
    /// `host:port` where clients reach it.
    pub rpc_addr: String,
}

/// The members of a cluster, and which of them vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The voters; in a joint configuration, the incoming ones.
    pub voters: BTreeSet<NodeId>,
    /// The outgoing voters of a joint configuration; empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote. Disjoint from `voters`.
    pub learners: BTreeSet<NodeId>,
    /// Every id of the three sets, and no other.
    pub members: BTreeMap<NodeId, Member>,
    /// The identities removed last, oldest first. In a joint configuration they may still be among
    /// `outgoing`.
    pub removed: Vec<NodeId>,
}

/// Why bytes are not a configuration.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ConfigurationError {
    /// The bytes end too early, or go on too long.
    #[error("a configuration has the wrong length")]
    Length,
    /// More members, or longer labels, than the limits allow.
    #[error("a configuration is over its limits")]
    Limit,
    /// A name or address is not UTF-8.
    #[error("a member's name or address is not UTF-8")]
    Text,
    /// A role byte that this version does not know, or a member without a role.
    #[error("a member has the unknown role {0}")]
    Role(u8),
}

const VOTER: u8 = 1;
const OUTGOING: u8 = 2;
const LEARNER: u8 = 4;

impl Configuration {
    /// Whether a change of voters is half done.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` votes, in either half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` belongs to the cluster at all.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether `id` was a member, and is one no more.
    #[must_use]
    pub fn has_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id) && !self.contains(id)
    }

    /// Takes a member out, for good.
    pub fn remove(&mut self, id: NodeId) {
        self.voters.remove(&id);
        self.learners.remove(&id);
        if self.members.remove(&id).is_some() {
            self.removed.push(id);
            let forgotten = self.removed.len().saturating_sub(MAX_REMOVED);
            self.removed.drain(..forgotten);
        }
    }

    /// Writes it into an entry that is still to be sealed.
    ///
    /// # Panics
    /// When it is over the limits: the membership policy checks them before it proposes.
    #[must_use]
    pub fn to_entry(&self) -> EntryBuilder {
        let mut builder = EntryBuilder::new(EntryKind::Configuration, 64 * self.members.len());
        self.encode(builder.body_mut());
        builder
    }

    /// Appends its bytes: a count, then per member an id, its roles, and three labelled strings; a
    /// count, then the removed ids.
    pub fn encode(&self, out: &mut BytesMut) {
        assert!(
            self.members.len() <= MAX_MEMBERS,
            "a configuration has at most {MAX_MEMBERS} members"
        );
        out.put_u16_le(self.members.len() as u16);
        for (id, member) in &self.members {
            let sets =
                [(VOTER, &self.voters), (OUTGOING, &self.outgoing), (LEARNER, &self.learners)];
            let role =
                sets.iter().filter(|(_, set)| set.contains(id)).fold(0, |all, (bit, _)| all | bit);
            assert!(role != 0, "member {id} has no role");
            out.put_u64_le(id.0);
            out.put_u8(role);
            for label in [&member.name, &member.peer_addr, &member.rpc_addr] {
                assert!(label.len() <= MAX_LABEL_BYTES, "the label {label:?} is too long");
                out.put_u8(label.len() as u8);
                out.put_slice(label.as_bytes());
            }
        }
        assert!(self.removed.len() <= MAX_REMOVED, "at most {MAX_REMOVED} ids are remembered");
        out.put_u16_le(self.removed.len() as u16);
        self.removed.iter().for_each(|id| out.put_u64_le(id.0));
    }

    /// Reads what [`encode`](Configuration::encode) wrote; nothing may follow it.
    ///
    /// # Errors
    /// When the bytes are no configuration.
    pub fn decode(mut bytes: Bytes) -> Result<Configuration, ConfigurationError> {
        let mut configuration = Configuration::default();
        let count = bytes.try_get_u16_le().map_err(|_| ConfigurationError::Length)?;
        if count as usize > MAX_MEMBERS {
            return Err(ConfigurationError::Limit);
        }
        for _ in 0..count {
            let id = NodeId(bytes.try_get_u64_le().map_err(|_| ConfigurationError::Length)?);
            let role = bytes.try_get_u8().map_err(|_| ConfigurationError::Length)?;
            if role == 0 || role & !(VOTER | OUTGOING | LEARNER) != 0 {
                return Err(ConfigurationError::Role(role));
            }
            let sets = [
                (VOTER, &mut configuration.voters),
                (OUTGOING, &mut configuration.outgoing),
                (LEARNER, &mut configuration.learners),
            ];
            for (bit, set) in sets {
                if role & bit != 0 {
                    set.insert(id);
                }
            }
            let name = read_label(&mut bytes)?;
            let peer_addr = read_label(&mut bytes)?;
            let rpc_addr = read_label(&mut bytes)?;
            configuration.members.insert(id, Member { name, peer_addr, rpc_addr });
        }
        let count = bytes.try_get_u16_le().map_err(|_| ConfigurationError::Length)?;
        if count as usize > MAX_REMOVED {
            return Err(ConfigurationError::Limit);
        }
        for _ in 0..count {
            let id = bytes.try_get_u64_le().map_err(|_| ConfigurationError::Length)?;
            configuration.removed.push(NodeId(id));
        }
        if bytes.has_remaining() { Err(ConfigurationError::Length) } else { Ok(configuration) }
    }
}

fn read_label(bytes: &mut Bytes) -> Result<String, ConfigurationError> {
    let len = bytes.try_get_u8().map_err(|_| ConfigurationError::Length)? as usize;
    if bytes.len() < len {
        return Err(ConfigurationError::Length);
    }
    let label = bytes.split_to(len);
    std::str::from_utf8(&label).map(str::to_owned).map_err(|_| ConfigurationError::Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back_as_it_was_written(
            roles in proptest::collection::btree_map(1u64.., 1u8..8, 0..9),
            removed in proptest::collection::vec(1u64.., 0..9),
        ) {
            let removed = removed.into_iter().map(NodeId).collect();
            let mut configuration = Configuration { removed, ..Configuration::default() };
            for (id, role) in roles {
                let id = NodeId(id);
                if role & VOTER != 0 { configuration.voters.insert(id); }
                if role & OUTGOING != 0 { configuration.outgoing.insert(id); }
                if role & LEARNER != 0 { configuration.learners.insert(id); }
                let label = |port: u16| format!("node-{id}.mokv:{port}");
                configuration.members.insert(id, Member { name: id.to_string(), peer_addr: label(8401), rpc_addr: label(8400) });
            }
            let mut bytes = BytesMut::new();
            configuration.encode(&mut bytes);
            prop_assert_eq!(Configuration::decode(bytes.freeze()), Ok(configuration));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Configuration::decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn who_was_removed_is_remembered_up_to_a_limit() {
        let member =
            Member { name: "n".to_owned(), peer_addr: String::new(), rpc_addr: String::new() };
        let mut configuration = Configuration::default();
        for id in 0..=MAX_REMOVED as u64 {
            configuration.members.insert(NodeId(id), member.clone());
            assert!(!configuration.has_removed(NodeId(id)));
            configuration.remove(NodeId(id));
            assert!(configuration.has_removed(NodeId(id)));
        }
        assert!(!configuration.has_removed(NodeId(0)), "the oldest makes room");
        configuration.remove(NodeId(9_999));
        assert!(!configuration.has_removed(NodeId(9_999)), "it has never been a member");
    }
}
