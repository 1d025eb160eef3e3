//! What is known of a member, what may be claimed of it, and which of two claims holds.
//!
//! A claim has an incarnation, a number that only its subject raises, and a state. Claims about one
//! member are totally ordered, by incarnation and then by state; the greater always wins. So members
//! that heard the same claims in any order, any number of times, agree (SWIM §4.2).
//!
//! ```text
//!                                  known at incarnation i
//!   heard at j        Alive        Suspect        Dead         Left
//!   Alive             j >  i       j >  i         j >  i       j >  i
//!   Suspect           j >= i       j >  i         j >  i       j >  i      the heard claim
//!   Dead              j >= i       j >= i         j >  i       j >  i      wins when ...
//!   Left              j >= i       j >= i         j >= i       j >  i
//! ```
//!
//! The paper lets a death stand for ever. Here a greater incarnation overrides it too, because a
//! member that comes back with its data directory is the same member.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::types::{ClusterId, NodeId};

use super::config::Identity;

/// What the others think of a member. The order is that of precedence at equal incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It answers probes, or has just said so itself.
    Alive,
    /// It did not answer a probe and has not yet refuted that; still counted and probed.
    Suspect,
    /// It was a suspect for too long.
    Dead,
    /// It said that it leaves for good.
    Left,
}

impl State {
    /// Whether a member in this state takes part: it is probed and hears rumours.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            State::Alive | State::Suspect => true,
            State::Dead | State::Left => false,
        }
    }
}

/// One member, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identity; a member that lost its data directory comes back with another.
    pub id: NodeId,
    /// The label people know it by. Two members may share one, when one has replaced the other.
    pub name: String,
    /// The cluster it says it belongs to.
    pub cluster: Option<ClusterId>,
    /// Where gossip reaches it.
    pub addr: SocketAddr,
    /// `host:port` for Raft peers.
    pub peer_addr: String,
    /// `host:port` for clients.
    pub rpc_addr: String,
    /// The version of what it says about itself. What is above is fixed for an incarnation.
    pub incarnation: u64,
    /// What is thought of it.
    pub state: State,
    /// When this node learned of `state`, on this node's clock.
    pub since_ms: u64,
}

/// The part of a member that only the member itself may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) cluster: Option<ClusterId>,
    pub(super) addr: SocketAddr,
    pub(super) peer_addr: String,
    pub(super) rpc_addr: String,
}

/// A state, with what must travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    /// `accusers` are the members that probed it in vain themselves: at least one, at most
    /// [`MAX_ACCUSERS`](super::suspicion::MAX_ACCUSERS).
    Suspect {
        accusers: BTreeSet<NodeId>,
    },
    /// `forget_in_ms` is how much longer the death shall be remembered. It only shrinks on its way,
    /// so that members cannot keep reminding each other of it for ever.
    Dead {
        forget_in_ms: u32,
    },
    /// As with `Dead`.
    Left {
        forget_in_ms: u32,
    },
}

/// What one member tells another about a third.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: NodeId,
    pub(super) incarnation: u64,
    pub(super) verdict: Verdict,
    pub(super) metadata: Metadata,
}

/// Of two claims about one member, the one with the greater precedence holds.
pub(super) type Precedence = (u64, State);

impl Verdict {
    pub(super) fn state(&self) -> State {
        match self {
            Verdict::Alive => State::Alive,
            Verdict::Suspect { .. } => State::Suspect,
            Verdict::Dead { .. } => State::Dead,
            Verdict::Left { .. } => State::Left,
        }
    }
}

impl Claim {
    pub(super) fn precedence(&self) -> Precedence {
        (self.incarnation, self.verdict.state())
    }

    /// Whether it tells of a death or departure that is to be forgotten by now.
    pub(super) fn is_expired(&self) -> bool {
        match self.verdict {
            Verdict::Alive | Verdict::Suspect { .. } => false,
            Verdict::Dead { forget_in_ms } | Verdict::Left { forget_in_ms } => forget_in_ms == 0,
        }
    }

    /// The member it describes, to one that did not know it.
    pub(super) fn into_member(self, now_ms: u64) -> Member {
        let Metadata { name, cluster, addr, peer_addr, rpc_addr } = self.metadata;
        Member {
            id: self.id,
            name,
            cluster,
            addr,
            peer_addr,
            rpc_addr,
            incarnation: self.incarnation,
            state: self.verdict.state(),
            since_ms: now_ms,
        }
    }
}

impl Member {
    /// This node itself, as it starts.
    pub(super) fn starting(identity: Identity, now_ms: u64) -> Member {
        let Identity { id, name, cluster, addr, peer_addr, rpc_addr, incarnation } = identity;
        let state = State::Alive;
        Member {
            id,
            name,
            cluster,
            addr,
            peer_addr,
            rpc_addr,
            incarnation,
            state,
            since_ms: now_ms,
        }
    }

    pub(super) fn precedence(&self) -> Precedence {
        (self.incarnation, self.state)
    }

    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            name: self.name.clone(),
            cluster: self.cluster,
            addr: self.addr,
            peer_addr: self.peer_addr.clone(),
            rpc_addr: self.rpc_addr.clone(),
        }
    }
}

/// Whether members of these two clusters may know each other. A member without a cluster is a joiner
/// and may talk with anyone.
pub(super) fn may_mix(one: Option<ClusterId>, other: Option<ClusterId>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || planted!(ClustersMix),
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precedence_table_is_as_drawn() {
        use State::{Alive, Dead, Left, Suspect};
        let states = [Alive, Suspect, Dead, Left];
        // Per pair of heard and known state: whether the heard claim wins at j < i, j = i, j > i.
        let never_equal = [false, false, true];
        let even_equal = [false, true, true];
        for heard in states {
            for known in states {
                let expected = match (heard, known) {
                    (Alive, Alive | Suspect | Dead | Left) => never_equal,
                    (Suspect, Alive) => even_equal,
                    (Suspect, Suspect | Dead | Left) => never_equal,
                    (Dead, Alive | Suspect) => even_equal,
                    (Dead, Dead | Left) => never_equal,
                    (Left, Alive | Suspect | Dead) => even_equal,
                    (Left, Left) => never_equal,
                };
                let wins = [6, 7, 8].map(|j: u64| (j, heard) > (7, known));
                assert_eq!(wins, expected, "{heard:?} against {known:?}");
            }
        }
    }

    #[test]
    fn only_two_known_and_different_clusters_do_not_mix() {
        let (a, b) = (Some(ClusterId(1)), Some(ClusterId(2)));
        assert!(may_mix(a, a) && may_mix(a, None) && may_mix(None, b) && may_mix(None, None));
        assert!(!may_mix(a, b));
    }
}
